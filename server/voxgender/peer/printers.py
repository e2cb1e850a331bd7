"""Print a call's messages and its report: for people in a terminal, for programs in a pipe."""

import shutil
from typing import Protocol, TextIO

import msgspec

from voxgender.peer.report import Report
from voxgender.peer.sentences import label_line, sentences, side, word
from voxgender.protocol import AnyMessage, Change, Error, Hello, Result, Segment, Summary, Warning

ERASE_LINE = "\r\x1b[K"


class Printer(Protocol):
    """Prints a call."""

    def message(self, message: AnyMessage) -> None: ...

    def report(self, report: Report) -> None: ...


class JsonPrinter:
    """Prints one JSON object a line: every message as it came over the wire, then the report."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def message(self, message: AnyMessage) -> None:
        print(message.to_json(), file=self._out, flush=True)

    def report(self, report: Report) -> None:
        print(msgspec.json.encode(report).decode(), file=self._out, flush=True)


class TextPrinter:
    """Prints a line for every change of voice and every finished segment; in a terminal, the present label below."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._greeted = False
        self._present: dict[str, str] = {}
        """The present label of each voice, by what stands before it."""

    def message(self, message: AnyMessage) -> None:
        match message:
            case Hello() if not self._greeted:
                self._greeted = True
                step_ms = message.limits.hop_step_ms if message.limits else message.hop_ms
                self._line(f"{message.model}, {message.window_ms} ms windows every {step_ms} ms")
            case Result() if self._live:
                now = label_line(message.end, message.label, message.confidence)
                self._present[side(message)] = f"{side(message)}{now}   {message.latency_ms:4.0f} ms"
                # A line that is wider than the terminal would be two, of which one is erased.
                line = "   ".join(self._present.values())[: shutil.get_terminal_size().columns - 1]
                self._write(f"{ERASE_LINE}{line}")
            case Change():
                self._line(side(message) + label_line(message.at, message.to, message.confidence))
            case Segment():
                span = f"{message.start:.2f} – {message.end:.2f} s"
                self._line(f"{side(message)}           {span}: {word(message.label)} {message.confidence:.0%}")
            case Warning() | Error():
                self._line(f"{side(message)}{message.type}: {message.message}")
            case Summary():
                self._present.pop(side(message), None)

    def report(self, report: Report) -> None:
        self._line("")
        for line in sentences(report):
            self._line(line)

    def _line(self, text: str) -> None:
        self._write(f"{ERASE_LINE if self._live else ''}{text}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

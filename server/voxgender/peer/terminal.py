"""Print the output of `voxgender call` and `voxgender load`: for people in a terminal, for programs in a pipe."""

import asyncio
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TextIO

import msgspec

from voxgender.audiostream import StreamFormat
from voxgender.peer import speech
from voxgender.peer.audiosource import FileSource, RawSource
from voxgender.peer.caller import Caller, CallLost, Route
from voxgender.peer.faults import Faults, FaultyLink
from voxgender.peer.interrupt import interruptible
from voxgender.peer.listen import ListenClient
from voxgender.peer.load import LoadReport, Progress, Transport
from voxgender.peer.load import load as place_load
from voxgender.peer.report import IN_TIME_MS, Latency, Report
from voxgender.peer.speech import Speech
from voxgender.protocol import AnyMessage, Change, Error, Hello, Label, Result, Segment, Summary, Warning

WORDS: dict[Label, str] = {"male": "Male", "female": "Female", "uncertain": "Uncertain", "no_speech": "no speech"}
OUTAGE_AFTER_S = 5.0
"""Time from the connection to the outage: half-way through the test signal."""

_ERASE_LINE = "\r\x1b[K"
_BAR = 20
_WHY_NOT_HELD = {
    "silent": "results did not keep coming",
    "dropped": "windows were dropped",
    "late": f"more than 5 % of their results came later than {IN_TIME_MS:.0f} ms",
}
_NO_FAULTS = Faults()


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
                now = _label_line(message.end, message.label, message.confidence)
                self._present[_side(message)] = f"{_side(message)}{now}   {message.latency_ms:4.0f} ms"
                # A line that is wider than the terminal would be two, of which one is erased.
                line = "   ".join(self._present.values())[: shutil.get_terminal_size().columns - 1]
                self._write(f"{_ERASE_LINE}{line}")
            case Change():
                self._line(_side(message) + _label_line(message.at, message.to, message.confidence))
            case Segment():
                span = f"{message.start:.2f} – {message.end:.2f} s"
                self._line(f"{_side(message)}           {span}: {_word(message.label)} {message.confidence:.0%}")
            case Warning() | Error():
                self._line(f"{_side(message)}{message.type}: {message.message}")
            case Summary():
                self._present.pop(_side(message), None)

    def report(self, report: Report) -> None:
        self._line("")
        for line in _sentences(report):
            self._line(line)

    def _line(self, text: str) -> None:
        self._write(f"{_ERASE_LINE if self._live else ''}{text}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


async def call(
    url: str,
    *,
    audio: Path | None = None,
    voices: Mapping[str, Path] | None = None,
    token: str | None = None,
    query: Mapping[str, str] = MappingProxyType({}),
    duration_s: float | None = None,
    relay_only: bool = False,
    faults: Faults = _NO_FAULTS,
    json: bool = False,
    out: TextIO | None = None,
) -> Report:
    """Call a server, and print its messages as they come. Ctrl-C hangs up in good order.

    Args:
        url: the server, ``http://host:port`` or its ``…/whip``.
        audio: a file to play; by default the synthesised test signal.
        voices: for a room, the file of each voice by its name.
        query: options of the call.
        duration_s: hang up after so many seconds of audio.
        relay_only: use the server's TURN server and no other path, as behind a strict firewall.
        faults: faults of the network; an outage begins five seconds after the connection.
        json: print one JSON object a line instead of text.

    Raises:
        AudioError: the file cannot be read.
        CallError: the call could not be placed, or was lost; the report is printed all the same.
    """
    out = out or sys.stdout
    printer: Printer = JsonPrinter(out) if json else TextPrinter(out)
    words: Speech | dict[str, Speech]
    if voices:
        words = {name: await _read(file, faults.loss) for name, file in voices.items()}
    elif audio is not None:
        words = await _read(audio, faults.loss)
    else:
        words = await asyncio.to_thread(speech.synthesised, loss=faults.loss)
    link = FaultyLink(faults, outage_after_s=OUTAGE_AFTER_S) if faults.any else None
    route: Route = "relay" if relay_only else "any"
    caller = Caller(url, words, token=token, query=query, duration_s=duration_s, route=route, link=link)
    with interruptible(caller.hang_up):
        try:
            report = await caller.run(printer.message)
        except CallLost as error:
            printer.report(error.report)
            raise
    printer.report(report)
    return report


async def _read(file: Path, loss: float) -> Speech:
    return await speech.in_thread(partial(speech.from_file, file, loss))


async def listen(
    url: str,
    file: Path,
    *,
    raw: StreamFormat,
    apart: bool = False,
    token: str | None = None,
    query: Mapping[str, str] = MappingProxyType({}),
    json: bool = False,
    out: TextIO | None = None,
) -> None:
    """Stream a file, or stdin, to a server as fast as it takes it, and print its messages. Ctrl-C ends in good order.

    Args:
        url: the server, ``http://host:port``.
        file: a file in any format that FFmpeg reads; ``-`` for stdin.
        raw: format of stdin.
        apart: whether each channel of a file is judged apart; they are mixed otherwise.
        query: options of the call.
        json: print one JSON object a line instead of text.

    Raises:
        AudioError: the file cannot be read.
        CallError: the server is not there, refuses, or ends the stream.
    """
    out = out or sys.stdout
    printer: Printer = JsonPrinter(out) if json else TextPrinter(out)
    is_raw = str(file) == "-"
    source: RawSource | FileSource
    if is_raw:
        source = RawSource(sys.stdin.buffer, raw)
    else:
        source = await asyncio.to_thread(FileSource, file, apart=apart)
    summaries: list[Summary] = []

    def take(message: AnyMessage) -> None:
        printer.message(message)
        if isinstance(message, Summary):
            summaries.append(message)

    async with ListenClient(url, token=token, query=query) as client:
        finish = asyncio.Event()
        with interruptible(finish.set):
            await client.stream(source.form, source.chunks(), take, finish)
    if not json:
        print("", *(_side(summary) + _sum(summary) for summary in summaries), sep="\n", file=out, flush=True)


async def load(
    url: str,
    *,
    peers: int,
    seconds: float,
    audio: Sequence[Path] = (),
    token: str | None = None,
    transport: Transport = "webrtc",
    allow_remote: bool = False,
    faults: Faults = _NO_FAULTS,
    json: bool = False,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> LoadReport:
    """Load a server with many callers, and print the report; show the progress on ``err`` if that is a terminal.

    For the parameters and errors see :func:`voxgender.peer.load.load`.
    """
    out, err = out or sys.stdout, err or sys.stderr
    live = err.isatty()

    def show(progress: Progress) -> None:
        if live:
            print(f"{_ERASE_LINE}{_progress_line(progress, peers, seconds)}", end="", file=err, flush=True)

    try:
        report = await place_load(
            url,
            peers=peers,
            seconds=seconds,
            audio=audio,
            token=token,
            transport=transport,
            allow_remote=allow_remote,
            faults=faults,
            on_progress=show,
        )
    finally:
        if live:
            print(_ERASE_LINE, end="", file=err, flush=True)
    lines = [msgspec.json.encode(report).decode()] if json else _load_sentences(report)
    for line in lines:
        print(line, file=out, flush=True)
    return report


def _progress_line(progress: Progress, peers: int, seconds: float) -> str:
    """Return a progress line: how far the run is, and its figures now."""
    holding = progress.seconds_left > 0
    share = 1 - progress.seconds_left / seconds if holding else progress.up / peers
    bar = "█" * round(share * _BAR)
    left = f"{progress.seconds_left:.0f} s left" if holding else "placing calls"
    p95 = "–" if math.isnan(progress.p95_ms) else f"{progress.p95_ms:.0f} ms"
    failed = f", {progress.failed} failed" if progress.failed else ""
    return (
        f"{bar:<{_BAR}} {progress.up} of {peers} calls up{failed}, {progress.results_per_s:.0f} results/s, "
        f"p95 {p95}, {progress.drops} drops, {left}"
    )


def _label_line(at: float, label: Label, confidence: float) -> str:
    heard = f"{at:7.2f} s  {_word(label)}"
    return heard if label == "no_speech" else f"{heard:<20} {confidence:4.0%}"


def _word(label: Label) -> str:
    return WORDS.get(label, label)


def _sentences(report: Report) -> list[str]:
    lines = [f"[{name}] {line}" for name, voice in report.voices.items() for line in _heard(voice)]
    lines += _heard(report)
    lines.append(
        f"{report.results} results, {report.lost_results} lost, {report.unordered_results} out of order; "
        f"connected in {report.connect_ms:.0f} ms"
    )
    if report.latency_ms is not None:
        lines.append(f"latency, last packet sent to result received: {_percentiles(report.latency_ms)}")
    if report.server_latency_ms is not None:
        lines.append(f"of that in the server: {_percentiles(report.server_latency_ms)}")
    for recovery_ms in report.recovery_ms:
        when = "never" if recovery_ms is None else f"after {recovery_ms:.0f} ms"
        lines.append(f"in time again after the outage: {when}")
    return lines


def _heard(report: Report) -> list[str]:
    """Return how a voice was heard, or all voices of a call."""
    lines = [] if report.summary is None else [_sum(report.summary)]
    for turn in report.turns:
        who = "a voice" if turn.label is None else f"the {turn.label} voice"
        delay = "not heard" if turn.delay_ms is None else f"heard after {turn.delay_ms:.0f} ms"
        lines.append(f"{who} that began at {turn.start:.2f} s: {delay}")
    return lines


def _side(message: AnyMessage) -> str:
    """Return the voice or the channel that a message is about, as it stands before it; empty in a call of one voice."""
    return "" if message.channel is None else f"[{getattr(message, 'name', None) or message.channel}] "


def _sum(summary: Summary) -> str:
    return (
        f"{summary.duration:.1f} s of audio, {summary.speech:.1f} s of speech in {summary.segments} "
        f"{'segment' if summary.segments == 1 else 'segments'}: male {summary.male:.1f} s, "
        f"female {summary.female:.1f} s, uncertain {summary.uncertain:.1f} s"
        + "".join(f", {label} {seconds:.1f} s" for label, seconds in summary.others.items())
    )


def _percentiles(latency: Latency) -> str:
    return f"p50 {latency.p50:.0f} ms, p95 {latency.p95:.0f} ms, p99 {latency.p99:.0f} ms"


def _load_sentences(report: LoadReport) -> list[str]:
    lines = [f"{report.held} of {report.asked} calls held for {report.seconds:.0f} s"]
    lines += [f"  {count} up, but {_WHY_NOT_HELD[reason]}" for reason, count in report.not_held.items()]
    lines += [f"  {count} failed: {reason}" for reason, count in report.failed.items()]
    lines.append(
        f"{report.results} results, {report.results_per_s:.0f} a second, {report.lost_results} lost on the way"
    )
    if report.dropped_windows is not None:
        lines.append(f"{report.dropped_windows} windows dropped by the server")
    lines += [f"  {count} warnings: {code}" for code, count in report.warnings.items()]
    if report.latency_ms is not None:
        lines.append(f"latency, last packet sent to result received: {_percentiles(report.latency_ms)}")
    if report.worst_call_ms is not None:
        lines.append(f"  of the worst call: {_percentiles(report.worst_call_ms)}")
    if report.server_latency_ms is not None:
        lines.append(f"  of that in the server: {_percentiles(report.server_latency_ms)}")
    lines += [f"    {stage}: {_percentiles(latency)}" for stage, latency in report.server_stages_ms.items()]
    if report.first_result_ms is not None:
        lines.append(f"first result after the offer: {_percentiles(report.first_result_ms)}")
    if report.recovery_ms is not None:
        lines.append(f"in time again after the outage: {_percentiles(report.recovery_ms)}")
    if report.not_recovered:
        lines.append(f"{report.not_recovered} calls were not in time again after the outage")
    if report.server_cpu_percent is not None:
        lines.append(
            f"server CPU {report.server_cpu_percent:.0f} % of a core, {report.server_cpu_percent_per_call:.2f} % a call"
        )
    if report.server_memory_mb is not None:
        lines.append(
            f"server memory {report.server_memory_mb:.0f} MB, {report.server_memory_mb_per_call:.2f} MB more a call"
        )
    lines.append(
        f"the callers themselves: {report.callers_cpu_percent:.0f} % of a core, "
        f"{report.callers_cpu_percent_per_call:.2f} % a call"
    )
    return lines

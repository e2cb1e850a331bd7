"""Write a server's log: one line per entry, without secrets, and without a flood of entries during an attack.

Messages of errors quote their input: a request line with a session's URL, a header with a token, a line of SDP. So the
log names an error's type and its place in the code, never its message. Entries of libraries are logged as their format
string, without the arguments.
"""

import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

logger = logging.getLogger(__name__)

REPEAT_S = 60.0
"""Time in which one entry of each kind is written; the others are counted."""
_MAX_KINDS = 256
_MAX_FRAMES = 6

_OWN = "voxgender"
_VALUE = re.compile(r"%(\(\w+\))?[-#0 +]*(\d+|\*)?(\.(\d+|\*))?[a-zA-Z]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FIRST_WORDS = re.compile(r"[A-Za-z][A-Za-z ,.'!-]*")


def start(level: str, process: str = "") -> None:
    """Write the process's log to stderr from now on; uncaught errors become entries of it.

    If the program has configured logging already, only set the level.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``, for voxgender; libraries log from ``warning`` on.
        process: name of the process in each entry.
    """
    logging.getLogger(_OWN).setLevel(level.upper())
    root = logging.getLogger()
    if root.handlers:
        return
    root.addHandler(LogHandler(process=process))
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)

    def report(words: str) -> Callable[..., None]:
        def hook(kind: type[BaseException], error: BaseException | None, *_: object) -> None:
            if not issubclass(kind, (KeyboardInterrupt, SystemExit)):
                logger.critical(words, exc_info=error or kind())

        return hook

    uncaught, in_thread, unraisable = map(
        report, ("the process failed", "a thread failed", "an error was met where none can be raised")
    )
    sys.excepthook = uncaught
    threading.excepthook = lambda args: in_thread(args.exc_type, args.exc_value)
    sys.unraisablehook = lambda args: unraisable(args.exc_type, args.exc_value)


class LogFormatter(logging.Formatter):
    """Formats an entry as one line: time, level, logger, message, and the type and place of an error."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = f" ({process})" if process else ""

    def format(self, record: logging.LogRecord) -> str:
        words = _words(record)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            words = f"{words}: {describe(error)}"
        return f"{self.formatTime(record)} {record.levelname} {record.name}{self._process}: {words}"


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes entries by :class:`LogFormatter`. Errors, and entries that clients cause, are written once a minute.

    Entries are of one kind if the same line of code logs the same type of error; ``extra={"kind": …}`` marks an entry
    that clients cause, and names its kind. The number of entries left out is written with the next one, or at the end
    of the log.

    Args:
        process: named in each entry.
        stream: where to write; None for stderr.
        clock: seconds.
    """

    def __init__(
        self, *, process: str = "", stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self.setFormatter(LogFormatter(process))
        self._clock = clock
        self._kinds: dict[object, _Repeated] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        self._report_repeated(now - REPEAT_S)
        kind = _kind(record)
        if kind is None or (kind not in self._kinds and len(self._kinds) >= _MAX_KINDS):
            self._write(self.format(record))
        elif kind in self._kinds:
            self._kinds[kind].add(record)
        else:
            self._kinds[kind] = _Repeated(now)
            self._write(self.format(record))

    def close(self) -> None:
        self.acquire()
        try:
            self._report_repeated(self._clock())
        finally:
            self.release()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Print nothing: the base class would print the entry's arguments."""

    def _report_repeated(self, until: float) -> None:
        for kind, repeated in [*self._kinds.items()]:
            if repeated.since <= until:
                del self._kinds[kind]
                if repeated.latest is not None:
                    self._write(f"{self.format(repeated.latest)} (the last of {repeated.count} more of its kind)")

    def _write(self, line: str) -> None:
        try:
            self.stream.write(line + "\n")
            self.flush()
        except (OSError, ValueError):
            # The reader of the log has closed it.
            return


class _Repeated:
    """Counts the entries of one kind that were left out since the first."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.latest: logging.LogRecord | None = None

    def add(self, record: logging.LogRecord) -> None:
        self.count += 1
        self.latest = record


def describe(error: BaseException) -> str:
    """Return an error's type, its causes and the place that raised it, without the message."""
    return ", after ".join(f"{_name(each)}{_call_stack(each)}" for each in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen and len(seen) < _MAX_FRAMES:
        seen.append(at)
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _name(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        return f"{name} of {', '.join(_name(each) for each in error.exceptions[:_MAX_FRAMES])}"
    return name


def _call_stack(error: BaseException) -> str:
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)][-_MAX_FRAMES:]
    places = [f"{Path(code.co_filename).name}:{line} {code.co_name}" for code, line in reversed(frames)]
    return f" at {' < '.join(places)}" if places else ""


def _words(record: logging.LogRecord) -> str:
    if _is_own(record):
        return _CONTROL.sub("?", record.getMessage())
    # Text after a line's end comes from programs: asyncio's contexts, aiortc's tracebacks.
    words = str(record.msg).partition("\n")[0]
    if not record.args:
        # Text that may have its arguments inserted already.
        found = _FIRST_WORDS.match(words) if record.name == "asyncio" else None
        words = found.group().strip() if found else "an entry whose words are left out"
    return f"{_CONTROL.sub('?', _VALUE.sub('…', words))} [{record.module}:{record.lineno}]"


def _kind(record: logging.LogRecord) -> object | None:
    """Return an entry's kind; None for entries that are always written."""
    kind = getattr(record, "kind", None)
    error = record.exc_info[0] if record.exc_info else None
    if _is_own(record) and kind is None and error is None:
        return None
    return record.name, record.pathname, record.lineno, kind, error


def _is_own(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == _OWN

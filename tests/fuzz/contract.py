"""A target, and the contract that each of its cases is held to."""

import gc
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

Parse = Callable[[bytes], None]
"""Parses one input. It passes over our own refusals, and raises for anything else."""

INNER_WORDS = re.compile(r"NoneType|Traceback|not in list|invalid literal|object|Error\b|expected|unpack|<class")
"""Words of Python, and of no sentence for people."""

_HANGS_S = 10.0
"""CPU time after which a case is broken off."""
_TRIES = 3
"""Tries of a case that took too long: the garbage collector or another process may have had the time."""


class Breach(AssertionError):
    """An input broke the contract; the message says how."""


class _BrokenOff(BaseException):
    """A case went on for too long. No parser catches it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parser of what strangers send."""

    name: str
    opened: Callable[[], AbstractContextManager[Parse]]
    """Sets up what the parser needs, and takes it down."""
    seeds: Callable[[], Sequence[bytes]]
    """Inputs that are valid, or nearly so."""
    words: tuple[bytes, ...] = ()
    """Pieces of the input's language."""
    cases: int = 500
    """Tried in ``make test``."""
    share: int = 10
    """Part of a long run, beside those of the other targets."""
    largest: int = 4_096
    """Bytes."""
    limit_s: float = 0.1
    """CPU time for a case."""


def is_a_sentence(text: str) -> bool:
    """Tell whether a refusal can be shown to people."""
    return len(text) > 10 and text.endswith(".") and INNER_WORDS.search(text) is None


def check_sentence(error: Exception) -> None:
    """Check the refusal of an HTTP request.

    Raises:
        Breach: it is no sentence.
    """
    if not is_a_sentence(str(error)):
        raise Breach(f"no sentence for people: {error}")


def check_line(error: Exception) -> None:
    """Check the refusal of a command, which prints it as one line.

    Raises:
        Breach: it says nothing, or speaks of Python.
    """
    if not str(error) or re.search(r"NoneType|Traceback|<class|not in list|invalid literal", str(error)):
        raise Breach(f"no line for people: {error}")


@contextmanager
def held_to_contract(target: Target) -> Iterator[Parse]:
    """Open a target; the function that is yielded raises for every input that breaks the contract.

    Raises:
        Breach: on leaving, for threads and descriptors that stayed.
    """
    # Modules that are loaded once stay, and are no leak.
    with target.opened() as parse:
        for seed in target.seeds():
            parse(seed)
    gc.collect()
    before = _held()
    previous = signal.signal(signal.SIGVTALRM, _break_off)
    try:
        with target.opened() as parse:

            def parse_in_time(data: bytes) -> None:
                for _ in range(_TRIES):
                    taken_s = _timed(parse, data)
                    if taken_s <= target.limit_s:
                        return
                raise Breach(f"{taken_s:.2f} s of CPU for {len(data)} bytes")

            yield parse_in_time
    finally:
        signal.signal(signal.SIGVTALRM, previous)
    gc.collect()
    if (after := _held()) != before:
        raise Breach(f"threads and descriptors before: {before}, after: {after}")


def _timed(parse: Parse, data: bytes) -> float:
    """Parse; return the seconds of CPU that it took."""
    signal.setitimer(signal.ITIMER_VIRTUAL, _HANGS_S)
    began_at = time.thread_time()
    try:
        parse(data)
    except _BrokenOff:
        raise Breach(f"no end after {_HANGS_S:.0f} s of CPU for {len(data)} bytes") from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.thread_time() - began_at


def _break_off(_: int, __: FrameType | None) -> None:
    raise _BrokenOff


def _held() -> tuple[int, int]:
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

"""Turn Ctrl-C into a request to end in good order."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on the first SIGINT or SIGTERM within the block; the second one acts as it always does.

    Does nothing if the event loop takes no signals: outside the main thread, and on Windows.
    """
    loop = asyncio.get_running_loop()

    def restore() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def stop_once() -> None:
        restore()
        stop()

    try:
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop_once)
    except (NotImplementedError, RuntimeError, ValueError):
        yield
        return
    try:
        yield
    finally:
        restore()

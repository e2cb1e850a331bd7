"""Turn Ctrl-C into a request to end in good order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from voxgender.system import on_signal

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on the first SIGINT or SIGTERM within the block; the second one acts as it always does.

    Does nothing outside the main thread, which gets no signals.
    """
    with ExitStack() as handlers:

        def stop_once() -> None:
            handlers.close()
            stop()

        with suppress(ValueError):
            for number in _SIGNALS:
                handlers.callback(on_signal(number, stop_once))
        yield

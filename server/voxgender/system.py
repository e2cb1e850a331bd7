"""Ask the operating system for what Linux, macOS and Windows have by different names, or not at all."""

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress


def usable_cores() -> int:
    """Return how many cores this process may use, if the system tells; else how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def on_signal(number: signal.Signals, callback: Callable[[], None]) -> Callable[[], object]:
    """Call ``callback`` on the running event loop at each signal, until what is returned is called.

    Raises:
        ValueError: this is not the main thread.
    """
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, callback)
    except NotImplementedError:
        # Windows. Its event loop looks at signals only when something wakes it, which the call does.
        before = signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
        return lambda: signal.signal(number, before)
    except RuntimeError as error:
        # uvloop's word for it.
        raise ValueError(str(error)) from error
    return lambda: loop.remove_signal_handler(number)


def release_memory() -> None:
    """Return unused memory to the system, if the C library can do that (glibc)."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)

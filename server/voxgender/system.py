"""Ask the operating system for what Linux, macOS and Windows have by different names, or not at all."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic, process_time


def usable_cores() -> int:
    """Return how many cores this process may use, if the system tells; else how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ProcessLoad:
    """Measures how much of its cores this process uses."""

    def __init__(self) -> None:
        self._measured_at, self._cpu_s = monotonic(), process_time()
        self._load = 0.0

    def measure(self, over_s: float = 0.5) -> float:
        """Return the share of its cores in use since the last measurement that is at least ``over_s`` old."""
        now, cpu_s = monotonic(), process_time()
        if (elapsed := now - self._measured_at) >= over_s:
            self._load = (cpu_s - self._cpu_s) / elapsed / usable_cores()
            self._measured_at, self._cpu_s = now, cpu_s
        return self._load


def on_signal(number: signal.Signals, callback: Callable[[], None]) -> Callable[[], object]:
    """Call ``callback`` on the running event loop at each signal. Returns a function that stops this.

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


def end_with_parent() -> None:
    """End this process of ``multiprocessing`` at once when the process that started it has ended for any reason.

    Without it, one that waits for work waits for ever: a parent that is killed tells its children nothing, and each
    of them holds both ends of the pipe that the work comes by.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), name="end-with-parent", daemon=True).start()


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def resident_bytes() -> int:
    """Return the memory of this process; without Linux's /proc, the most that it had; 0 where nothing tells."""
    try:
        # Linux: sizes in pages, the second of which is this one.
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1_024


def release_memory() -> None:
    """Return unused memory to the system, if the C library can do that (glibc)."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)

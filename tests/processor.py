"""Tell how long this process had to wait for a processor, so that a busy machine is not taken for a slow server."""

from contextlib import suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


def waited_s() -> float:
    """Return the seconds that the threads of this process have been ready to run while other programs ran.

    The sum over the threads that live now, as Linux counts it (``run_delay`` in ``/proc/PID/task/TID/schedstat``); 0.0
    on systems that do not count it.
    """
    total_ns = 0
    with suppress(FileNotFoundError):
        for thread in _THREADS.iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                total_ns += int((thread / "schedstat").read_text().split()[1])
    return total_ns / 1e9

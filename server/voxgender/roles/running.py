"""Run any role: start, announce, wait for a stop, drain, end."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Protocol

from voxgender.roles.hosting import Stop
from voxgender.system import on_signal

logger = logging.getLogger(__name__)


class Role(Protocol):
    """Serves one part of voxgender, or all of it, for as long as the process runs."""

    async def start(self, stack: AsyncExitStack) -> str:
        """Serve until ``stack`` is left, and return the URL to announce. Cancelled by a stop that comes before that.

        Raises:
            VoxgenderError: the address is taken, the model cannot be loaded, an option cannot be used.
        """
        ...

    async def drain(self, stop: Stop) -> None:
        """Take no more calls, and wait until those that are up have moved, time is up, or ``stop.now`` is set."""
        ...

    def reload(self) -> None:
        """Load the model again while calls go on, if there is one."""
        ...


async def run(role: Role, announce: Callable[[str], None] = lambda url: None, stop: Stop | None = None) -> None:
    """Serve until SIGINT, or until SIGTERM and all calls have moved; then end every call in good order.

    SIGHUP loads the model again.

    Args:
        role: what to serve.
        announce: receives the role's URL once calls are taken.
        stop: says when to stop; the process's signals do, if it is None.

    Raises:
        VoxgenderError: the role cannot start. See :meth:`Role.start`.
    """
    if stop is None:
        stop = Stop()
        stop.on_signals()
        # In a terminal it says that the terminal was closed, which ends the process.
        if hasattr(signal, "SIGHUP") and not sys.stdin.isatty():
            on_signal(signal.SIGHUP, role.reload)
    async with AsyncExitStack() as stack:
        try:
            url = await _unless_stopped(stop, role.start(stack))
            if url is None:
                return
            announce(url)
            await stop.asked.wait()
            await role.drain(stop)
            logger.info("stopping")
        finally:
            stop.end_in_time()


async def _unless_stopped(stop: Stop, start: Coroutine[object, object, str]) -> str | None:
    starting = asyncio.create_task(start, name="start")
    stopped = asyncio.create_task(stop.asked.wait(), name="stop")
    try:
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        return starting.result() if starting.done() else None
    finally:
        if stop.asked.is_set():
            stop.end_in_time()
        for task in (starting, stopped):
            task.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)

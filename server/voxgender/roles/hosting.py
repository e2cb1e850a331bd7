"""What every role of the server shares: where it listens, and when it stops."""

import asyncio
import atexit
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

from aiohttp import web

from voxgender.errors import VoxgenderError

T = TypeVar("T")

SHUTDOWN_S = 2.0
"""Time for requests in hand when a server stops."""


class Stop:
    """The wish to stop. SIGTERM: once calls have moved. SIGINT, or a second signal: now."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.now = asyncio.Event()

    def on_signals(self) -> None:
        """Listen to the process's signals from now on."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        loop.add_signal_handler(signal.SIGINT, self.at_once)

    def drain(self) -> None:
        if self.asked.is_set():
            self.now.set()
        self.asked.set()

    def at_once(self) -> None:
        self.now.set()
        self.asked.set()


async def listen(app: web.Application, stack: AsyncExitStack, *, host: str, port: int) -> int:
    """Serve until the stack is left. Returns the TCP port.

    Raises:
        VoxgenderError: the address is taken, or none of this machine.
    """
    runner = await _runner(app, stack)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise VoxgenderError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose another with --port"
        ) from None
    taken: int = runner.addresses[0][1]
    return taken


async def listen_on_socket(app: web.Application, stack: AsyncExitStack, path: str) -> None:
    """Serve on a Unix domain socket until the stack is left."""
    await web.UnixSite(await _runner(app, stack), path).start()


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds what listens there."""
    if host in ("127.0.0.1", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


async def unless_stopped(stop: Stop, load: Callable[[], T]) -> T | None:
    """Run ``load``, which takes seconds, in a thread; None where the process is to stop before that is done."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            result = load()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            _settle(loop, loaded, error=error)
        else:
            _settle(loop, loaded, result=result)

    # A daemon, and no executor's thread: those are waited for at the end.
    threading.Thread(target=work, name="voxgender-loading", daemon=True).start()
    stopped = asyncio.create_task(stop.asked.wait())
    try:
        await asyncio.wait((loaded, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
    if loaded.done():
        return loaded.result()
    # Native code that is still being imported does not survive the end of the interpreter: leave before that.
    atexit.register(_leave)
    return None


def settle() -> None:
    """Make what is loaded by now the process's ground. Takes 0.1 s: call it before the first session.

    The garbage collector looks through it no more, which would hold up every call for 40 ms; memory that only loading
    needed goes back to the system, where the C library knows how to (glibc).
    """
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _settle(
    loop: asyncio.AbstractEventLoop,
    future: "asyncio.Future[T]",
    *,
    result: T | None = None,
    error: Exception | None = None,
) -> None:
    def settle() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _runner(app: web.Application, stack: AsyncExitStack) -> web.AppRunner:
    # No access log: a session's URL is its key.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner

"""Listen, load and stop: the parts that every role of the server shares."""

import asyncio
import atexit
import functools
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

from aiohttp import web

from voxgender.errors import VoxgenderError
from voxgender.http.app import create_metrics_app
from voxgender.http.connections import LimitedRunner, TimeLimits
from voxgender.http.health import MetricsText, own_metrics
from voxgender.settings import MetricsOptions
from voxgender.system import on_signal, release_memory

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHUTDOWN_S = 2.0
"""Time for open requests when a server stops."""
ENDING_S = 9.0
"""Time from the end of the draining to that of the process. It is ended then, whatever it still waits for."""
LIMITS = TimeLimits()


class Stop:
    """A request to stop. SIGTERM: once calls have moved. SIGINT, or a second signal: now."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.now = asyncio.Event()
        self._is_of_process = False

    def on_signals(self) -> None:
        """Listen to the process's signals from now on."""
        self._is_of_process = True
        on_signal(signal.SIGTERM, self.drain)
        on_signal(signal.SIGINT, self.at_once)

    def drain(self) -> None:
        if self.asked.is_set():
            self.now.set()
        self.asked.set()

    def at_once(self) -> None:
        self.now.set()
        self.asked.set()

    def end_in_time(self) -> None:
        """End the process after ``ENDING_S`` at the latest, if it listens to signals: the calls have had their time.

        A library may wait for what never comes, also after the event loop has ended: a look-up in a DNS that does not
        answer occupies a thread that Python waits for.
        """
        if self._is_of_process:
            timer = threading.Timer(ENDING_S, _leave, (1,))
            timer.daemon = True
            timer.start()
            _ending.append(timer)


_ending: list[threading.Timer] = []


def ended() -> None:
    """Note that the event loop has ended, and all threads that it waits for: the process need not be ended."""
    while _ending:
        _ending.pop().cancel()


async def listen(
    app: web.Application,
    stack: AsyncExitStack,
    *,
    host: str,
    port: int,
    limits: TimeLimits = LIMITS,
    option: str = "--port",
) -> int:
    """Serve until the stack is left. Returns the TCP port.

    Raises:
        VoxgenderError: the address is taken, or none of this machine.
    """
    runner = await _runner(app, stack, limits)
    try:
        await _site(runner, host, port).start()
    except OSError as error:
        raise VoxgenderError(
            f"cannot listen on {host} port {port} ({error.strerror}); choose another with {option}"
        ) from None
    taken: int = runner.addresses[0][1]
    return taken


def _site(runner: web.BaseRunner, host: str, port: int) -> web.BaseSite:
    if host == "::" and socket.has_dualstack_ipv6():
        # asyncio would leave IPv4 out, though a machine's addresses of both kinds lead here.
        return web.SockSite(
            runner, socket.create_server((host, port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
        )
    return web.TCPSite(runner, host, port)


async def listen_for_metrics(
    options: MetricsOptions, stack: AsyncExitStack, metrics: MetricsText = own_metrics
) -> None:
    """Serve ``/metrics`` at its own address, if it has one, until the stack is left.

    Raises:
        VoxgenderError: the address is taken, or none of this machine.
    """
    if options.host_and_port is not None:
        host, port = options.host_and_port
        app = create_metrics_app(metrics)
        await listen(app, stack, host=host, port=port, option="--metrics-address")


async def listen_on_socket(app: web.Application, stack: AsyncExitStack, path: str) -> None:
    """Serve on a Unix domain socket until the stack is left."""
    await web.UnixSite(await _runner(app, stack, LIMITS), path).start()


def url_of(host: str, port: int) -> str:
    """Return the URL by which a browser on this machine reaches a listening address."""
    if host in ("127.0.0.1", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


async def load_in_thread(load: Callable[[], T]) -> T:
    """Run ``load``, which takes seconds, in its own thread. If the caller is cancelled, it does not wait.

    Raises:
        Exception: whatever ``load`` raises.
    """
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[T] = loop.create_future()

    def set_result(result: T) -> None:
        if not loaded.done():
            loaded.set_result(result)

    def set_exception(error: Exception) -> None:
        if not loaded.done():
            loaded.set_exception(error)

    def work() -> None:
        try:
            result = load()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            done = functools.partial(set_exception, error)
        else:
            done = functools.partial(set_result, result)
        # RuntimeError: nobody waited, and the loop is closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(done)

    # A daemon thread instead of an executor's: the interpreter waits for the latter at its end.
    threading.Thread(target=work, name="voxgender-loading", daemon=True).start()
    try:
        return await loaded
    except asyncio.CancelledError:
        # Native code crashes if the interpreter ends during its import: exit before that.
        atexit.register(_leave)
        raise


def freeze_loaded() -> None:
    """Exclude all present objects from garbage collection. Takes 0.1 s: call it before the first session.

    To collect them would stop every call for 40 ms. Memory that only loading needed is returned to the system.
    """
    gc.collect()
    gc.freeze()
    release_memory()


def _leave(status: int = 0) -> None:
    if status:
        logger.error("stopping took longer than %g s, so the process ends as it is", ENDING_S)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def _runner(app: web.Application, stack: AsyncExitStack, limits: TimeLimits) -> web.AppRunner:
    runner = LimitedRunner(app, limits=limits, shutdown_timeout_s=SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner

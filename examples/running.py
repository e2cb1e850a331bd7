"""Run commands of voxgender beside an example, and end them with it."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp import web

HERE = Path(__file__).parent
QUIET = {"VOXGENDER_LOG_LEVEL": "warning", "VOXGENDER_DRAIN_TIMEOUT_S": "0"}


@asynccontextmanager
async def voxgender(*arguments: str, **environment: str) -> AsyncIterator[str]:
    """Start a server by one of voxgender's commands, and yield its URL once it takes calls."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **QUIET, **environment},
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        if "ready" not in line:
            sys.exit(f"voxgender {arguments[0]} did not start.")
        yield line.split()[-1].rstrip("/")
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM once the example ends, which cannot stop its servers if it is killed (prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def command(*arguments: str) -> list[str]:
    """Return the command line of voxgender in this interpreter's environment."""
    return [sys.executable, "-m", "voxgender.cli", *arguments]


def page(name: str, **values: str) -> web.RouteDef:
    """Serve an HTML file of this folder at ``/``, with each ``{{name}}`` in it replaced."""
    text = (HERE / name).read_text()
    for key, value in values.items():
        text = text.replace(f"{{{{{key}}}}}", value)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    return web.get("/", answer)


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[str]:
    """Serve an application on this machine alone, and yield its URL. Port 0 takes a free one."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "localhost", port).start()
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def run(program: Coroutine[None, None, None]) -> None:
    """Run an example until it is done, or until it is stopped by Ctrl-C, by SIGTERM, or with its terminal."""

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        for name in ("SIGTERM", "SIGHUP"):
            # Windows has no such handlers; and nohup has SIGHUP ignored.
            with suppress(NotImplementedError):
                if (number := getattr(signal, name, None)) and signal.getsignal(number) != signal.SIG_IGN:
                    asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await program

    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(main())

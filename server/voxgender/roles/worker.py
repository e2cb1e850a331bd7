"""``python -m voxgender.roles.worker``: one media process of ``voxgender serve --workers``.

It reads its configuration from stdin, one line of JSON, and then commands: ``drain``, ``reload``. It ends when stdin
ends, which happens when the front ends for any reason. It writes its status to stdout, one line of JSON each.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from voxgender import logs
from voxgender.errors import SettingsError, VoxgenderError
from voxgender.fleet.secret import Secret
from voxgender.roles.hosting import Stop, listen_on_socket
from voxgender.roles.running import run
from voxgender.roles.workermessages import DRAIN, RELOAD, WorkerConfig, WorkerStatus
from voxgender.system import on_signal


async def work(commands: asyncio.StreamReader, tell: Callable[[WorkerStatus], None]) -> None:
    """Run a media node until stdin ends or it is told to drain."""
    from voxgender.roles.media import Media
    from voxgender.roles.serve import make_classifier, make_engine

    line = await commands.readline()
    if not line:
        return
    config = msgspec.json.decode(line, type=WorkerConfig)
    settings = config.settings
    logs.start(settings.log.log_level, process=f"worker {config.number}")
    stop = Stop()
    # Ctrl-C reaches all processes of the terminal; the front decides what it means.
    on_signal(signal.SIGINT, lambda: None)
    if hasattr(signal, "SIGHUP"):
        on_signal(signal.SIGHUP, lambda: None)
    on_signal(signal.SIGTERM, stop.asked.set)

    async def serve_api(app: web.Application, stack: AsyncExitStack) -> str:
        await listen_on_socket(app, stack, config.socket)
        return ""

    node = Media(
        settings,
        make_engine,
        Secret(config.secret),
        serve_api=serve_api,
        cores=config.cores,
        make_classifier=make_classifier,
    )
    reading = asyncio.create_task(_read_commands(commands, stop, node.reload))
    try:
        await run(node, lambda _: tell(WorkerStatus()), stop)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        if not reading.cancelled():
            _remove_socket(config.socket)


async def _read_commands(commands: asyncio.StreamReader, stop: Stop, reload: Callable[[], None]) -> None:
    while command := await commands.readline():
        if command == DRAIN:
            stop.asked.set()
        elif command == RELOAD:
            reload()
    stop.at_once()


def _remove_socket(socket: str) -> None:
    """Remove the socket, and the folder if it is empty, in case the front has died."""
    with suppress(OSError):
        Path(socket).unlink(missing_ok=True)
        Path(socket).parent.rmdir()


async def _main() -> int:
    # Stdout is for statuses alone: output of libraries goes to stderr.
    statuses = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def write_status(status: WorkerStatus) -> None:
        statuses.write(msgspec.json.encode(status) + b"\n")

    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    try:
        await work(commands, write_status)
    except VoxgenderError as error:
        status = 2 if isinstance(error, SettingsError) else 1
        write_status(WorkerStatus(error=str(error), status=status))
        return status
    return 0


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


if __name__ == "__main__":
    sys.exit(_run(_main()))

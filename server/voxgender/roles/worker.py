"""``python -m voxgender.roles.worker``: one media process of ``voxgender serve --workers``.

It reads its configuration from stdin, one line of JSON, and then orders: ``drain``. The end of stdin is the end of the
process that started it, however that came about, and so its own. On stdout it says how it gets on, a line of JSON each.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from voxgender.errors import SettingsError, VoxgenderError
from voxgender.fleet.secret import Secret
from voxgender.roles.hosting import Stop, listen_on_socket
from voxgender.roles.workermessages import DRAIN, WorkerConfig, WorkerStatus
from voxgender.settings import Settings


async def work(orders: asyncio.StreamReader, tell: Callable[[WorkerStatus], None]) -> None:
    """Be a media node until told otherwise."""
    from voxgender.roles.media import run_node
    from voxgender.roles.serve import make_analyzer

    line = await orders.readline()
    if not line:
        return
    task = msgspec.json.decode(line, type=WorkerConfig)
    settings = msgspec.convert(task.settings, Settings)
    logging.basicConfig(
        format=f"%(asctime)s %(levelname)s %(name)s (worker {task.number}): %(message)s", level=logging.WARNING
    )
    logging.getLogger("voxgender").setLevel(settings.log_level.upper())
    stop = Stop()
    loop = asyncio.get_running_loop()
    # Ctrl-C goes to all processes of the terminal; the one that started this says what it means.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, stop.asked.set)

    async def open_face(face: web.Application, stack: AsyncExitStack) -> str:
        await listen_on_socket(face, stack, task.socket)
        return ""

    obeying = asyncio.create_task(_read_commands(orders, stop))
    try:
        await run_node(
            settings,
            make_analyzer,
            Secret(task.secret),
            stop,
            open_face,
            announce=lambda _: tell(WorkerStatus()),
            cores=task.cores,
        )
    finally:
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)
        if not obeying.cancelled():
            _tidy_up(task.socket)


async def _read_commands(orders: asyncio.StreamReader, stop: Stop) -> None:
    while order := await orders.readline():
        if order == DRAIN:
            stop.asked.set()
    stop.at_once()


def _tidy_up(socket: str) -> None:
    """What the process that started this may not be there any more to do; whoever goes last removes the folder."""
    with suppress(OSError):
        Path(socket).unlink(missing_ok=True)
        Path(socket).parent.rmdir()


async def _main() -> int:
    # Stdout is for reports alone: what a library prints is not to be read as one.
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(report: WorkerStatus) -> None:
        reports.write(msgspec.json.encode(report) + b"\n")

    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    try:
        await work(orders, tell)
    except VoxgenderError as error:
        status = 2 if isinstance(error, SettingsError) else 1
        tell(WorkerStatus(error=str(error), status=status))
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

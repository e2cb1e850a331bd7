"""Roles of the server as processes of their own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import psutil
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1", "VOXGENDER_SECRET": "shared"}


class Role:
    """A process that has said its first line, or has ended without."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    async def stop(self, number: int) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.communicate(), 30)
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def a_process(*arguments: str, program: Iterable[str] = ("-m", "voxgender")) -> AsyncIterator[Role]:
    """A role, as soon as its process has been made."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *arguments, "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    try:
        yield Role(process, "")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def a_role(*arguments: str, program: Iterable[str] = ("-m", "voxgender")) -> AsyncIterator[Role]:
    """A role that is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, *arguments, "--port", "0", stdout=asyncio.subprocess.PIPE, env=ENVIRONMENT
    )
    try:
        assert process.stdout is not None
        said = (await process.stdout.readline()).decode()
        yield Role(process, said.split()[-1].rstrip("/") if said else "")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def metrics(http: ClientSession) -> dict[str, float]:
    """Return a server's metrics by name; of several labels the last."""
    async with http.get("/metrics") as response:
        families = text_string_to_metric_families(await response.text())
        return {sample.name: sample.value for family in families for sample in family.samples}

"""A real Redis of a test's own, which may be stopped and started again."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LOOPBACK = "127.0.0.1"


class RedisServer:
    """``redis-server`` on a free loopback port, which it keeps."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind((LOOPBACK, 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it empty; return once it answers."""
        options = ("--port", str(self.port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no")
        self._process = await asyncio.create_subprocess_exec(
            "redis-server", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        while b"Ready to accept connections" not in (line := await self._process.stdout.readline()):
            assert line, "redis-server did not start"

    async def stop(self) -> None:
        """Kill it, and all that it held."""
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()
            self._process = None


@asynccontextmanager
async def a_redis() -> AsyncIterator[RedisServer]:
    server = RedisServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()

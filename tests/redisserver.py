"""A real Redis of a test's own, which may be stopped and started again, and an address at which it is slow."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

LOOPBACK = "127.0.0.1"


class RedisServer:
    """``redis-server`` on a free loopback port, which it keeps; ``options`` are its own."""

    def __init__(self, *options: str) -> None:
        self.port = a_free_port()
        self.options = options
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it empty; return once it answers."""
        options = ("--port", str(self.port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no", *self.options)
        self._process = await asyncio.create_subprocess_exec(
            "redis-server", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        while b"Ready to accept connections" not in (line := await self._process.stdout.readline()):
            assert line, "redis-server did not start"

    def freeze(self) -> None:
        """Let it answer nothing, while the kernel goes on taking connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def stop(self) -> None:
        """Kill it, and all that it held."""
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()
            self._process = None


def a_free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port: int = free.getsockname()[1]
        return port


@asynccontextmanager
async def a_redis(*options: str) -> AsyncIterator[RedisServer]:
    server = RedisServer(*options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class SlowWay:
    """An address that leads to a Redis, and holds back all that it replies by ``delay_s``."""

    def __init__(self, redis: RedisServer) -> None:
        self.delay_s = 0.0
        self.url = ""
        self._redis = redis
        self._serving: set[asyncio.Task[None]] = set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def close(self) -> None:
        """End all connections, also those that hold something back."""
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, commands = await asyncio.open_connection(LOOPBACK, self._redis.port)

        async def ask() -> None:
            while read := await reader.read(65_536):
                commands.write(read)
            commands.close()

        asking = asyncio.create_task(ask())
        try:
            with suppress(ConnectionError):
                while read := await replies.read(65_536):
                    await asyncio.sleep(self.delay_s)
                    writer.write(read)
                    await writer.drain()
        finally:
            asking.cancel()
            for one in (commands, writer):
                one.close()
                with suppress(ConnectionError):
                    await one.wait_closed()


@asynccontextmanager
async def a_slow_way_to(redis: RedisServer) -> AsyncIterator[SlowWay]:
    way = SlowWay(redis)
    server = await asyncio.start_server(way.connect, LOOPBACK)
    way.url = f"redis://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/0"
    async with server:
        try:
            yield way
        finally:
            await way.close()

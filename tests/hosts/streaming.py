"""A client that streams in real time from a host of its own, and comes again where its results ended.

``python -m tests.hosts.streaming URL …`` runs on the host, and tells on standard output, which no network cuts.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from aiohttp import ClientError, ClientSession, ClientTimeout, ClientWebSocketResponse, ClientWSTimeout, WSMsgType

from tests.hosts.network import Host
from tests.waits import PATIENCE_S
from voxgender import protocol

CHUNK_S = 0.04
BYTES_PER_S = 32_000
QUIET_S = 1.5
"""Time without a message after which the connection is given up."""
CLOSE = ClientWSTimeout(ws_close=0.2)
"""A close has no way to go by where the network is gone."""


class Stream:
    """The messages that the client on the host has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.sessions: list[str] = []
        self.results: list[protocol.Result] = []
        self._losses = 0

    async def heard(self, count: int) -> None:
        """Wait for so many results more."""
        wanted = len(self.results) + count
        while len(self.results) < wanted:
            await self._next()

    async def noticed(self, losses: int) -> None:
        """Wait until the client has given up so many connections."""
        while self._losses < losses:
            await self._next()

    async def finish(self) -> list[protocol.Result]:
        """End the client; return all results."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        while await self._next():
            pass
        return self.results

    async def _next(self) -> bool:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self.process.stdout.readline()
        if not line:
            return False
        if line == b"lost\n":
            self._losses += 1
            return True
        message = protocol.decode(line)
        if isinstance(message, protocol.Hello):
            self.sessions.append(message.session)
        elif isinstance(message, protocol.Result):
            self.results.append(message)
        return True


@asynccontextmanager
async def streaming(host: Host, signaling: Sequence[str]) -> AsyncIterator[Stream]:
    """Stream silence from a host to any of the instances of signaling."""
    command = host.command(sys.executable, "-m", "tests.hosts.streaming", *signaling)
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Stream(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _stream(signaling: Sequence[str], over: asyncio.Event) -> None:
    told_ms = tries = 0
    async with ClientSession(timeout=ClientTimeout(total=QUIET_S)) as http:
        while not over.is_set():
            url = f"{signaling[tries % len(signaling)]}/listen?from_ms={told_ms}"
            tries += 1
            try:
                async with http.ws_connect(url, timeout=CLOSE) as socket:
                    told_ms = await _carry(socket, told_ms, over)
            except (ClientError, TimeoutError):
                await asyncio.sleep(0.1)


async def _carry(socket: ClientWebSocketResponse, told_ms: int, over: asyncio.Event) -> int:
    """Send until nothing comes back; return where the last result ended."""
    sending = asyncio.create_task(_send(socket, over))
    try:
        while True:
            message = await socket.receive(QUIET_S)
            if message.type is not WSMsgType.TEXT:
                return told_ms
            _tell(message.data)
            told = json.loads(message.data)
            if told["type"] == "result":
                told_ms = round(told["end"] * 1_000)
    except TimeoutError:
        _tell("lost")
        return told_ms
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(socket: ClientWebSocketResponse, over: asyncio.Event) -> None:
    while not over.is_set():
        await socket.send_bytes(bytes(round(CHUNK_S * BYTES_PER_S)))
        await asyncio.sleep(CHUNK_S)
    await socket.send_str('{"type":"close"}')


def _tell(line: str) -> None:
    print(line, flush=True)


async def _main() -> None:
    over = asyncio.Event()
    streaming = asyncio.create_task(_stream(sys.argv[1:], over))
    await asyncio.to_thread(sys.stdin.read)
    over.set()
    await streaming


if __name__ == "__main__":
    asyncio.run(_main())

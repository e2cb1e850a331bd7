"""A real server, in the test's own process or in one of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from aiohttp import web

from voxgender.analysis import Analyzer
from voxgender.media.node import MediaNode
from voxgender.peer import speech
from voxgender.peer.speech import Speech, Turn
from voxgender.settings import Settings
from voxgender.signaling.app import create_app


@pytest.fixture(scope="session")
def dialogue_packets() -> list[bytes]:
    return list(speech.synthesised().packets)


@pytest.fixture
def short_speech(dialogue_packets: list[bytes]) -> Speech:
    """A second and a half of the man."""
    return Speech(dialogue_packets[25:100], (Turn(0.0, 1.5, "male"),))


@dataclass
class Server:
    url: str
    node: MediaNode


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture(scope="session")
def analyzer() -> Iterator[Analyzer]:
    """Everything but a model."""
    made = Analyzer(None)
    yield made
    made.close()


@pytest.fixture
async def serve(analyzer: Analyzer) -> AsyncIterator[Serve]:
    """Start a server in this process; options are those of ``Settings``."""
    async with AsyncExitStack() as stack:

        async def start(**options: object) -> Server:
            settings = Settings.load(options, {})
            node = MediaNode(ice_addresses=["127.0.0.1"], max_sessions=settings.max_sessions)
            runner = web.AppRunner(create_app(settings, node), shutdown_timeout=1.0)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            node.start(analyzer)
            stack.push_async_callback(node.close)
            return Server(f"http://127.0.0.1:{runner.addresses[0][1]}", node)

        yield start


@dataclass
class ServerProcess:
    url: str
    process: asyncio.subprocess.Process


@pytest.fixture
async def server_process() -> AsyncIterator[ServerProcess]:
    """A server that can be killed."""
    command = ["-m", "voxgender.cli", "serve", "--model", "off", "--port", "0", "--ice-address", "127.0.0.1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield ServerProcess(line.split()[-1], process)
    finally:
        if process.returncode is None:
            process.kill()
        # Drains the pipe as well, so that its transport closes with this loop.
        await process.communicate()


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    """Fails a test after which tasks still run."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        # A task that was cancelled a moment ago needs a turn of the loop to end.
        _, left = await asyncio.wait(left, timeout=1.0)
    assert not left

"""A real server, in the test's own process or in one of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from tests.options import given
from tests.rtc import Server, a_server
from voxgender.engine import Engine
from voxgender.peer import speech
from voxgender.peer.speech import Speech
from voxgender.peer.voices import SpeakerTurn
from voxgender.settings import FrontSettings


@pytest.fixture(scope="session")
def dialogue_packets() -> list[bytes]:
    return list(speech.synthesised().packets)


@pytest.fixture
def short_speech(dialogue_packets: list[bytes]) -> Speech:
    """A second and a half of the man."""
    return Speech(dialogue_packets[25:100], (SpeakerTurn(0.0, 1.5, "male"),))


Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve(engine: Engine) -> AsyncIterator[Serve]:
    """Start a server in this process; options are those of ``FrontSettings``, and the node's limit of calls."""
    async with AsyncExitStack() as stack:

        async def start(*, max_sessions: int = 100, **options: object) -> Server:
            settings = given(FrontSettings, **options)
            return await stack.enter_async_context(a_server(engine, settings=settings, max_sessions=max_sessions))

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

"""Raw audio from a pipe."""

import asyncio
import os
from unittest.mock import Mock

import pytest

from tests.waits import PATIENCE_S, until
from voxgender.audiostream import StreamFormat
from voxgender.errors import AudioError
from voxgender.peer.audiosource import RawSource


async def test_a_pipe_that_gives_nothing_is_left_at_once() -> None:
    """``voxgender listen URL -`` did not end by Ctrl-C, nor with its server, until something came through the pipe."""
    out, into = os.pipe()
    with os.fdopen(out, "rb") as pipe, os.fdopen(into, "wb", buffering=0) as writer:
        writer.write(b"\1\2")
        watched = Mock(wraps=pipe)
        chunks = RawSource(watched, StreamFormat()).chunks()
        async with asyncio.timeout(PATIENCE_S):
            assert await anext(chunks) == b"\1\2"
            reading = asyncio.ensure_future(anext(chunks))
            await until(lambda: watched.fileno.call_count == 2)
            reading.cancel()
            await asyncio.wait({reading})
            await asyncio.get_running_loop().shutdown_default_executor()


async def test_a_pipe_that_does_not_wait_is_refused_and_not_taken_for_ended() -> None:
    out, into = os.pipe()
    os.set_blocking(out, False)
    with os.fdopen(out, "rb") as pipe, os.fdopen(into, "wb"), pytest.raises(AudioError, match="does not wait"):
        await anext(RawSource(pipe, StreamFormat()).chunks())


async def test_a_pipe_is_read_to_its_end() -> None:
    out, into = os.pipe()
    with os.fdopen(into, "wb") as writer:
        writer.write(bytes(40_000))
    with os.fdopen(out, "rb") as pipe:
        assert sum([len(chunk) async for chunk in RawSource(pipe, StreamFormat()).chunks()]) == 40_000

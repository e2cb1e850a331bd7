"""The end of a connection: no errors in the log, and nothing that its parts hold of one another."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiortc import InvalidStateError, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from tests.media.aiortc_internals.pair import on_loopback
from tests.rtc import ToneTrack
from voxgender.media.aiortc_internals.closing import close, suppress_close_errors


async def test_what_is_under_way_when_the_connection_closes_is_no_error() -> None:
    """The log filled with "Task exception was never retrieved" when calls ended under load, or while connecting."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.createDataChannel("x")
    failed: list[type[Exception]] = []

    def failing(error: type[Exception]) -> Callable[[], Awaitable[None]]:
        async def fail() -> None:
            failed.append(error)
            raise error

        return fail

    plain: Any = pc
    assert inspect.iscoroutinefunction(plain.sctp._data_channel_flush)
    assert inspect.iscoroutinefunction(plain._RTCPeerConnection__connect)
    plain.sctp._data_channel_flush = failing(ConnectionError)
    plain._RTCPeerConnection__connect = failing(InvalidStateError)
    suppress_close_errors(pc)
    await plain.sctp._data_channel_flush()
    await plain._RTCPeerConnection__connect()
    assert failed == [ConnectionError, InvalidStateError]
    plain.sctp._data_channel_flush = failing(ZeroDivisionError)
    suppress_close_errors(pc)
    with pytest.raises(ZeroDivisionError):
        await plain.sctp._data_channel_flush()
    await pc.close()
    without = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    suppress_close_errors(without)
    await without.close()


async def test_close_undoes_what_aiortc_leaves_of_a_call_that_never_came_up() -> None:
    """tests/media/test_memory.py shows that it is enough."""
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    caller.addTrack(ToneTrack())
    on_loopback(caller)
    await caller.setLocalDescription(await caller.createOffer())
    nowhere = re.sub(r"127\.0\.0\.1 \d+(?= typ host)", "127.0.0.1 9", caller.localDescription.sdp)
    await caller.close()
    await callee.setRemoteDescription(RTCSessionDescription(nowhere, "offer"))
    suppress_close_errors(callee)
    on_loopback(callee)
    await callee.setLocalDescription(await callee.createAnswer())
    dtls = callee.getTransceivers()[0].receiver.transport
    connection = dtls.transport._connection
    async with asyncio.timeout(10):
        while not any(pair.task for pair in connection._check_list):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    pairs = list(connection._check_list)

    await callee.close()
    assert any(pair.task for pair in connection._check_list), "aioice does it by itself: close need not any more"
    assert dtls.event_names(), "aiortc does it by itself: close need not any more"

    await close(callee)
    assert not connection._check_list
    assert not any(pair.task for pair in pairs)
    assert not dtls.event_names()
    for thing in (callee, connection):
        assert not [name for name in vars(thing) if hasattr(type(thing), name) and callable(vars(thing)[name])]

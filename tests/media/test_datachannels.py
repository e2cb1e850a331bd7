"""Tripwires for the private parts that data channels' short cuts touch, and what these short cuts do."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aioice import Connection
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcsctptransport import RTCSctpTransport
from OpenSSL import SSL

from tests.rtc import ToneTrack
from voxgender.media.datachannels import APPLICATION_DATA, application_data, send_as_aiortc_does, send_at_once
from voxgender.media.network import HostAddresses, bind_ice, close, divert, gather_on
from voxgender.media.receiver import AudioReceiver
from voxgender.media.sockets import Sockets


class Call(NamedTuple):
    caller: RTCPeerConnection
    callee: RTCPeerConnection
    channel: RTCDataChannel
    """The callee's end."""
    told: "asyncio.Queue[str]"
    """What the caller is told."""


@asynccontextmanager
async def a_call() -> AsyncIterator[Call]:
    """A caller as aiortc makes it, and a callee with the short cuts, whose channel is open."""
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    opened: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
    told: asyncio.Queue[str] = asyncio.Queue()
    try:
        caller.addTrack(ToneTrack())
        caller.createDataChannel("x").on("message", told.put_nowait)
        callee.on("datachannel", opened.set_result)
        bind_ice(caller, ["127.0.0.1"])
        await caller.setLocalDescription(await caller.createOffer())
        await callee.setRemoteDescription(caller.localDescription)
        divert(callee.getTransceivers()[0].receiver, AudioReceiver())
        send_at_once(callee)
        gather_on(callee, Sockets(), HostAddresses(("127.0.0.1",)))
        await callee.setLocalDescription(await callee.createAnswer())
        await caller.setRemoteDescription(callee.localDescription)
        async with asyncio.timeout(10):
            yield Call(caller, callee, await opened, told)
    finally:
        await caller.close()
        await close(callee)


def test_the_private_parts_are_where_they_are_looked_for() -> None:
    assert "asyncio.ensure_future(self._data_channel_flush())" in inspect.getsource(RTCSctpTransport._data_channel_send)
    assert inspect.iscoroutinefunction(RTCSctpTransport._data_channel_flush)
    assert inspect.iscoroutinefunction(RTCSctpTransport._handle_data)
    received = inspect.getsource(RTCDtlsTransport._recv_next)
    for step in ("self._ssl.bio_write(data)", "self._ssl.recv(1500)", "self._data_receiver._handle_data(data)"):
        assert step in received, step
    assert "result is None:\n            raise ConnectionError" in inspect.getsource(Connection.recvfrom)
    assert "self._queue.put_nowait((data, component))" in inspect.getsource(Connection.data_received)


async def test_a_message_has_gone_when_send_returns_and_no_task_is_made_of_it() -> None:
    async with a_call() as call:
        sctp: Any = call.callee.sctp
        tasks = asyncio.all_tasks()
        call.channel.send("now")
        assert not sctp._data_channel_queue
        assert not sctp._outbound_queue
        assert asyncio.all_tasks() == tasks
        assert await call.told.get() == "now"


async def test_acknowledgements_are_taken_in_past_the_queue_of_aiortc() -> None:
    async with a_call() as call:
        sctp: Any = call.callee.sctp
        ice = sctp.transport.transport._connection
        queued: list[bytes] = []
        ice.data_received = lambda data, component: queued.append(data)
        for number in range(3):
            call.channel.send(str(number))
        assert [await call.told.get() for _ in range(3)] == ["0", "1", "2"]
        while sctp._sent_queue:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        del ice.data_received
        assert [data for data in queued if data[0] == APPLICATION_DATA] == []


async def test_a_record_that_came_before_is_passed_over() -> None:
    async with a_call() as call:
        sctp: Any = call.callee.sctp
        (protocol,) = sctp.transport.transport._connection._protocols
        plain, taken = protocol.application_data, []
        protocol.application_data = lambda data: (taken.append(data), plain(data))
        call.channel.send("first")
        assert await call.told.get() == "first"
        while not taken:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        plain(taken[0])
        plain(bytes((APPLICATION_DATA,)) + b"no record")
        call.channel.send("second")
        assert await call.told.get() == "second"
        assert call.callee.connectionState == "connected"


async def test_data_that_cannot_be_handled_ends_the_call_as_it_does_on_aiortcs_own_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_call() as call:
        sctp: Any = call.callee.sctp
        closed = asyncio.Event()
        call.callee.on("connectionstatechange", lambda: call.callee.connectionState == "closed" and closed.set())

        async def stumble(data: bytes) -> None:
            raise AssertionError("opened twice")

        sctp._handle_data = stumble
        call.channel.send("to be acknowledged")
        await closed.wait()
    assert "opened twice" in caplog.text


async def test_a_message_that_there_is_no_way_for_is_lost_without_a_word() -> None:
    """The log filled with "Task exception was never retrieved" when calls ended under load."""
    async with a_call() as call:
        sctp: Any = call.callee.sctp
        for error in (ConnectionError, SSL.SysCallError):

            async def fail(data: bytes, error: type[Exception] = error) -> None:
                raise error

            sctp.transport._send_data = fail
            call.channel.send("lost")
        del sctp.transport._send_data


async def test_what_waits_after_all_is_an_error_and_not_half_done() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.createDataChannel("x")
    sctp: Any = pc.sctp

    async def flush() -> None:
        await asyncio.Event().wait()

    sctp._data_channel_flush = flush
    send_at_once(pc)
    with pytest.raises(RuntimeError, match="waits"):
        sctp._data_channel_flush()
    send_as_aiortc_does(pc)
    assert sctp._data_channel_flush.__func__ is RTCSctpTransport._data_channel_flush
    await pc.close()


async def test_before_the_association_what_arrives_is_left_to_aiortc() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.createDataChannel("x")
    dtls: Any = pc.sctp.transport if pc.sctp else None
    application_data(dtls)(b"\x17early")
    assert dtls.transport._connection._queue.get_nowait() == (b"\x17early", 1)
    await pc.close()


async def test_a_connection_without_data_channels_is_left_alone() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    send_at_once(pc)
    send_as_aiortc_does(pc)
    await pc.close()

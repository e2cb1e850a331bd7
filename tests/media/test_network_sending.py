"""Tripwires, as in ``test_network``, for what a synthetic caller touches of aiortc and aioice."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aioice import Connection
from aioice.ice import StunProtocol
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import RtcpSrPacket, RtpPacket

from voxgender.media.network import RtpWriter, bind_ice, impair, write_rtp


def test_the_sender_has_the_names_that_are_used_and_replaced() -> None:
    for method in ("send", "stop", "_run_rtp", "_run_rtcp"):
        assert callable(getattr(RTCRtpSender, method)), method
    assert "self._run_rtp(parameters.codecs[0])" in inspect.getsource(RTCRtpSender.send)
    source = inspect.getsource(RTCRtpSender.__init__)
    for name in (
        "__mid", "__rtp_started", "__rtp_exited", "__rtp_header_extensions_map", "__ntp_timestamp", "__rtp_timestamp",
        "__octet_count", "__packet_count",
    ):  # fmt: skip
        assert f"self.{name}" in source, name


def test_datagrams_leave_and_arrive_where_they_are_looked_for() -> None:
    assert "self.transport.sendto(" in inspect.getsource(StunProtocol.send_data)
    assert "self.transport.sendto(" in inspect.getsource(StunProtocol.send_stun)
    assert "self._nominated.get(component)" in inspect.getsource(Connection.sendto)
    assert "self._tx_srtp.protect(data)" in inspect.getsource(RTCDtlsTransport._send_rtp)


class Heard:
    """What a plain aiortc peer takes from the wire."""

    def __init__(self) -> None:
        self.packets: asyncio.Queue[RtpPacket] = asyncio.Queue()
        self.reports: asyncio.Queue[RtcpSrPacket] = asyncio.Queue()
        self.messages: asyncio.Queue[str] = asyncio.Queue()


@asynccontextmanager
async def a_call() -> AsyncIterator[tuple[RTCPeerConnection, RtpWriter, Heard]]:
    """A connected caller with its writer, and what the other side hears."""
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    heard = Heard()
    ready: asyncio.Future[RtpWriter] = asyncio.get_running_loop().create_future()
    channel = caller.createDataChannel("chat")
    opened = asyncio.Event()
    channel.on("open", opened.set)
    callee.on("datachannel", lambda channel: channel.on("message", heard.messages.put_nowait))
    try:
        transceiver = caller.addTransceiver("audio", direction="sendonly")
        write_rtp(transceiver.sender, ready.set_result)
        bind_ice(caller, ["127.0.0.1"])
        await caller.setLocalDescription(await caller.createOffer())
        await callee.setRemoteDescription(caller.localDescription)
        _listen(callee, heard)
        bind_ice(callee, ["127.0.0.1"])
        await callee.setLocalDescription(await callee.createAnswer())
        await caller.setRemoteDescription(callee.localDescription)
        async with asyncio.timeout(10):
            writer = await ready
            await opened.wait()
            yield caller, writer, heard
    finally:
        await caller.close()
        await callee.close()


def _listen(callee: RTCPeerConnection, heard: Heard) -> None:
    (transceiver,) = callee.getTransceivers()
    receiver: Any = transceiver.receiver
    handle_rtcp = receiver._handle_rtcp_packet

    async def rtp(packet: RtpPacket, arrival_time_ms: int) -> None:
        heard.packets.put_nowait(packet)

    async def rtcp(packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket):
            heard.reports.put_nowait(packet)
        await handle_rtcp(packet)

    receiver._handle_rtp_packet = rtp
    receiver._handle_rtcp_packet = rtcp


async def test_written_packets_are_heard_by_aiortc_and_told_in_sender_reports() -> None:
    async with a_call() as (_, writer, heard):
        for number in range(3):
            writer.write(b"payload %d" % number, number * 960)
        packets = [await heard.packets.get() for _ in range(3)]
        report = await heard.reports.get()
        while not report.sender_info.packet_count:
            report = await heard.reports.get()

    assert [packet.payload for packet in packets] == [b"payload 0", b"payload 1", b"payload 2"]
    first = packets[0]
    assert [packet.sequence_number - first.sequence_number for packet in packets] == [0, 1, 2]
    assert [(packet.timestamp - first.timestamp) % 2**32 for packet in packets] == [0, 960, 1920]
    assert {packet.extensions.mid for packet in packets} == {"0"}
    assert {packet.ssrc for packet in packets} == {report.ssrc}
    assert report.sender_info.rtp_timestamp == first.timestamp
    assert report.sender_info.octet_count == len(b"payload 0")


async def test_sequence_numbers_go_round() -> None:
    async with a_call() as (_, writer, heard):
        writer._sequence_number = 0xFFFF
        writer._timestamp_origin = 2**32 - 960
        for number in range(2):
            writer.write(b"x", number * 960)
        packets = [await heard.packets.get() for _ in range(2)]

    assert [(packet.sequence_number, packet.timestamp) for packet in packets] == [(0xFFFF, 2**32 - 960), (0, 0)]


async def test_what_is_written_after_the_end_is_lost_and_no_error() -> None:
    async with a_call() as (caller, writer, heard):
        await caller.close()
        writer.write(b"too late", 0)

    assert heard.packets.empty()


async def test_a_stopped_sender_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with a_call():
        pass
    assert not [task for task in asyncio.all_tasks() - before if "_run_rtp" in repr(task) and not task.done()]


class Switch:
    """A link that is up or down, either way."""

    def __init__(self) -> None:
        self.up = True
        self.sent = 0

    def send(self, datagram: bytes, out: Callable[[bytes], object]) -> None:
        self.sent += 1
        if self.up:
            out(datagram)

    def admits(self) -> bool:
        return self.up


async def test_a_link_stands_in_the_way_of_media_and_messages_both_ways() -> None:
    async with a_call() as (caller, writer, heard):
        link = Switch()
        impair(caller, link)
        writer.write(b"heard", 0)
        assert (await heard.packets.get()).payload == b"heard"

        link.up = False
        sent = link.sent
        writer.write(b"lost", 960)
        assert link.sent == sent + 1
        link.up = True
        writer.write(b"heard again", 1920)
        assert (await heard.packets.get()).payload == b"heard again"

        (protocol,) = (p for t in caller._RTCPeerConnection__iceTransports for p in t._connection._protocols)  # type: ignore[attr-defined]
        arrived: list[bytes] = []
        protocol.receiver.data_received = lambda data, component: arrived.append(data)
        for link.up in (True, False):
            protocol.datagram_received(b"\x80from the other side", ("127.0.0.1", 9))
        assert arrived == [b"\x80from the other side"]
        link.up = True


async def test_a_datagram_that_a_link_held_back_until_the_end_is_lost_and_no_error() -> None:
    class Slow(Switch):
        held: Callable[[], object] = staticmethod(lambda: None)

        def send(self, datagram: bytes, out: Callable[[bytes], object]) -> None:
            self.held = lambda: out(datagram)

    async with a_call() as (caller, writer, heard):
        link = Slow()
        impair(caller, link)
        writer.write(b"late", 0)
        held = link.held
        await caller.close()
        held()

    assert heard.packets.empty()

"""The low-level network knobs that aiortc and aioice keep private.

Every touch of their private parts is in this module, and ``tests/media/test_network.py`` fails when an upgrade
moves one of them. Written against aiortc 1.16 and aioice 0.13.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, NamedTuple, Protocol

import pylibsrtp
from aioice import ice
from aiortc import RTCPeerConnection, RTCRtpCodecParameters, RTCRtpReceiver
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtpPacket

_HEADER = Struct("!BBHLL")


def bind_ice(pc: RTCPeerConnection, addresses: Sequence[str]) -> None:
    """Gather host candidates on these local addresses only.

    Left to itself, aioice binds every address of the host but loopback. That is kept for an empty sequence, unless
    the host has no other: a laptop without a network can still call itself. Call it once the transports exist (after
    ``setRemoteDescription``, or after tracks and channels were added) and before gathering.
    """
    bound = list(addresses)
    if not bound:
        if ice.get_host_addresses(use_ipv4=True, use_ipv6=True):
            return
        bound = ["127.0.0.1"]
    for transport in _private(pc, "RTCPeerConnection", "iceTransports"):
        connection = transport.iceGatherer._connection
        gather = connection.get_component_candidates

        def gather_here(component: int, addresses: list[str], timeout: int = 5, *, gather: Any = gather) -> Any:
            return gather(component=component, addresses=bound, timeout=timeout)

        connection.get_component_candidates = gather_here


class Rtp(NamedTuple):
    """What is wanted of an RTP packet (RFC 3550 section 5.1)."""

    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes


class PacketSink(Protocol):
    """What takes a receiver's packets, on the event loop."""

    def configure(self, codecs: Sequence[RTCRtpCodecParameters]) -> None:
        """The codecs that were negotiated; called once, before the first packet."""

    def feed(self, packet: Rtp, arrived_at: float) -> None:
        """One packet, decrypted; ``arrived_at`` in seconds of ``time.monotonic``."""

    def bye(self) -> None:
        """The sender said goodbye (RFC 3550 section 6.6); it may yet come back."""

    def end(self) -> None:
        """Nothing more will come."""


def divert(receiver: RTCRtpReceiver, sink: PacketSink) -> None:
    """Hand a receiver's packets to ``sink`` in place of aiortc's jitter buffer and decoder thread.

    Media packets go from the socket to the sink in one call, past the queues and tasks that aiortc has on their way.
    RTCP receiver reports go on as before: a browser adapts its bit rate and Opus FEC to them.
    """
    statistics: dict[int, StreamStatistics] = _private(receiver, "RTCRtpReceiver", "remote_streams")
    clock_rates: dict[int, int] = {}
    plain: Any = receiver
    handle_rtcp, stop = plain._handle_rtcp_packet, plain.stop

    async def receive(parameters: RTCRtpReceiveParameters) -> None:
        if _private(receiver, "RTCRtpReceiver", "started"):
            return
        clock_rates.update({c.payloadType: c.clockRate for c in parameters.codecs if c.payloadType is not None})
        sink.configure(parameters.codecs)
        receiver.transport._register_rtp_receiver(plain, parameters)
        _shortcut(receiver.transport, handle)
        _set_private(receiver, "RTCRtpReceiver", "rtcp_task", asyncio.ensure_future(plain._run_rtcp()))
        _set_private(receiver, "RTCRtpReceiver", "started", True)

    def handle(packet: Rtp) -> None:
        clock_rate = clock_rates.get(packet.payload_type)
        if clock_rate is None:
            return
        stream = statistics.get(packet.ssrc)
        if stream is None:
            # A peer that changes its SSRC for ever must not make this grow for ever.
            if len(statistics) >= 8:
                statistics.pop(next(iter(statistics)))
            stream = statistics[packet.ssrc] = StreamStatistics(clock_rate)
        stream.add(packet)  # type: ignore[arg-type]
        sink.feed(packet, time.monotonic())

    async def handle_rtp(packet: RtpPacket, arrival_time_ms: int) -> None:
        """What was in aiortc's queue before the shortcut was there."""
        handle(Rtp(packet.payload_type, packet.sequence_number, packet.timestamp, packet.ssrc, packet.payload))

    async def handle_rtcp_and_bye(packet: AnyRtcpPacket) -> None:
        await handle_rtcp(packet)
        if isinstance(packet, RtcpByePacket):
            sink.bye()

    async def stop_and_end() -> None:
        sink.end()
        await stop()

    plain.receive = receive
    plain.stop = stop_and_end
    plain._handle_rtp_packet = handle_rtp
    plain._handle_rtcp_packet = handle_rtcp_and_bye
    plain._handle_disconnect = sink.end


def _shortcut(dtls: Any, handle: Callable[[Rtp], None]) -> None:
    """Decrypt and hand over media packets where they arrive; all else takes aiortc's own way."""
    connection = dtls.transport._connection
    queue = connection.data_received

    def data_received(data: bytes, component: int) -> None:
        # RFC 7983 section 7: 128 to 191 is RTP or RTCP; RFC 5761 section 4 tells these apart.
        if not (len(data) >= _HEADER.size and 127 < data[0] < 192) or 192 <= data[1] <= 223:
            queue(data, component)
            return
        try:
            packet = parse_rtp(dtls._rx_srtp.unprotect(data))
        except (pylibsrtp.Error, ValueError):
            return
        handle(packet)

    connection.data_received = data_received


def parse_rtp(data: bytes) -> Rtp:
    """Read a packet, past its CSRCs, header extensions and padding (RFC 3550 section 5.1).

    Raises:
        ValueError: it is shorter than it says.
    """
    first, second, sequence_number, timestamp, ssrc = _HEADER.unpack_from(data)
    start = _HEADER.size + 4 * (first & 0x0F)
    end = len(data)
    if first & 0x10:
        if end < start + 4:
            raise ValueError("cut off in its header extension")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if first & 0x20:
        end -= data[-1] or end
    if end < start:
        raise ValueError("shorter than its header says")
    return Rtp(second & 0x7F, sequence_number, timestamp, ssrc, data[start:end])


async def delivered(pc: RTCPeerConnection, timeout_s: float) -> bool:
    """Wait until the peer has acknowledged all that was sent on reliable data channels, or time is up."""
    sctp: Any = pc.sctp
    if sctp is None or sctp.state != "connected":
        return False
    deadline = time.monotonic() + timeout_s
    while sctp._outbound_queue or sctp._sent_queue or sctp._data_channel_queue:
        if time.monotonic() > deadline or sctp.state != "connected":
            return False
        await asyncio.sleep(0.01)
    return True


def _private(owner: object, cls: str, name: str) -> Any:
    return getattr(owner, f"_{cls}__{name}")


def _set_private(owner: object, cls: str, name: str, value: object) -> None:
    attribute = f"_{cls}__{name}"
    if not hasattr(owner, attribute):
        raise AttributeError(f"{cls} has no private {name} any more")
    setattr(owner, attribute, value)

"""The low-level network knobs that aiortc and aioice keep private.

Every touch of their private parts is in this module and in ``dtls``, and ``tests/media/test_network.py`` fails when an
upgrade moves one of them. Written against aiortc 1.16 and aioice 0.13.
"""

import asyncio
import ipaddress
import logging
import random
import secrets
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

import pylibsrtp
from aioice import Candidate, ice, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import RTCPeerConnection, RTCRtpCodecParameters, RTCRtpReceiver, RTCRtpSender, clock
from aiortc.exceptions import InvalidStateError
from aiortc.rtcdtlstransport import State
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtp import AnyRtcpPacket, RtpPacket

from voxgender import metrics
from voxgender.media.dtls import release
from voxgender.media.rtp import (
    Goodbye,
    Reception,
    Rtp,
    SenderReport,
    is_rtcp,
    parse_rtcp,
    parse_rtp,
    receiver_report,
)
from voxgender.media.sockets import CallTransport, Sockets

logger = logging.getLogger(__name__)

SETTLE_S = 1.0
"""A call that has had media for so long is up: its data channels are open."""
REPORT_S = 1.0
"""How often a sender is told how its packets arrive, on average."""

_HEADER = struct.Struct("!BBHLL")
_PACKETS_A_REPORT = 50
_MAX_STREAMS = 8
_CONNECT, _FLUSH = "_RTCPeerConnection__connect", "_data_channel_flush"
_DIVERTED = ("receive", "stop", "_handle_rtp_packet", "_handle_rtcp_packet", "_handle_disconnect")


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


class HostAddresses(NamedTuple):
    """Where a media node's host candidates are."""

    bound: tuple[str, ...] = ()
    """Local addresses; empty for all but loopback."""
    advertised: tuple[str, ...] = ()
    """Public addresses that lead to them (NAT 1:1), told to peers in their place."""

    def resolved(self) -> "HostAddresses":
        """With the addresses that the host has now."""
        if self.bound:
            return self
        # A laptop without a network can still call itself.
        return self._replace(bound=tuple(ice.get_host_addresses(use_ipv4=True, use_ipv6=True)) or ("127.0.0.1",))


def gather_on(pc: RTCPeerConnection, sockets: Sockets, addresses: HostAddresses) -> None:
    """Gather host candidates on sockets of our own; no STUN server is asked. Call it as :func:`bind_ice`.

    Gathering raises ``NotReady`` where no port is left.
    """
    for transport in _private(pc, "RTCPeerConnection", "iceTransports"):
        connection = transport.iceGatherer._connection
        # Too long to be guessed, and another one for each transport: checks are told apart by it.
        connection._local_username = secrets.token_hex(8)
        connection.get_component_candidates = partial(_host_candidates, connection, sockets, addresses.resolved())


def settle(receiver: RTCRtpReceiver) -> None:
    """Its call is up: let its sockets be read with all others."""
    for protocol in receiver.transport.transport._connection._protocols:
        if isinstance(protocol.transport, CallTransport):
            protocol.transport.settle()


async def _host_candidates(
    connection: Any, sockets: Sockets, local: HostAddresses, component: int, addresses: list[str], timeout: int = 5
) -> list[Candidate]:
    candidates = []
    for address in local.bound:
        protocol = _Ice(connection)
        try:
            transport = sockets.open(address, connection.local_username, protocol)
        except OSError as error:
            # An interface that went down a moment ago.
            logger.warning("no candidate on %s: %s", address, error.strerror)
            continue
        connection._protocols.append(protocol)
        host, port = transport.get_extra_info("sockname")[:2]
        protocol.local_candidate = _host_candidate(component, host, port)
        public = [other for other in local.advertised if (":" in other) == (":" in host)]
        candidates += [_host_candidate(component, other, port) for other in public] or [protocol.local_candidate]
    return sorted(candidates, key=_order)


def _order(candidate: Candidate) -> tuple[bool, bool, bool]:
    """Sort candidates for clients that try the first one alone: IPv4 before IPv6, public before private."""
    ip = ipaddress.ip_address(candidate.host)
    return ip.version == 6, not ip.is_global, ip.is_loopback or ip.is_link_local


def _host_candidate(component: int, host: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=host,
        port=port,
        type="host",
    )


class _Ice(ice.StunProtocol):
    """Tells packets apart by their first byte (RFC 7983 section 7), where aioice tries to parse each as STUN.

    Media goes to ``media``, once there is one, in the same call.
    """

    media: Callable[[bytes, float], None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.media = None
        super().connection_lost(exc)

    def authenticates(self, data: bytes) -> bool:
        """Tell whether a STUN message is whole and its sender knows the password that it takes (RFC 8489 section 9.1).

        Requests name the call and need its own password, responses belong to a request and need the peer's.
        """
        connection = self.receiver
        if data[:1] == b"\x01" and data[8:20] not in self.transactions:
            # The cheap question first: a stranger's answer is shown to each call that is connecting.
            return False
        try:
            message = stun.parse_message(data)
        except (ValueError, struct.error):
            return False
        if message.message_class is not stun.Class.REQUEST:
            password = connection.remote_password or ""
            return message.transaction_id in self.transactions and message.check_message_integrity(password.encode())
        return (
            message.message_method is stun.Method.BINDING
            and message.attributes.keys() >= {"USERNAME", "PRIORITY"}
            and connection._valid_username(message.attributes["USERNAME"])
            and message.check_message_integrity(connection.local_password.encode())
        )

    def datagram_received(self, data: Any, addr: Any) -> None:
        if data and data[0] > 3:
            self.receiver.data_received(data, self.local_candidate.component)
        elif self.authenticates(data):
            super().datagram_received(data, addr)
        else:
            metrics.STUN_IGNORED.inc()

    def media_received(self, data: bytes, arrived_at: float) -> None:
        if self.media is not None:
            self.media(data, arrived_at)
        else:
            self.receiver.data_received(data, self.local_candidate.component)


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

    Media and its control packets go from the socket to where they are wanted in one call, past the queues and tasks
    that aiortc has on their way. Receiver reports, to which a browser adapts its bit rate and Opus FEC, go out with
    the packets that come in: what is heard of a call comes in bursts, and so there is no timer for them.
    """
    plain: Any = receiver
    dtls: Any = receiver.transport
    receptions: dict[int, Reception] = {}
    clock_rates: dict[int, int] = {}
    report_at = 0.0
    settling: asyncio.TimerHandle | None = None
    stopped = False

    async def receive(parameters: RTCRtpReceiveParameters) -> None:
        nonlocal settling
        if settling is not None:
            return
        clock_rates.update({c.payloadType: c.clockRate for c in parameters.codecs if c.payloadType is not None})
        sink.configure(parameters.codecs)
        dtls._register_rtp_receiver(plain, parameters)
        for protocol in dtls.transport._connection._protocols:
            if isinstance(protocol, _Ice):
                protocol.media = media
        settling = asyncio.get_running_loop().call_later(SETTLE_S, settle, receiver)

    def media(data: bytes, arrived_at: float) -> None:
        if is_rtcp(data):
            with suppress(pylibsrtp.Error):
                control(parse_rtcp(dtls._rx_srtp.unprotect_rtcp(data)), arrived_at)
            return
        try:
            packet = parse_rtp(dtls._rx_srtp.unprotect(data))
        except (pylibsrtp.Error, ValueError):
            return
        handle(packet, arrived_at)

    def handle(packet: Rtp, arrived_at: float) -> None:
        nonlocal report_at
        clock_rate = clock_rates.get(packet.payload_type)
        if clock_rate is None or stopped:
            return
        reception = receptions.get(packet.ssrc)
        if reception is None:
            # A peer that changes its SSRC for ever must not make this grow for ever.
            if len(receptions) >= _MAX_STREAMS:
                receptions.pop(next(iter(receptions)))
            reception = receptions[packet.ssrc] = Reception(clock_rate)
        reception.take(packet, arrived_at)
        sink.feed(packet, arrived_at)
        if arrived_at >= report_at:
            if report_at:
                report()
            # At random, so that calls that began together do not go on so (RFC 3550 section 6.3.1).
            report_at = arrived_at + REPORT_S * (0.5 + random.random())  # noqa: S311

    def control(packets: Iterable[SenderReport | Goodbye], arrived_at: float) -> None:
        for packet in packets:
            if isinstance(packet, SenderReport):
                if packet.ssrc in receptions:
                    receptions[packet.ssrc].sender_reported(packet, arrived_at)
            elif not stopped and receptions.keys() & packet.ssrcs:
                sink.bye()

    def report() -> None:
        ssrc = _private(receiver, "RTCRtpReceiver", "rtcp_ssrc")
        if ssrc is not None and dtls._state is State.CONNECTED:
            _send(dtls, dtls._tx_srtp.protect_rtcp(receiver_report(ssrc, receptions, time.monotonic())))

    async def handle_rtp(packet: RtpPacket, arrival_time_ms: int) -> None:
        """What was in aiortc's queue before ``media`` was there, or came where it is not."""
        rtp = Rtp(packet.payload_type, packet.sequence_number, packet.timestamp, packet.ssrc, packet.payload)
        handle(rtp, time.monotonic())

    async def handle_rtcp(packet: AnyRtcpPacket) -> None:
        control(parse_rtcp(bytes(packet)), time.monotonic())

    async def stop_and_end() -> None:
        nonlocal stopped
        if not stopped and settling is not None:
            settling.cancel()
            dtls._unregister_rtp_receiver(plain)
        stopped = True
        sink.end()
        # They hold the receiver that holds them.
        for name in _DIVERTED:
            vars(plain).pop(name, None)

    ways = (receive, stop_and_end, handle_rtp, handle_rtcp, sink.end)
    vars(plain).update(zip(_DIVERTED, ways, strict=True))


def _send(dtls: Any, data: bytes) -> None:
    """Send what is encrypted already; without a way, as at a call's end, it is lost."""
    pair = dtls.transport._connection._nominated.get(1)
    if pair is not None:
        pair.protocol.transport.sendto(data, pair.remote_addr)


def forgive_closing(pc: RTCPeerConnection) -> None:
    """Let what aiortc has under way when a connection closes fail without a word.

    It connects and sends in tasks that nobody waits for, so their errors would be logged as never retrieved. Call it
    after ``setRemoteDescription`` and before ``setLocalDescription``.
    """
    _forgive(pc, _CONNECT, InvalidStateError)
    if pc.sctp is not None:
        _forgive(pc.sctp, _FLUSH, ConnectionError)


def _forgive(owner: object, name: str, error: type[Exception]) -> None:
    act: Callable[[], Awaitable[None]] = getattr(owner, name)

    async def act_or_not() -> None:
        with suppress(error):
            await act()

    setattr(owner, name, act_or_not)


async def close(pc: RTCPeerConnection) -> None:
    """Close a connection and undo what its parts hold of one another, so that it is freed at once.

    Else it waits for the garbage collector, and with it some 100 kB that the collector knows nothing of: so few objects
    are made in a call that many calls are over before it looks.
    """
    try:
        await pc.close()
    finally:
        release(pc)
        for transport in _private(pc, "RTCPeerConnection", "dtlsTransports"):
            transport.remove_all_listeners()
        for ice_transport in _private(pc, "RTCPeerConnection", "iceTransports"):
            connection = ice_transport._connection
            for pair in connection._check_list:
                # A check that was cut off has its frame, and with it the pair.
                pair.task = None
            connection._check_list.clear()
            vars(connection).pop("get_component_candidates", None)
        vars(pc).pop(_CONNECT, None)
        if pc.sctp is not None:
            vars(pc.sctp).pop(_FLUSH, None)


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


class RtpWriter:
    """An RTP stream's way out: from payload to socket in one call, with no task, no timer and no packet object."""

    def __init__(self, sender: RTCRtpSender, codec: RTCRtpCodecParameters) -> None:
        plain: Any = sender
        self._sender = sender
        self._dtls: Any = sender.transport
        self._second_byte = codec.payloadType
        self._ssrc = plain._ssrc
        # Below half: what goes round while nothing has arrived yet breaks decryption (RFC 3711 section 3.3.1).
        self._sequence_number = random.randrange(1 << 15)  # noqa: S311
        self._timestamp_origin = random.randrange(1 << 32)  # noqa: S311
        first = RtpPacket()
        first.extensions.mid = _private(sender, "RTCRtpSender", "mid")
        serialized = first.serialize(_private(sender, "RTCRtpSender", "rtp_header_extensions_map"))
        self._first_byte, self._extensions = serialized[0], serialized[_HEADER.size :]
        self._packets = self._octets = 0

    def write(self, payload: bytes, timestamp: int) -> None:
        """Send one packet; ``timestamp`` in ticks of the RTP clock from the stream's start.

        Without a connection, as at a call's end, it is lost.
        """
        if self._dtls._state is not State.CONNECTED:
            return
        sequence_number = self._sequence_number
        self._sequence_number = (sequence_number + 1) & 0xFFFF
        rtp_timestamp = (self._timestamp_origin + timestamp) & 0xFFFFFFFF
        header = _HEADER.pack(self._first_byte, self._second_byte, sequence_number, rtp_timestamp, self._ssrc)
        _send(self._dtls, self._dtls._tx_srtp.protect(header + self._extensions + payload))
        self._packets += 1
        self._octets += len(payload)
        if self._packets % _PACKETS_A_REPORT == 1:
            self._tell(rtp_timestamp)

    def _tell(self, rtp_timestamp: int) -> None:
        """What aiortc's sender reports say (RFC 3550 section 6.4.1)."""
        for name, value in (
            ("ntp_timestamp", clock.current_ntp_time()),
            ("rtp_timestamp", rtp_timestamp),
            ("packet_count", self._packets),
            ("octet_count", self._octets),
        ):
            _set_private(self._sender, "RTCRtpSender", name, value)


def write_rtp(sender: RTCRtpSender, on_ready: Callable[[RtpWriter], None]) -> None:
    """Hand a sender's stream to whoever has encoded packets, in place of aiortc's task that reads a track.

    RTCP sender reports and the goodbye stay aiortc's. Call it before the connection is made.

    Args:
        on_ready: called once packets can be sent.
    """
    plain: Any = sender

    async def run(codec: RTCRtpCodecParameters) -> None:
        _private(sender, "RTCRtpSender", "rtp_started").set()
        try:
            on_ready(RtpWriter(sender, codec))
            await asyncio.get_running_loop().create_future()
        finally:
            _private(sender, "RTCRtpSender", "rtp_exited").set()

    plain._run_rtp = run


class Link(Protocol):
    """What stands between a peer and its network."""

    def send(self, datagram: bytes, out: Callable[[bytes], object]) -> None:
        """Let a datagram out: at once, later, twice or not at all."""

    def admits(self) -> bool:
        """Whether what arrives now gets through."""


def impair(pc: RTCPeerConnection, link: Link) -> None:
    """Put ``link`` in the way of everything that a connected peer sends and receives: RTP, RTCP, DTLS, SCTP, STUN."""
    for ice_transport in _private(pc, "RTCPeerConnection", "iceTransports"):
        for protocol in ice_transport._connection._protocols:
            receive = protocol.datagram_received

            def admit(data: bytes, address: Any, *, receive: Any = receive) -> None:
                if link.admits():
                    receive(data, address)

            protocol.transport = _Linked(protocol.transport, link)
            protocol.datagram_received = admit


class _Linked:
    """A datagram transport whose datagrams go through a link."""

    def __init__(self, transport: asyncio.DatagramTransport, link: Link) -> None:
        self._transport = transport
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def sendto(self, data: bytes, address: Any = None) -> None:
        self._link.send(data, partial(self._out, address=address))

    def _out(self, data: bytes, address: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, address)


def _private(owner: object, cls: str, name: str) -> Any:
    return getattr(owner, f"_{cls}__{name}")


def _set_private(owner: object, cls: str, name: str, value: object) -> None:
    attribute = f"_{cls}__{name}"
    if not hasattr(owner, attribute):
        raise AttributeError(f"{cls} has no private {name} any more")
    setattr(owner, attribute, value)

"""Gather host candidates on addresses and sockets of our choice, and reach the sockets behind an ICE transport."""

import ipaddress
import logging
import secrets
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from aioice import Candidate, Connection, ice, stun
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import RTCIceTransport, RTCPeerConnection

from voxgender import metrics
from voxgender.engine.schedule import EVERY_TICK, Phase
from voxgender.media.aiortc_internals.paths import Consent, Paths
from voxgender.media.aiortc_internals.transports import ice_connections
from voxgender.media.calltransport import CallTransport
from voxgender.media.dtls import is_dtls, split_messages
from voxgender.media.rtp import is_rtcp
from voxgender.media.sockets import Sockets

logger = logging.getLogger(__name__)

GATHER, CONSENT = "get_component_candidates", "query_consent"
"""aioice's methods that are replaced in a connection."""

MAX_EARLY_MEDIA = 64
"""Media packets that wait until the handshake is done; what is more is lost."""

MAX_ERRORS = 64
"""Errors of a peer that are looked at: to each that tells of a conflict of roles aioice sends another check."""
MAX_MESSAGES = 8
"""Messages in one datagram of DTLS that are read."""

_COMPONENT = 1
"""The only ICE component: RTP and RTCP share it (RFC 5761)."""


class HostAddresses(NamedTuple):
    """The addresses of a media node's host candidates."""

    bound: tuple[str, ...] = ()
    """Local addresses; empty for all but loopback."""
    advertised: tuple[str, ...] = ()
    """Public addresses that lead to them (NAT 1:1), told to peers in their place."""

    def resolved(self) -> "HostAddresses":
        """Return a copy in which an empty ``bound`` is replaced by the host's present addresses."""
        if self.bound:
            return self
        # A laptop without a network can still call itself.
        return self._replace(bound=tuple(ice.get_host_addresses(use_ipv4=True, use_ipv6=True)) or ("127.0.0.1",))


def bind_ice(pc: RTCPeerConnection, addresses: Sequence[str]) -> None:
    """Gather host candidates on these local addresses only, on sockets of aioice's own.

    Left to itself, aioice binds every address of the host but loopback. An empty sequence means the same, unless the
    host has no other: a laptop without a network can still call itself. Call it once the transports exist (after
    ``setRemoteDescription``, or after tracks and channels were added) and before gathering.
    """
    bound = list(HostAddresses(tuple(addresses)).resolved().bound)
    for connection in ice_connections(pc):
        gather = connection.get_component_candidates

        def gather_here(component: int, addresses: list[str], timeout: int = 5, *, gather: Any = gather) -> Any:
            return gather(component=component, addresses=bound, timeout=timeout)

        vars(connection)[GATHER] = gather_here


def gather_on(
    pc: RTCPeerConnection,
    sockets: Sockets,
    addresses: HostAddresses,
    phase: Phase = EVERY_TICK,
    *,
    peer: str = "",
    consent: Consent = Consent(),  # noqa: B008 - it cannot change
    on_consent_expired: Callable[[], object] = lambda: None,
) -> None:
    """Gather host candidates on shared sockets; no STUN server is asked. Call it when :func:`bind_ice` may be called.

    Gathering raises ``NotReady`` where no port is left.

    Args:
        pc: the connection.
        sockets: shared by all calls.
        addresses: of this node.
        phase: when the call has its turns.
        peer: the peer's ICE user name fragment.
        consent: how long the peer's consent lasts, and how often it is asked for.
        on_consent_expired: called when the peer's consent has expired; the connection then closes.
    """
    for connection in ice_connections(pc):
        # Unguessable and unique for each transport, because checks are routed by it.
        connection._local_username = secrets.token_hex(8)
        paths = Paths(connection, on_consent_expired, consent)
        vars(connection)[CONSENT] = paths.keep_consent
        open_socket = partial(sockets.open, ufrag=connection.local_username, phase=phase, peer=peer)
        vars(connection)[GATHER] = partial(_host_candidates, connection, paths, open_socket, addresses.resolved())


def route_media(transport: RTCIceTransport, on_media: Callable[[bytes, float], bool], *, streams: int = 1) -> None:
    """Hand each media packet to ``on_media`` as it is read from the socket, past the transport's queue.

    Args:
        transport: one whose candidates were gathered by :func:`gather_on`.
        on_media: called with an SRTP or SRTCP packet and its time of arrival, seconds of ``time.monotonic``; tells
            whether the peer sent it, and for the first time.
        streams: how many of the peer's latest streams are known by their SSRC, if they come from another address.
    """
    for protocol in transport._connection._protocols:
        if isinstance(protocol, IceProtocol):
            protocol.transport.streams = streams
            protocol.begin_media(on_media)


def route_records(transport: RTCIceTransport, on_record: Callable[[bytes], bool]) -> None:
    """Hand each DTLS message to ``on_record`` as it is read from the socket; if that returns False, to aiortc's queue.

    Args:
        transport: one whose candidates were gathered by :func:`gather_on`.
        on_record: called with a message, as ``media.dtls`` splits them; tells whether it took it.
    """
    for protocol in transport._connection._protocols:
        if isinstance(protocol, IceProtocol):
            protocol.on_record = on_record


def read_on_tick(transport: RTCIceTransport) -> None:
    """Let the packets of a connected transport wait for the tick from now on."""
    for protocol in transport._connection._protocols:
        if isinstance(protocol.transport, CallTransport):
            protocol.transport.read_on_tick()


def send_now(transport: RTCIceTransport, datagram: bytes) -> None:
    """Send a datagram without a task switch; drop it if there is no path, as at a call's end."""
    pair = transport._connection._nominated.get(_COMPONENT)
    if pair is not None:
        pair.protocol.transport.sendto(datagram, pair.remote_addr)


async def _host_candidates(
    connection: Connection,
    paths: Paths,
    open_socket: Callable[..., CallTransport],
    local: HostAddresses,
    component: int,
    addresses: list[str],
    timeout: int = 5,
) -> list[Candidate]:
    candidates = []
    for address in local.bound:
        protocol = IceProtocol(connection, paths)
        try:
            transport = open_socket(address, protocol=protocol)
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


class IceProtocol(ice.StunProtocol):
    """Demultiplexes packets by their first byte (RFC 7983 section 7), where aioice tries to parse each as STUN."""

    on_media: Callable[[bytes, float], bool] | None = None
    """Called with each media packet as it is read; while it is None, the first ones wait."""

    on_record: Callable[[bytes], bool] | None = None
    """Called with each DTLS message as it is read; those that it does not take go to aiortc's queue."""

    transport: CallTransport

    def __init__(self, connection: Connection, paths: Paths) -> None:
        super().__init__(connection)
        self._paths = paths
        self._early_media: list[tuple[bytes, tuple[str, int], float]] = []
        self._errors = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self.on_media = self.on_record = None
        self._early_media.clear()
        self._paths.close()
        super().connection_lost(exc)

    def begin_media(self, on_media: Callable[[bytes, float], bool]) -> None:
        """Hand on the media that has come so far, and all that comes.

        aiortc's own parser never sees a packet: it ends the connection over some header extensions.
        """
        self.on_media = on_media
        early, self._early_media = self._early_media, []
        for packet in early:
            self.media_received(*packet)

    def introduces(self, data: bytes) -> bool:
        """Tell whether a STUN message from an address that is not known proves that the call's peer is there.

        A check that came before is somebody's copy, or the peer's own, sent again: then another one follows.
        """
        message = self._authentic(data)
        return message is not None and not self._paths.has_seen(message)

    def recognizes(self, data: bytes, addr: tuple[str, int], arrived_at: float) -> bool:
        """Take a media packet from an address that is not known; tell whether the call's peer sent it.

        It is not even looked at while the peer is heard where it was.
        """
        return (
            self.on_media is not None
            and self._paths.is_quiet(arrived_at)
            and self.media_received(data, addr, arrived_at)
        )

    @property
    def only_answers(self) -> bool:
        """True if the peer sends no checks of its own (ICE lite, RFC 8445 section 2.5)."""
        return bool(self.receiver.remote_is_lite)

    def is_answer_from(self, data: bytes, addr: tuple[str, int]) -> bool:
        """Tell whether a signed response comes from where its request went (RFC 8445 section 7.2.5.2.1)."""
        transaction = self.transactions.get(data[8:20])
        return transaction is not None and vars(transaction).get("_Transaction__addr") == addr

    def forget(self, addr: tuple[str, int]) -> bool:
        """Forget an address of the peer; tell whether that was done, as it is not while it is the one in use."""
        if self._paths.is_in_use(addr):
            return False
        self._paths.forget(addr)
        return True

    def datagram_received(self, data: Any, addr: Any) -> None:
        if data and data[0] > 3:
            # aiortc reads one message of a datagram, and the next one when another datagram comes.
            for piece in islice(split_messages(data), MAX_MESSAGES) if is_dtls(data) else ():
                if self.on_record is None or not self.on_record(piece):
                    self.receiver.data_received(piece, self.local_candidate.component)
            return
        message = self._authentic(data)
        if message is None:
            metrics.STUN_IGNORED.inc()
            return
        if message.message_class is stun.Class.ERROR:
            self._errors += 1
            if self._errors > MAX_ERRORS:
                metrics.STUN_IGNORED.inc()
                return
        if message.message_class is not stun.Class.REQUEST:
            self.transactions[message.transaction_id].response_received(message, addr)
        elif self._paths.has_seen(message):
            # Sent again for want of an answer, or a copy: it gets the answer, and nominates nothing.
            message.attributes.pop("USE-CANDIDATE", None)
            self.receiver.request_received(message, addr, self)
            return
        else:
            self._paths.remember(message)
            self.receiver.request_received(message, addr, self)
        self._paths.note_received(self, addr, time.monotonic())

    def media_received(self, data: bytes, addr: tuple[str, int], arrived_at: float) -> bool:
        """Take a media packet; tell whether the peer sent it, and for the first time, as far as can be known yet."""
        if self.on_media is None:
            if len(self._early_media) < MAX_EARLY_MEDIA:
                self._early_media.append((data, addr, arrived_at))
            return True
        if not self.on_media(data, arrived_at):
            return False
        if data[8:12] not in self.transport.ssrcs and not is_rtcp(data):
            self.transport.expect(data[8:12])
        self._paths.note_received(self, addr, arrived_at)
        return True

    def _authentic(self, data: bytes) -> stun.Message | None:
        """Read a STUN message; None unless its sender knows the password that it takes (RFC 8489 section 9.1).

        Requests name the call and need its own password, responses belong to a request and need the peer's.
        """
        connection = self.receiver
        if data[:1] == b"\x01" and data[8:20] not in self.transactions:
            # The cheap check first: a stranger's response is tried with each call that is connecting.
            return None
        try:
            message = stun.parse_message(data)
        except (ValueError, struct.error):
            return None
        if message.message_class is not stun.Class.REQUEST:
            password = connection.remote_password or ""
            known = message.transaction_id in self.transactions
        else:
            password = connection.local_password
            known = (
                message.message_method is stun.Method.BINDING
                and message.attributes.keys() >= {"USERNAME", "PRIORITY"}
                and connection._valid_username(message.attributes["USERNAME"])
            )
        return message if known and message.check_message_integrity(password.encode()) else None

"""Targets behind the UDP socket: STUN, RTP, RTCP, Opus, SCTP and DCEP, each with a real connection around it."""

import asyncio
import hashlib
import hmac
import logging
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Self

import aiortc.rtcsctptransport as aiortc_sctp
import pylibsrtp
from aioice import stun
from aiortc import MediaStreamTrack, RTCRtpCodecParameters, RTCSctpTransport
from aiortc.rtcdtlstransport import State
from google_crc32c import value as crc32c

from tests import offers
from tests.fuzz.contract import Breach, Parse, Target
from tests.rtc import LOOPBACK, Peer, session_on
from voxgender.audio.frames import Packet
from voxgender.engine import Engine
from voxgender.media import calltransport
from voxgender.media.aiortc_internals import bundling, reception, sctp
from voxgender.media.decoder import Decoders
from voxgender.media.node import MediaNode
from voxgender.media.rtp import is_rtcp, parse_rtcp, parse_rtp
from voxgender.media.session import Session
from voxgender.protocol import Hello
from voxgender.ratelimit import RateLimit
from voxgender.sdp import MAX_CANDIDATES

_FOREVER_S = 1e6
_UNHURRIED = 1e9

# STUN (RFC 8489)

_ATTRIBUTES = {
    "nothing": b"",
    "a check": struct.pack("!HHI", 0x24, 4, 1) + struct.pack("!HHQ", 0x802A, 8, 7) + struct.pack("!HH", 0x25, 0),
    "a priority of three bytes": struct.pack("!HH3sx", 0x24, 3, b"abc"),
    "an error": struct.pack("!HHHBB", 0x09, 4, 0, 4, 87),
    "an address": struct.pack("!HHBBHI", 0x20, 8, 0, 1, 9, 0x7F000001),
    "an IPv6 address": struct.pack("!HHBBH16s", 0x20, 20, 0, 2, 9, bytes(16)),
    "unknown": struct.pack("!HHI", 0x7FFF, 4, 0) * 3,
    "text": struct.pack("!HH4s", 0x22, 3, b"\xff\xfe\xfd\x00"),
}
_RAW, _REQUEST, _RESPONSE, _KNOWN = range(4)
_SOURCES = 40
"""Addresses that checks come from: more than a call may have."""


class Loop:
    """An event loop of a target's own, which runs between the cases only."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.errors: list[str] = []
        self._handler = _Errors(self.errors)
        logging.getLogger().addHandler(self._handler)
        self.runner.get_loop().set_exception_handler(self._on_error)

    def run(self, act: Coroutine[Any, Any, None]) -> None:
        self.runner.run(act)
        if self.errors:
            errors, self.errors[:] = list(self.errors), []
            raise Breach("; ".join(errors))

    def close(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        self.runner.close()

    def _on_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context['message']}: {context.get('exception')!r}")


class _Errors(logging.Handler):
    """Keeps what is logged as an error: nothing that a peer sends is one of ours."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        self._errors.append(record.getMessage())


class _Node:
    """A media node with one call at a time, in a loop of its own."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.engine = Engine(None)
        self.node: MediaNode
        self.loop.run(self._start())

    async def _start(self) -> None:
        self.node = MediaNode(
            ice_addresses=[LOOPBACK], connect_timeout_s=_FOREVER_S, silence_timeout_s=_FOREVER_S, sweep_s=_FOREVER_S
        )
        self.node.start(self.engine)

    def close(self) -> None:
        self.loop.run(self._close())
        self.loop.close()
        self.engine.close()

    async def _close(self) -> None:
        await self.node.close()
        for _ in range(100):
            # Tasks of the last datagram.
            if len(asyncio.all_tasks()) == 1:
                return
            await asyncio.sleep(0.05)
        raise Breach(f"tasks that stayed: {asyncio.all_tasks()}")


class StunCall(_Node):
    """A call that waits for its peer. The first byte of an input says who sends the rest, and how."""

    _session: Session
    _protocol: Any

    async def _start(self) -> None:
        await super()._start()
        await self._call()

    async def _call(self) -> None:
        await self.node.open(offers.CLIENTS["chromium"])
        self._session = session_on(self.node)
        (self._shared,) = self.node.sockets.shared
        self._shared._strangers = RateLimit(_UNHURRIED, _UNHURRIED)
        (call,) = self._shared._calls
        call._others = RateLimit(_UNHURRIED, _UNHURRIED)
        self._protocol = call._protocol
        self._connection: Any = self._protocol.receiver

    def __call__(self, data: bytes) -> None:
        self.loop.run(self._parse(data))

    async def _parse(self, data: bytes) -> None:
        if self.node.live == 0 or self._session.ended_for is not None:
            # It was told that its peer is gone.
            await self._session.end("left")
            await self._call()
        how, body = (data[0] % 4, data[1:]) if data else (_RAW, b"")
        number = sum(body) % _SOURCES
        source = struct.pack("=H2s4s8x", socket.AF_INET, b"\0\x09", bytes((127, 9, 9, number)))
        if how == _REQUEST:
            names = f"{self._connection.local_username}:{self._connection.remote_username}".encode()
            user = struct.pack("!HH", 0x06, len(names)) + names + bytes(-len(names) % 4)
            body = signed(0x0001, hashlib.sha256(data).digest()[:12], user + body, self._connection.local_password)
        elif how == _RESPONSE:
            transaction = next(iter(self._protocol.transactions), bytes(12))
            body = signed(0x0101, transaction, body, self._connection.remote_password or "")
        elif how == _KNOWN and self._shared._by_source:
            source = next(iter(self._shared._by_source))
        self._shared.deliver(body, source, time.monotonic())
        await asyncio.sleep(0)
        if len(self._connection._remote_candidates) > MAX_CANDIDATES + calltransport.MAX_SOURCES + 4:
            raise Breach(f"{len(self._connection._remote_candidates)} candidates of a peer")


def signed(kind: int, transaction: bytes, attributes: bytes, password: str) -> bytes:
    """A STUN message of any attributes with a right MESSAGE-INTEGRITY (RFC 8489 section 14.5)."""
    body = struct.pack("!HHI", kind, len(attributes) + 24 & 0xFFFF, 0x2112A442) + transaction + attributes
    digest = hmac.digest(password.encode(), body, "sha1")
    return body + struct.pack("!HH", 0x08, len(digest)) + digest


def _stun_seeds() -> list[bytes]:
    plain = [bytes((how,)) + body for how in (_REQUEST, _RESPONSE) for body in _ATTRIBUTES.values()]
    message = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    message.attributes |= {"USERNAME": "abcd:efgh", "PRIORITY": 7}
    message.add_message_integrity(b"a guess")
    return [*plain, bytes((_RAW,)) + bytes(message), bytes((_KNOWN,)) + bytes(message), b"\x03\x16\xfe\xfd" + bytes(40)]


# RTP, RTCP (RFC 3550)


class _Silence(MediaStreamTrack):
    kind = "audio"

    async def recv(self) -> Any:
        return await asyncio.get_running_loop().create_future()


class MediaCall(_Node):
    """A call that is up, whose peer sends what an input holds, encrypted with the right keys."""

    _session: Session
    _peer: Peer

    async def _start(self) -> None:
        await super()._start()
        await self._call()

    async def _call(self) -> None:
        self._peer = peer = Peer(_Silence())
        peer.channels()
        session_id, answer = await self.node.open(await peer.offer())
        await peer.accept(answer)
        await peer.until(Hello)
        self._session = session_on(self.node, session_id)
        receiver = self._session._pc.getTransceivers()[0].receiver
        diversion: Any = vars(receiver)["receive"].__self__
        diversion._packets = RateLimit(_UNHURRIED, _UNHURRIED)
        self._diversion = diversion
        # Keys as the peer's own, and a state of its own for each case: libsrtp refuses to send a number twice.
        self._srtp: Any = peer.pc.getTransceivers()[0].sender.transport._tx_srtp
        self._now = time.monotonic()

    async def _close(self) -> None:
        await self._peer.close()
        await super()._close()

    def __call__(self, data: bytes) -> None:
        with suppress(ValueError):
            parse_rtp(data)
        list(parse_rtcp(data))
        self.loop.run(self._parse(data))

    async def _parse(self, data: bytes) -> None:
        if self._session.ended_for == "analysis_failed":
            raise Breach("the engine failed")
        if self._session.ended_for is not None:
            await self._peer.close()
            await self._session.end("left")
            await self._call()
        if len(data) < 2:
            return
        self._now += 0.02
        try:
            protect = self._srtp.protect_rtcp if is_rtcp(data) else self._srtp.protect
            packet = protect(data)
        except (pylibsrtp.Error, ValueError):
            packet = data
        if len(packet) > 1 and 127 < packet[0] < 192:
            self._diversion._on_media(packet, self._now)
        await asyncio.sleep(0)
        if len(self._diversion._receptions) > reception._MAX_STREAMS:
            raise Breach(f"{len(self._diversion._receptions)} streams")


OPUS = bytes.fromhex("fcfffe")
"""A frame of 20 ms in which nothing is heard."""


def rtp(payload_type: int = 111, number: int = 1, timestamp: int = 960, ssrc: int = 7, payload: bytes = OPUS) -> bytes:
    return struct.pack("!BBHLL", 0x80, payload_type, number, timestamp, ssrc) + payload


def _rtp_seeds() -> list[bytes]:
    plain = [rtp(96, number, 960 * number) for number in range(8)]
    extended = struct.pack("!BBHLLHHL", 0x90, 96, 9, 9_000, 7, 0xBEDE, 1, 0x10000000) + OPUS
    padded = bytes((0xA0,)) + rtp(96, 10, 9_600)[1:] + b"\0\0\x03"
    sources = struct.pack("!BBHLLLL", 0x82, 96, 11, 10_560, 7, 1, 2) + OPUS
    others = [rtp(kind, 20 + kind, 19_200) for kind in (0, 8, 9, 97, 13, 101)]
    return [*plain, extended, padded, sources, *others]


def _rtcp_seeds() -> list[bytes]:
    report = struct.pack("!BBHLLLLLL", 0x80, 200, 6, 7, 1, 2, 3, 4, 5)
    answers = struct.pack("!BBHLLLLLLL", 0x81, 201, 7, 7, 7, 0, 1, 2, 3, 4)
    names = struct.pack("!BBHL", 0x81, 202, 2, 7) + b"\1\2ab\0\0\0\0"
    goodbye = struct.pack("!BBHLB3s", 0x81, 203, 2, 7, 3, b"bye")
    feedback = struct.pack("!BBHLL", 0x81, 206, 2, 7, 7)
    extended = struct.pack("!BBHL", 0x80, 207, 1, 7)
    return [report, report + names, answers, goodbye, report + goodbye, feedback, extended]


# Payloads

_FORMATS = {111: ("opus", 48_000, 2), 0: ("PCMU", 8_000, 1), 8: ("PCMA", 8_000, 1), 9: ("G722", 8_000, 1)}


@contextmanager
def _decoders() -> Iterator[Parse]:
    """A call's decoders; an input is a list of payloads, each behind its type, flags and length."""

    def make() -> Decoders:
        decoders = Decoders()
        decoders.configure(
            [
                RTCRtpCodecParameters(f"audio/{name}", rate_hz, channels, kind)
                for kind, (name, rate_hz, channels) in _FORMATS.items()
            ]
        )
        return decoders

    decoders, cases = make(), 0

    def parse(data: bytes) -> None:
        nonlocal decoders, cases
        cases += 1
        if cases % 1_000 == 0:
            decoders = make()
        packets, at, pts = [], 0, 0
        while at + 4 <= len(data):
            kind, flags, step, size = data[at : at + 4]
            payload = data[at + 4 : at + 4 + size * (1 + (flags >> 1 & 1) * 4)]
            payload_type = list(_FORMATS)[kind % len(_FORMATS)]
            pts += 120 * step
            packets.append(Packet(pts, payload, bool(flags & 1), payload_type))
            at += 4 + max(1, len(payload))
        for packet in packets:
            decoder = decoders.get(packet.payload_type)
            assert decoder is not None
            decoder.duration(packet.data)
        decoders.decode(packets)

    yield parse


def _payload_seeds() -> list[bytes]:
    frame = bytes((0, 0, 8, len(OPUS))) + OPUS
    lost = bytes((0, 1, 16, len(OPUS))) + OPUS
    plain = b"".join(bytes((kind, 0, 8, 40)) + bytes(range(40)) for kind in (1, 2, 3))
    several = bytes((0, 0, 8, 6)) + b"\xff\x83\xff\xfe\xff\xfe"
    return [frame * 6, frame + lost + frame, plain, several * 3, frame + plain + lost]


# SCTP (RFC 9260) and DCEP (RFC 8832)


class _Wire:
    """Stands in for the DTLS transport between two associations: SCTP is what is tried, thousands of times a second."""

    state = "connected"
    _state = State.CONNECTED

    def __init__(self, role: str) -> None:
        self._role = role
        self.sent: list[bytes] = []

    def _register_data_receiver(self, _: object) -> None: ...
    def _unregister_data_receiver(self, _: object) -> None: ...

    async def _send_data(self, data: bytes) -> None:
        self.sent.append(data)

    # Its OpenSSL, and its ICE transport, whose connection has no path.

    @property
    def _ssl(self) -> Self:
        return self

    @property
    def transport(self) -> Self:
        return self

    @property
    def _connection(self) -> Self:
        return self

    @property
    def _nominated(self) -> dict[int, object]:
        return {}

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def bio_read(self, _: int) -> bytes:
        return b""


class _Connection:
    """Has what ``sctp.bound`` asks of a peer connection."""

    def __init__(self, association: RTCSctpTransport) -> None:
        self.sctp = association


class Association:
    """An association that is up, and bounded as a session's; it is made anew where an input has ended it."""

    _recorded: ClassVar[list[bytes]] = []

    def __init__(self) -> None:
        self.loop = Loop()
        self.ours: Any = None
        self._excess = ""
        self.loop.run(self._connect())

    async def _connect(self) -> None:
        wires = _Wire("server"), _Wire("client")
        ours, theirs = (RTCSctpTransport(wire) for wire in wires)  # type: ignore[arg-type]
        self._excess = ""
        sctp.bound(_Connection(ours), self._on_excess)  # type: ignore[arg-type]
        bounded: Any = vars(ours)[sctp._HANDLE].__self__
        bundling.bundle(_Connection(ours))  # type: ignore[arg-type]
        bounded._chunks = RateLimit(_UNHURRIED, _UNHURRIED)
        await ours.start(None, 5000)
        await theirs.start(None, 5000)
        for _ in range(8):
            for wire, receiver in zip(wires, (theirs, ours), strict=True):
                sent, wire.sent[:] = list(wire.sent), []
                Association._recorded += sent if not self.ours else ()
                for data in sent:
                    await receiver._handle_data(data)
        assert ours.state == "connected"
        ours.on("datachannel", lambda channel: channel.on("message", lambda _: None))
        await theirs.stop()
        self._wire, self.ours = wires[0], ours
        self._tsn = theirs._local_tsn

    def _on_excess(self, excess: str) -> None:
        self._excess = excess

    def close(self) -> None:
        self.loop.run(self.ours.stop())
        self.loop.close()

    def packet(self, data: bytes) -> None:
        """Receive chunks under a right header."""
        self.loop.run(self._receive(data))

    def message(self, data: bytes) -> None:
        """Receive messages, in order and whole; each behind its kind, its stream and its length."""
        self.loop.run(self._receive_messages(data))

    async def _receive_messages(self, data: bytes) -> None:
        at, chunks = 0, b""
        while at + 3 <= len(data):
            kind, stream, size = data[at : at + 3]
            body = data[at + 3 : at + 3 + size * (1 + (kind >> 3))]
            at += 3 + max(1, len(body))
            protocol = (50, 51, 53, 56, 57, 0, 50, 50)[kind % 8]
            chunks += struct.pack("!BBHLHHL", 0, 7, 16 + len(body), self._tsn, stream % 8, 0, protocol) + body
            chunks += bytes(-len(body) % 4)
            self._tsn = (self._tsn + 1) % 2**32
        await self._receive(chunks)

    async def _receive(self, chunks: bytes) -> None:
        if self._excess or self.ours.state != "connected":
            await self.ours.stop()
            await self._connect()
        tag = 0 if chunks[:1] == b"\1" else self.ours._local_verification_tag
        header = struct.pack("!HHL", 5000, 5000, tag)
        packet = header + struct.pack("<L", crc32c(header + bytes(4) + chunks)) + chunks
        with suppress(ConnectionError):
            await self.ours._handle_data(packet)
        await asyncio.sleep(0)
        self._wire.sent.clear()

    @classmethod
    def recorded(cls) -> list[bytes]:
        """Chunks of an association's beginning."""
        if not cls._recorded:
            cls().close()
        return [data[12:] for data in cls._recorded]


def _sctp_seeds() -> list[bytes]:
    parameter = struct.pack("!HHL", 1, 8, 7)
    chunks: list[Any] = [
        aiortc_sctp.HeartbeatChunk(body=parameter),
        aiortc_sctp.AbortChunk(body=parameter),
        aiortc_sctp.ErrorChunk(body=parameter),
        aiortc_sctp.ShutdownChunk(body=bytes(4)),
        aiortc_sctp.ForwardTsnChunk(body=struct.pack("!LHH", 7, 1, 1)),
        aiortc_sctp.SackChunk(body=struct.pack("!LLHHHHL", 7, 1_000, 1, 1, 2, 3, 7)),
        aiortc_sctp.ReconfigChunk(body=struct.pack("!HHLLLHH", 13, 20, 1, 2, 3, 0, 1)),
        aiortc_sctp.ReconfigChunk(body=struct.pack("!HHLHH", 17, 12, 1, 5, 0)),
        aiortc_sctp.ReconfigChunk(body=struct.pack("!HHLL", 16, 12, 1, 1)),
        aiortc_sctp.DataChunk(flags=3, body=struct.pack("!LHHL", 7, 1, 0, 51) + b"hello"),
    ]
    return [*Association.recorded(), *map(bytes, chunks)]


def _open_message(label: bytes, protocol: bytes = b"", kind: int = 0) -> bytes:
    return struct.pack("!BBHLHH", 3, kind, 0, 0, len(label), len(protocol)) + label + protocol


def _message(kind: int, stream: int, body: bytes) -> bytes:
    return bytes((kind, stream, len(body))) + body


def _dcep_seeds() -> list[bytes]:
    opened = _message(0, 0, _open_message(b"events"))
    other = _message(0, 2, _open_message(b"results", b"x", 0x81))
    texts = b"".join(_message(kind, 0, b'{"type": "ping"}') for kind in range(1, 6))
    return [opened, opened + other, opened + texts, _message(0, 0, b"\2"), _message(0, 4, _open_message(b"\xff"))]


@contextmanager
def _closing(make: Callable[[], Any], parse: Callable[[Any], Parse] = lambda made: made) -> Iterator[Parse]:
    made = make()
    try:
        yield parse(made)
    finally:
        made.close()


_WORDS = (
    b"\0\0",
    b"\0\4",
    b"\xff\xff",
    b"\x21\x12\xa4\x42",
    b"\x80",
    b"\xbe\xde",
    b"\x7f\xff\xff\xff",
)

TARGETS = (
    Target(
        name="stun",
        opened=lambda: _closing(StunCall),
        seeds=_stun_seeds,
        words=(*_WORDS, b"\0\x06", b"\0\x24"),
        cases=800,
    ),
    Target(name="rtp", opened=lambda: _closing(MediaCall), seeds=_rtp_seeds, words=_WORDS, largest=1_500, cases=800),
    Target(name="rtcp", opened=lambda: _closing(MediaCall), seeds=_rtcp_seeds, words=_WORDS, largest=1_500),
    Target(name="payloads", opened=_decoders, seeds=_payload_seeds, words=_WORDS, largest=3_000),
    Target(
        name="sctp",
        opened=lambda: _closing(Association, lambda made: made.packet),
        seeds=_sctp_seeds,
        words=_WORDS,
        cases=1_000,
        largest=1_500,
    ),
    Target(
        name="dcep",
        opened=lambda: _closing(Association, lambda made: made.message),
        seeds=_dcep_seeds,
        words=_WORDS,
        largest=1_500,
    ),
)

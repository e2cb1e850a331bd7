"""Bound what a peer can cost by its data channels, and wait until they have delivered what was sent on them.

aiortc sorts all holes and looks through all fragments with each chunk that comes, keeps a message until its end comes
however long it is, and logs a traceback for what it did not expect. So chunks are counted before it sees them, and what
it keeps is measured afterwards.
"""

import asyncio
import logging
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from aiortc import RTCPeerConnection

from voxgender import metrics
from voxgender.ratelimit import RateLimit

logger = logging.getLogger(__name__)

MAX_MESSAGE = 262_144
"""Bytes of one message: what aiortc's SDP announces (``a=max-message-size``)."""
MAX_UNFINISHED = 2 * MAX_MESSAGE
"""Bytes of messages whose end has not come."""
MAX_FRAGMENTS = 1_024
"""Chunks of messages whose end has not come."""
MAX_HOLES = 256
"""Chunks that came before one that they follow."""
MAX_CHANNELS_OPEN = 64
"""Data channels that a peer may have open at a time; ``media.outbox`` serves the first eight of them."""
MAX_STREAMS = 256
"""SCTP streams that anything came on."""
MAX_LABEL = 1_024
"""Bytes of the message that opens a channel (RFC 8832 section 5.1), which holds its label and protocol."""
CHUNKS_PER_S = 200.0
"""Chunks of one call in a second; what is more is lost on the way, and sent again more slowly."""
CHUNKS_AT_ONCE = 400.0

_COMMON_HEADER = 12
_CHUNK = struct.Struct("!BBH")
_SACK = struct.Struct("!LLHH")
_GAP = struct.Struct("!HH")
_PARAMETER = struct.Struct("!HH")
_SELECTIVE_ACK, _DCEP = 3, 50
_PARAMETERS_AT = {1: 16, 2: 16, 4: 0, 5: 0, 6: 0, 9: 0, 130: 0}
"""Chunk types with parameters or causes, and where in their value these begin (RFC 9260 section 3.3, RFC 6525)."""
_HANDLE, _RECEIVE = "_handle_data", "_data_channel_receive"
_MODULO = 1 << 32


def bound(pc: RTCPeerConnection, on_excess: Callable[[str], None], *, chunks_at_once: float = CHUNKS_AT_ONCE) -> None:
    """Bound what comes over a connection's data channels.

    A message that cannot be understood is ignored. After ``on_excess`` nothing more is read. Call it after
    ``setRemoteDescription`` and before ``setLocalDescription``, and :func:`release` at the end.

    Args:
        pc: the connection.
        on_excess: called once with the bound that was broken, in words that follow "it sent".
        chunks_at_once: chunks that may come together.
    """
    sctp: Any = pc.sctp
    if sctp is not None:
        bounded = _Bounded(sctp, on_excess, chunks_at_once)
        vars(sctp)[_HANDLE] = bounded.handle
        vars(sctp)[_RECEIVE] = bounded.receive


def release(pc: RTCPeerConnection) -> None:
    """Undo :func:`bound`: what it put into the transport holds it."""
    if pc.sctp is not None:
        vars(pc.sctp).pop(_HANDLE, None)
        vars(pc.sctp).pop(_RECEIVE, None)


async def wait_delivered(pc: RTCPeerConnection, timeout_s: float) -> bool:
    """Wait until the peer has acknowledged all that was sent on reliable data channels, or time is up.

    A channel's ``bufferedAmount`` tells of data that was not sent yet, not of data that was not acknowledged.
    """
    sctp: Any = pc.sctp
    if sctp is None or sctp.state != "connected":
        return False
    deadline = time.monotonic() + timeout_s
    while sctp._outbound_queue or sctp._sent_queue or sctp._data_channel_queue:
        if time.monotonic() > deadline or sctp.state != "connected":
            return False
        await asyncio.sleep(0.01)
    return True


class _Bounded:
    """Stand between the DTLS transport and an association, and between it and its channels."""

    def __init__(self, sctp: Any, on_excess: Callable[[str], None], chunks_at_once: float) -> None:
        self._sctp = sctp
        self._on_excess = on_excess
        self._chunks = RateLimit(CHUNKS_PER_S, chunks_at_once)
        self._window = sctp._advertised_rwnd
        self._is_over = False

    async def handle(self, data: bytes) -> None:
        """Take a packet (RFC 9260 section 3), in place of aiortc's method."""
        if self._is_over:
            return
        chunks = list(_chunks(data))
        if not self._chunks.take(time.monotonic(), len(chunks)) or not self._is_sound(data, chunks):
            metrics.CHUNKS_IGNORED.inc(len(chunks) or 1)
            return
        try:
            await type(self._sctp)._handle_data(self._sctp, data)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - aiortc raises what its parsers stumble over
            # It may have stopped in the middle: what it keeps cannot be relied on.
            logger.debug("SCTP packet of %d bytes: %r", len(data), error)
            self._end("what SCTP does not allow")
            return
        if excess := self._excess():
            self._end(excess)

    async def receive(self, stream_id: int, kind: int, data: bytes) -> None:
        """Take a message, in place of aiortc's method."""
        if len(data) > MAX_MESSAGE:
            self._end("a larger message than was announced")
        elif kind == _DCEP and len(data) > MAX_LABEL:
            self._end("a channel's label that is too long")
        else:
            try:
                await type(self._sctp)._data_channel_receive(self._sctp, stream_id, kind, data)
            except (AssertionError, UnicodeDecodeError, struct.error) as error:
                # Texts that are not UTF-8, channels that are there or are not.
                logger.debug("data channel message of %d bytes: %r", len(data), error)
                metrics.CHUNKS_IGNORED.inc()

    def _excess(self) -> str | None:
        sctp = self._sctp
        if len(sctp._sack_misordered) > MAX_HOLES:
            return "too much with something missing before it"
        if self._window - sctp._advertised_rwnd > MAX_UNFINISHED:
            return "too many bytes of messages without an end"
        if len(sctp._data_channels) > MAX_CHANNELS_OPEN or len(sctp._inbound_streams) > MAX_STREAMS:
            return "on too many data channels"
        if sum(len(stream.reassembly) for stream in sctp._inbound_streams.values()) > MAX_FRAGMENTS:
            return "too many pieces of messages without an end"
        return None

    def _is_sound(self, data: bytes, chunks: "list[Chunk]") -> bool:
        return all(
            self._is_honest(data, chunk) if chunk.kind == _SELECTIVE_ACK else _has_an_end(data, chunk)
            for chunk in chunks
        )

    def _is_honest(self, data: bytes, ack: "Chunk") -> bool:
        """Tell whether an acknowledgement is of what was sent: aiortc counts up through each range that one names."""
        if ack.end - ack.start < _SACK.size:
            return False
        sctp = self._sctp
        acknowledged, _, gaps, _ = _SACK.unpack_from(data, ack.start)
        sent = (sctp._local_tsn - 1 - acknowledged) % _MODULO
        end = 0
        for index in range(gaps):
            position = ack.start + _SACK.size + index * _GAP.size
            if position + _GAP.size > ack.end:
                return False
            start, next_end = _GAP.unpack_from(data, position)
            if not end < start <= next_end <= sent:
                return False
            end = next_end
        return True

    def _end(self, excess: str) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_excess(excess)


class Chunk(NamedTuple):
    """A chunk's type, and where in the packet its value is."""

    kind: int
    start: int
    end: int


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Yield a packet's chunks (RFC 9260 section 3.2)."""
    position = _COMMON_HEADER
    while position + _CHUNK.size <= len(data):
        kind, _, length = _CHUNK.unpack_from(data, position)
        yield Chunk(kind, position + _CHUNK.size, min(position + length, len(data)))
        if length < _CHUNK.size:
            return
        position += length + -length % 4


def _has_an_end(data: bytes, chunk: Chunk) -> bool:
    """Tell whether a chunk's parameters end: aiortc reads one of no length again and again, for ever."""
    offset = _PARAMETERS_AT.get(chunk.kind)
    if offset is None:
        return True
    position = chunk.start + offset
    while position + _PARAMETER.size <= chunk.end:
        _, length = _PARAMETER.unpack_from(data, position)
        if length < _PARAMETER.size:
            return False
        position += length + -length % 4
    return True

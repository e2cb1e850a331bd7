"""Send an association's messages together: several chunks in a packet, and no task for each of them.

aiortc makes a task for each message, and a packet of each chunk. What happened together then costs one DTLS record and
one system call for each message, and the peer acknowledges each. Here the chunks of one turn of the event loop share
packets (RFC 9260 section 6.10). Which chunk is sent, when, and when again, aiortc decides as before: a chunk waits only
until the code that brought it about has run to its end. While nothing is lost there is nothing to decide, and messages
and acknowledgements, which are nearly all of the traffic, are dealt with here, in one call each.
"""

import time
from collections.abc import Coroutine
from contextlib import suppress
from struct import Struct
from typing import Any

from aiortc import RTCDataChannel, RTCPeerConnection
from aiortc.rtcdtlstransport import State
from aiortc.rtcsctptransport import (
    SCTP_DATA_FIRST_FRAG,
    SCTP_DATA_LAST_FRAG,
    SCTP_DATA_UNORDERED,
    USERDATA_MAX_LENGTH,
    WEBRTC_DCEP,
    WEBRTC_STRING,
    Chunk,
    DataChunk,
    ForwardTsnChunk,
    SackChunk,
    tsn_plus_one,
)
from aiortc.utils import uint16_add
from google_crc32c import value as crc32c
from OpenSSL import SSL

from voxgender.media.aiortc_internals.ice import send_now

LARGEST_PACKET = 1_176
"""Bytes of a packet of several chunks. With DTLS by any of ``media.dtls.SUITES``, UDP and IPv6 around it, that makes no
more than the 1,280 bytes that each path takes (RFC 8200 section 5).
"""

_DATAGRAM = 1_500
_PORTS_AND_TAG = Struct("!HHL")
_CHECKSUM = Struct("<L")
_ACKNOWLEDGEMENT = Struct("!4xL4xB1xHL4xL")
"""A packet of one SACK chunk without gaps and duplicates: the tag, the chunk's type and length, the cumulative TSN, and
the numbers of gaps and duplicates.
"""
_HEADER = _PORTS_AND_TAG.size + _CHECKSUM.size
_TOGETHER = (DataChunk, SackChunk, ForwardTsnChunk)
"""Chunks that share packets. Those that open, close and change an association are rare, and stay alone: some must."""
_MODULO = 1 << 32
_SEND, _SEND_CHUNK, _TRANSMIT, _HANDLE = "_data_channel_send", "_send_chunk", "_transmit", "_handle_data"


def bundle(pc: RTCPeerConnection) -> None:
    """Let a connection's association send together what comes together; nothing is sent once it is closed.

    Call it after ``setRemoteDescription`` and before ``setLocalDescription``, after ``sctp.bound`` if that is called,
    and :func:`release` at the end.
    """
    sctp: Any = pc.sctp
    if sctp is not None:
        bundler = _Bundler(sctp)
        vars(sctp).update(
            {
                _SEND: bundler.send,
                _SEND_CHUNK: bundler.send_chunk,
                _TRANSMIT: bundler.transmit,
                _HANDLE: bundler.handle,
            }
        )


def release(pc: RTCPeerConnection) -> None:
    """Undo :func:`bundle`: what it put into the association holds it."""
    if pc.sctp is not None:
        for name in (_SEND, _SEND_CHUNK, _TRANSMIT, _HANDLE):
            vars(pc.sctp).pop(name, None)


class _Message(DataChunk):
    """A message of one chunk that is being sent for the first time."""

    _abandoned = _acked = _retransmit = False
    _expiry = None
    _in_flight = True
    _misses = 0
    _sent_count = 1

    def __init__(self, channel: Any, protocol: int, data: bytes) -> None:
        self.flags = SCTP_DATA_FIRST_FRAG | SCTP_DATA_LAST_FRAG | (0 if channel.ordered else SCTP_DATA_UNORDERED)
        self.stream_id = channel.id
        self.stream_seq = 0
        self.protocol = protocol
        self.user_data = data
        self._book_size = len(data)
        self._max_retransmits = channel.maxRetransmits
        self._sent_time = time.time()


class _Bundler:
    """Stand between an association and its DTLS transport, and between its channels and it."""

    def __init__(self, sctp: Any) -> None:
        self._sctp = sctp
        self._handle = sctp._handle_data
        self._control: list[bytes] = []
        self._data: list[bytes] = []
        self._gathers = False
        self._flushes = False

    def send(self, channel: RTCDataChannel, data: str | bytes) -> None:
        """Send a message, in place of aiortc's method."""
        sctp = self._sctp
        text = data.encode() if isinstance(data, str) else b""
        if not text or len(text) > (sctp._remote_max_message_size or len(text)):
            # Binary, empty, or too long, which aiortc says.
            type(sctp)._data_channel_send(sctp, channel, data)
            return
        channel._addBufferedAmount(len(text))
        sctp._data_channel_queue.append((channel, WEBRTC_STRING, text))
        if not self._flushes:
            self._flushes = True
            sctp._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send the messages that wait."""
        self._flushes = False
        sctp = self._sctp
        waiting = sctp._data_channel_queue
        if self._is_undisturbed:
            while waiting and self._take_message(*waiting[0]):
                waiting.popleft()
        if waiting or sctp._reconfig_queue:
            self._gather(sctp._data_channel_flush())
        else:
            self._send_out()

    @property
    def _is_undisturbed(self) -> bool:
        """True if nothing is lost, and nothing waits but messages that were not looked at."""
        sctp = self._sctp
        return (
            sctp._association_state is sctp.State.ESTABLISHED
            and sctp.transport._state is State.CONNECTED
            and not sctp._outbound_queue
            and sctp._forward_tsn_chunk is None
            and sctp._fast_recovery_exit is None
            and all(chunk._in_flight for chunk in sctp._sent_queue)
        )

    def _take_message(self, channel: Any, protocol: int, data: bytes) -> bool:
        """Take a message of one chunk, if it may be sent now; tell whether it may. The rest is aiortc's."""
        sctp = self._sctp
        if (
            protocol == WEBRTC_DCEP
            or len(data) > USERDATA_MAX_LENGTH
            or sctp._flight_size >= sctp._cwnd
            or channel.id is None
            or channel.maxPacketLifeTime is not None
        ):
            return False
        chunk = _Message(channel, protocol, data)
        chunk.tsn = sctp._local_tsn
        sctp._local_tsn = tsn_plus_one(chunk.tsn)
        if channel.ordered:
            chunk.stream_seq = sctp._outbound_stream_seq.get(channel.id, 0)
            sctp._outbound_stream_seq[channel.id] = uint16_add(chunk.stream_seq, 1)
        sctp._sent_queue.append(chunk)
        sctp._flight_size += len(data)
        channel._addBufferedAmount(-len(data))
        if not sctp._t3_handle:
            sctp._t3_start()
        self._data.append(bytes(chunk))
        return True

    async def handle(self, data: bytes) -> None:
        """Take a packet, in place of aiortc's method; what answers it goes out together."""
        if not self._take_acknowledgement(data):
            self._gather(self._handle(data))

    def _take_acknowledgement(self, data: bytes) -> bool:
        """Take a packet that acknowledges what was sent, if nothing else follows from it; tell whether it was one."""
        sctp = self._sctp
        sent = sctp._sent_queue
        if len(data) != _ACKNOWLEDGEMENT.size or not sent:
            return False
        tag, kind, length, tsn, others = _ACKNOWLEDGEMENT.unpack(data)
        count = (tsn - sent[0].tsn + 1) % _MODULO
        if (
            (tag, kind, length, others) != (sctp._local_verification_tag, SackChunk.type, len(data) - _HEADER, 0)
            or not 0 < count <= len(sent)
            # More can be sent now.
            or sctp._data_channel_queue
            or sctp._flight_size >= sctp._cwnd
            or not self._is_undisturbed
            or _CHECKSUM.unpack_from(data, _PORTS_AND_TAG.size)[0] != _crc(data[: _PORTS_AND_TAG.size], data[_HEADER:])
        ):
            return False
        if sent[0]._sent_count == 1:
            sctp._update_rto(time.time() - sent[0]._sent_time)
        for _ in range(count):
            sctp._flight_size -= sent.popleft()._book_size
        sctp._last_sacked_tsn = sctp._advanced_peer_ack_tsn = tsn
        sctp._forward_tsn_streams.clear()
        if sent:
            sctp._t3_restart()
        else:
            sctp._t3_cancel()
        return True

    async def transmit(self) -> None:
        """Send what waits and may be sent, in place of aiortc's method."""
        sctp = self._sctp
        # Else aiortc would start a timer that nobody cancels any more.
        if sctp.state != "closed" and sctp.transport._state is State.CONNECTED:
            transmission = type(sctp)._transmit(sctp)
            if self._gathers:
                await transmission
            else:
                self._gather(transmission)

    async def send_chunk(self, chunk: Chunk) -> None:
        """Send a chunk, in place of aiortc's method."""
        if not isinstance(chunk, _TOGETHER):
            self._send_out()
            self._write(bytes(chunk))
            return
        (self._data if isinstance(chunk, DataChunk) else self._control).append(bytes(chunk))
        if not self._gathers:
            self._send_out()

    def _gather(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine of aiortc's that waits for nothing, and send all of its chunks at the end."""
        gathers, self._gathers = self._gathers, True
        try:
            work.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("aiortc waits where it did not")
        finally:
            self._gathers = gathers
            if not gathers:
                self._send_out()

    def _send_out(self) -> None:
        """Send the chunks that were gathered, control chunks first (RFC 9260 section 6.10)."""
        chunks = self._control + self._data
        self._control.clear()
        self._data.clear()
        start = size = 0
        for end, chunk in enumerate(chunks):
            if size and size + len(chunk) > LARGEST_PACKET - _HEADER:
                self._write(b"".join(chunks[start:end]))
                start, size = end, 0
            size += len(chunk)
        if size:
            self._write(b"".join(chunks[start:]))

    def _write(self, chunks: bytes) -> None:
        """Send a packet (RFC 9260 section 3), if the connection is there."""
        sctp = self._sctp
        dtls = sctp.transport
        if dtls._state is not State.CONNECTED:
            return
        head = _PORTS_AND_TAG.pack(sctp._local_port, sctp._remote_port, sctp._remote_verification_tag)
        checksum = _CHECKSUM.pack(_crc(head, chunks))
        # A peer that closes DTLS just now gets nothing more.
        with suppress(SSL.Error):
            dtls._ssl.send(head + checksum + chunks)
            send_now(dtls.transport, dtls._ssl.bio_read(_DATAGRAM))


def _crc(head: bytes, chunks: bytes) -> int:
    """Return a packet's checksum, in which the field for it counts as zero (RFC 9260 section 6.8)."""
    return int(crc32c(head + bytes(_CHECKSUM.size) + chunks))

"""Parse RTP and RTCP (RFC 3550), and write receiver reports."""

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import NamedTuple

_RTP = Struct("!BBHLL")
_RTCP = Struct("!BBH")
_REPORT = Struct("!BBHL")
_BLOCK = Struct("!LL4L")
_SENDER_REPORT, _RECEIVER_REPORT, _GOODBYE = 200, 201, 203
_VERSION = 0x80
_HALF_CLOCK, _CLOCK = 0x8000_0000, 0xFFFF_FFFF
MAX_DROPOUT = 3000
"""Distance of sequence numbers from which a stream begins anew (appendix A.1)."""


class Rtp(NamedTuple):
    """The parts of an RTP packet that a receiver needs (section 5.1)."""

    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes
    mid: str = ""
    """Name of its media line, if the packet's header extension says it (RFC 9143 section 15)."""


class SenderReport(NamedTuple):
    """The parts of a sender report that a receiver report repeats (section 6.4.1)."""

    ssrc: int
    ntp: int
    """The middle 32 bits of the NTP timestamp."""


class Goodbye(NamedTuple):
    """The end of streams (section 6.6)."""

    ssrcs: tuple[int, ...]


def packets_ahead(sequence_number: int, of: int) -> int:
    """Return how many packets one is ahead of another, the shortest way round (RFC 1982). ``of`` may be unwrapped."""
    return ((sequence_number - of + 0x8000) & 0xFFFF) - 0x8000


def ticks_ahead(timestamp: int, of: int) -> int:
    """Return by how many clock ticks one timestamp is ahead of another, the shortest way round."""
    return ((timestamp - of + _HALF_CLOCK) & _CLOCK) - _HALF_CLOCK


def parse_rtp(data: bytes, mid_extension: int = 0) -> Rtp:
    """Read a packet, past its CSRCs, header extensions and padding.

    Args:
        data: the packet.
        mid_extension: id of the header extension that names the packet's media line; 0 to leave it unread.

    Raises:
        ValueError: the packet is shorter than its header says.
    """
    if len(data) < _RTP.size:
        raise ValueError("shorter than an RTP header")
    first, second, sequence_number, timestamp, ssrc = _RTP.unpack_from(data)
    start = _RTP.size + 4 * (first & 0x0F)
    end = len(data)
    mid = ""
    if first & 0x10:
        if end < start + 4:
            raise ValueError("cut off in its header extension")
        extension, start = start, start + 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
        if mid_extension and start <= end:
            mid = _extension(data[extension:start], mid_extension).decode("ascii", "replace")
    if first & 0x20:
        end -= data[-1] or end
    if end < start:
        raise ValueError("shorter than its header says")
    return Rtp(second & 0x7F, sequence_number, timestamp, ssrc, data[start:end], mid)


def _extension(data: bytes, wanted: int) -> bytes:
    """Return the value of one header extension (RFC 8285 section 4); empty if the packet has none of that id."""
    profile = int.from_bytes(data[:2], "big")
    is_long = profile & 0xFFF0 == 0x1000
    if not is_long and profile != 0xBEDE:
        return b""
    position = 4
    while position + is_long < len(data):
        head = data[position]
        if head == 0:
            position += 1
            continue
        number, length = (head, data[position + 1]) if is_long else (head >> 4, (head & 0x0F) + 1)
        if not is_long and number == 15:
            break
        position += 1 + is_long
        if number == wanted:
            return data[position : position + length]
        position += length
    return b""


def is_rtcp(data: bytes) -> bool:
    """Return whether a packet on RTP's port is RTCP (RFC 5761 section 4); it has at least two bytes."""
    return 192 <= data[1] <= 223


def parse_rtcp(data: bytes) -> Iterator[SenderReport | Goodbye]:
    """Read a compound packet (section 6.1); skip other types of packet, and an end that is cut off."""
    position = 0
    while position + _RTCP.size <= len(data):
        first, kind, words = _RTCP.unpack_from(data, position)
        end = position + 4 * (words + 1)
        if end > len(data):
            return
        ssrcs = tuple(
            int.from_bytes(data[at : at + 4], "big") for at in range(position + 4, min(end, position + 4 + 4 * 31), 4)
        )
        if kind == _SENDER_REPORT and len(ssrcs) >= 6:
            yield SenderReport(ssrcs[0], (ssrcs[1] & 0xFFFF) << 16 | ssrcs[2] >> 16)
        elif kind == _GOODBYE:
            yield Goodbye(ssrcs[: first & 0x1F])
        position = end


class Reception:
    """Reception statistics of one stream, for receiver reports.

    Args:
        clock_rate_hz: rate of its timestamps.
    """

    def __init__(self, clock_rate_hz: int) -> None:
        self.received = 0
        self._clock_rate_hz = clock_rate_hz
        self._first = self._highest = 0
        self._jitter = 0.0
        self._arrived_at = 0.0
        self._timestamp = 0
        self._reported = (0, 0)
        self._heard_ntp = 0
        self._heard_at = 0.0

    def count(self, packet: Rtp, arrived_at: float) -> None:
        """Count a packet; ``arrived_at`` in seconds of ``time.monotonic``."""
        ahead = packets_ahead(packet.sequence_number, self._highest)
        if not self.received or abs(ahead) > MAX_DROPOUT:
            self.received = 0
            self._first = self._highest = packet.sequence_number
            self._reported = (0, 0)
        elif ahead > 0:
            self._highest += ahead
            if packet.timestamp != self._timestamp:
                # Appendix A.8.
                ticks = ticks_ahead(packet.timestamp, self._timestamp)
                late = abs((arrived_at - self._arrived_at) * self._clock_rate_hz - ticks)
                self._jitter += (late - self._jitter) / 16
        self.received += 1
        if ahead >= 0 or self.received == 1:
            self._arrived_at, self._timestamp = arrived_at, packet.timestamp

    def sender_reported(self, report: SenderReport, arrived_at: float) -> None:
        self._heard_ntp, self._heard_at = report.ntp, arrived_at

    def block(self, ssrc: int, now: float) -> bytes:
        """Return a report block (section 6.4.1); the fraction lost counts from the block before."""
        expected = self._highest - self._first + 1
        expected_since, received_since = expected - self._reported[0], self.received - self._reported[1]
        self._reported = (expected, self.received)
        lost_since = max(0, expected_since - received_since)
        fraction = min(255, (lost_since << 8) // expected_since) if expected_since > 0 else 0
        # Duplicates can make it negative (appendix A.3).
        lost = min(max(expected - self.received, -0x80_0000), 0x7F_FFFF) & 0xFF_FFFF
        delay = round((now - self._heard_at) * 65_536) & _CLOCK if self._heard_ntp else 0
        jitter = min(round(self._jitter), _CLOCK)
        return _BLOCK.pack(ssrc, fraction << 24 | lost, self._highest & _CLOCK, jitter, self._heard_ntp, delay)


def receiver_report(ssrc: int, receptions: Mapping[int, Reception], now: float) -> bytes:
    """Write a receiver report about at most 31 streams (section 6.4.2).

    Args:
        ssrc: SSRC of the receiver.
        receptions: each stream's statistics, by SSRC.
        now: seconds of ``time.monotonic``.
    """
    blocks = b"".join(reception.block(stream, now) for stream, reception in receptions.items())
    words = (_REPORT.size + len(blocks)) // 4 - 1
    return _REPORT.pack(_VERSION | len(receptions), _RECEIVER_REPORT, words, ssrc) + blocks

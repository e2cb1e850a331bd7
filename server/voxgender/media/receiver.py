"""Put RTP packets in order for the engine, with low latency.

aiortc's own jitter buffer holds 80 ms, and one lost packet leaves it 280 ms late for the rest of the call; its
decoder runs a thread a call. Here packets wait only behind a hole, and only for ``REORDER_WINDOW_S``.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiortc import RTCRtpCodecParameters

from voxgender import metrics
from voxgender.audio.frames import Packet
from voxgender.engine import Call
from voxgender.media.audiobudget import AudioBudget, Excess
from voxgender.media.decoder import Decoder, Decoders
from voxgender.media.rtp import MAX_DROPOUT, Rtp, packets_ahead, ticks_ahead

REORDER_WINDOW_S = 0.06
"""Time for which a hole in the sequence holds back later packets, at first."""
MIN_REORDER_WINDOW_S = 0.02
MAX_REORDER_WINDOW_S = 0.12
"""Bounds of the time that a hole holds packets back: the lower for paths that only lose packets, the upper for paths
that reorder them."""
PAUSE_S = 0.25
"""Time after which a hole is given up without later packets: longer than a packet waits in a socket."""
BYE_GRACE_S = 2.0
"""Time in which a sender may resume after a goodbye (RTCP BYE). Chromium sends one when it pauses."""

_MAX_HELD = 100
_MAX_LEFT = 8
"""Streams that are known to have been given up for another."""
_OVERLAPPING = 25
"""Packets of them after which it is sure that none of them has ended."""
_SURE = 5
"""Packets in a row that show how fast the clock of their timestamps is."""


class _Held(NamedTuple):
    """A packet that waits for packets before it."""

    packet: Packet
    decoder: Decoder | None
    """None of a packet without audio, which has its place in the sequence all the same."""
    arrived_at: float


class AudioReceiver:
    """Receives a remote audio track: puts its packets in order and pushes them to a call.

    All methods are called on the event loop.

    Args:
        call: receives the packets.
        decoders: the call's decoders, configured here once the codecs are negotiated.
        on_excess: called with the reason for each packet that is dropped because it is too much.
        bye_grace_s: time in which a sender may resume after a goodbye.
    """

    def __init__(
        self,
        call: Call,
        decoders: Decoders,
        on_excess: Callable[[Excess], None] = lambda _: None,
        *,
        bye_grace_s: float = BYE_GRACE_S,
    ) -> None:
        self.last_arrival = 0.0
        """Arrival of the last packet, seconds of ``time.monotonic``; 0 before the first."""
        self.lost = 0
        """Packets given up so far."""
        self.ended = False
        self._call = call
        self._decoders = decoders
        self._on_excess = on_excess
        self._bye_grace_s = bye_grace_s
        self._budget = AudioBudget()
        self._held: dict[int, _Held] = {}
        self._missed: dict[int, float] = {}
        self._window_s = REORDER_WINDOW_S
        self._ssrc: int | None = None
        self._left: dict[int, None] = {}
        """SSRCs of streams before this one, the oldest first."""
        self._overlapping = 0
        self._next_seq = 0
        self._highest_seq = 0
        self._last_timestamp = 0
        self._pts = 0
        self._end_pts = 0
        self._clock_rate_hz = 0
        self._skipped = 0
        """Ticks of the stream's clock that the call's clock has left out."""
        self._divisor = 1
        """Ticks of the stream's timestamps in one of its codec's clock."""
        self._doubled = 0
        self._last_duration = 0
        self._timer: asyncio.TimerHandle | None = None
        self._goodbye: asyncio.TimerHandle | None = None

    def configure(self, codecs: Sequence[RTCRtpCodecParameters]) -> None:
        """Accept packets of these formats from now on."""
        self._decoders.configure(codecs)

    def feed(self, packet: Rtp, arrived_at: float) -> None:
        """Receive a packet; packets may come in any order."""
        decoder = self._decoders.get(packet.payload_type)
        if self.ended or (decoder is None and packet.ssrc != self._ssrc) or self._is_overtaken(packet, arrived_at):
            return
        if self._goodbye:
            self._goodbye.cancel()
            self._goodbye = None
        ahead = packets_ahead(packet.sequence_number, self._highest_seq)
        if decoder is not None and self._is_start(packet, decoder, ahead):
            self._start(packet, decoder, arrived_at)
            ahead = 0
        self.last_arrival = arrived_at
        seq = self._highest_seq + ahead
        if seq < self._next_seq or seq in self._held or abs(ahead) > MAX_DROPOUT:
            self._count_unusable(seq, arrived_at)
            return
        pts = self._pts
        if decoder is not None:
            if decoder.clock_rate_hz != self._clock_rate_hz:
                # The stream has changed to another format since.
                self._count_unusable(seq, arrived_at)
                return
            pts = self._timestamp_of(packet, decoder, ahead)
        self._highest_seq = max(self._highest_seq, seq)
        received = Packet(pts, packet.payload, False, packet.payload_type)
        if seq == self._next_seq and not self._held:
            self._next_seq = seq + 1
            self._push(received, decoder, arrived_at, arrived_at)
            return
        self._held[seq] = _Held(received, decoder, arrived_at)
        self._advance(arrived_at)

    def exceed(self, excess: Excess, ssrc: int = 0) -> None:
        """Tell that a packet was dropped before it was decrypted."""
        self._on_excess(excess)

    def _is_overtaken(self, packet: Rtp, arrived_at: float) -> bool:
        """Return whether a packet is of a stream that another one has followed, and that one goes on.

        It may be late; or the line has two streams at once (as in SDP's Plan B), whose packets put one after the other
        would make a second of two.
        """
        if packet.ssrc not in self._left or arrived_at - self.last_arrival >= PAUSE_S:
            return False
        metrics.PACKETS["excess"].inc()
        self._overlapping += 1
        if self._overlapping >= _OVERLAPPING:
            self._on_excess("several_streams")
        return True

    def _is_start(self, packet: Rtp, decoder: Decoder, ahead: int) -> bool:
        """Return whether a packet begins a stream: another sender, a sequence begun anew, or another clock."""
        if packet.ssrc != self._ssrc or abs(ahead) > MAX_DROPOUT:
            return True
        return ahead > 0 and decoder.clock_rate_hz != self._clock_rate_hz

    def _timestamp_of(self, packet: Rtp, decoder: Decoder, ahead: int) -> int:
        """Return when a packet begins, in ticks of its codec's clock."""
        ticks = ticks_ahead(packet.timestamp, self._last_timestamp)
        if decoder.may_run_double:
            self._detect_doubled_clock(ticks, ahead)
            self._last_duration = decoder.duration(packet.payload)
        pts = self._pts + ticks // self._divisor
        if ahead >= 0:
            self._pts, self._last_timestamp = pts, packet.timestamp
        return pts

    def _detect_doubled_clock(self, ticks: int, ahead: int) -> None:
        """Learn from packets that follow one another whether their timestamps count twice as fast as they should."""
        if ahead != 1 or not self._last_duration or ticks not in (self._last_duration, 2 * self._last_duration):
            return
        if ticks == self._last_duration * self._divisor:
            self._doubled = 0
            return
        self._doubled += 1
        if self._doubled >= _SURE:
            self._divisor, self._doubled = 3 - self._divisor, 0

    def _count_unusable(self, seq: int, arrived_at: float) -> None:
        """Count a duplicate or a late packet; a late one makes the reorder window longer."""
        noticed_at = self._missed.pop(seq, None)
        metrics.PACKETS["duplicate" if noticed_at is None else "late"].inc()
        if noticed_at is not None:
            self._window_s = min(MAX_REORDER_WINDOW_S, max(self._window_s, 1.25 * (arrived_at - noticed_at)))

    def bye(self) -> None:
        """Note the sender's goodbye; end the audio unless the sender resumes in time."""
        if self._goodbye is None and not self.ended:
            self._goodbye = asyncio.get_running_loop().call_later(self._bye_grace_s, self.end)

    def end(self) -> None:
        """End the call's audio: push the packets held, then take no more."""
        for timer in (self._timer, self._goodbye):
            if timer:
                timer.cancel()
        self._timer = self._goodbye = None
        while self._held:
            self._skip_hole(time.monotonic())
        self.ended = True
        self._call.end()

    def _start(self, packet: Rtp, decoder: Decoder, arrived_at: float) -> None:
        """Begin a stream with its first packet; the wall clock tells where on the call's clock it stands."""
        while self._held:
            self._skip_hole(arrived_at)
        if self._ssrc is not None:
            pause_s = max(0.0, arrived_at - self.last_arrival)
            scale = decoder.clock_rate_hz / self._clock_rate_hz
            self._end_pts = round(self._end_pts * scale)
            pts = round((self._pts - self._skipped) * scale + pause_s * decoder.clock_rate_hz)
            self._pts = max(self._end_pts, pts)
            self._skipped = 0
        if packet.ssrc != self._ssrc:
            self._leave_stream(packet.ssrc)
        self._clock_rate_hz = decoder.clock_rate_hz
        self._last_timestamp = packet.timestamp
        self._last_duration = self._doubled = 0
        self._next_seq = self._highest_seq = packet.sequence_number

    def _leave_stream(self, ssrc: int) -> None:
        """Go over to another stream."""
        if self._ssrc is not None:
            self._left[self._ssrc] = None
        self._left.pop(ssrc, None)
        if len(self._left) > _MAX_LEFT:
            del self._left[next(iter(self._left))]
        self._ssrc = ssrc
        self._overlapping = 0

    def _advance(self, now: float) -> None:
        while self._held:
            held = self._held.pop(self._next_seq, None)
            if held is not None:
                self._next_seq += 1
                self._push(*held, now)
                continue
            oldest = min(self._held.values(), key=lambda held: held.arrived_at)
            waited_s = now - oldest.arrived_at
            if waited_s < self._window_s and len(self._held) < _MAX_HELD:
                if self._timer is None:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(PAUSE_S, self._give_up)
                return
            self._skip_hole(now)

    def _give_up(self) -> None:
        self._timer = None
        self._advance(time.monotonic())

    def _skip_hole(self, now: float) -> None:
        """Move on to the first packet held, and to all that follow it without another hole."""
        first = min(self._held)
        if first > self._next_seq:
            self.lost += first - self._next_seq
            metrics.PACKETS["lost"].inc(first - self._next_seq)
            noticed_at = min(held.arrived_at for held in self._held.values())
            self._missed = dict.fromkeys(range(max(self._next_seq, first - _MAX_HELD), first), noticed_at)
            self._window_s = max(MIN_REORDER_WINDOW_S, 0.9 * self._window_s)
            held = self._held[first]
            self._held[first] = held._replace(packet=held.packet._replace(after_loss=True))
        self._next_seq = first
        while (in_turn := self._held.pop(self._next_seq, None)) is not None:
            self._next_seq += 1
            self._push(*in_turn, now)

    def _push(self, packet: Packet, decoder: Decoder | None, arrived_at: float, now: float) -> None:
        if decoder is None:
            return
        rate_hz = decoder.clock_rate_hz
        pts = packet.pts - self._skipped
        gap = max(0, pts - self._end_pts) if self._end_pts else 0
        duration = decoder.duration(packet.data)
        taken_s = self._budget.take(gap / rate_hz, duration / rate_hz, arrived_at)
        if taken_s is None:
            self._skipped += gap + duration
            metrics.PACKETS["excess"].inc()
            self._on_excess("too_fast")
            return
        if taken_s < gap / rate_hz:
            taken = round(taken_s * rate_hz)
            self._skipped += gap - taken
            pts -= gap - taken
            gap = taken
        self._end_pts = pts + duration
        # A gap is time too: a call's turn must not come later because of a loss.
        duration_s = (duration + min(gap, rate_hz)) / rate_hz
        placed = packet if pts == packet.pts else packet._replace(pts=pts)
        self._call.push(placed, arrived_at, duration_s=duration_s, reordered_s=now - arrived_at)

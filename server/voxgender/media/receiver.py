"""The low-latency audio receiver: RTP packets in any order -> a ``MediaStreamTrack``.

aiortc's own jitter buffer holds 80 ms, and one lost packet leaves it 280 ms late for the rest of the call; its
decoder runs a thread a call. Here packets wait only behind a hole, only for ``REORDER_WINDOW_S``, and are decoded
many at once, off the event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from aiortc import MediaStreamTrack, RTCRtpCodecParameters
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from voxgender import metrics
from voxgender.audio.frames import Frame, Wave
from voxgender.audio.track import Batch
from voxgender.media.decoder import Decoder, Payload, make_decoder
from voxgender.media.rtp import MAX_DROPOUT, Rtp, packets_ahead, ticks_ahead

REORDER_WINDOW_S = 0.06
"""How long a hole in the sequence holds back the packets after it, at first."""
MIN_REORDER_WINDOW_S = 0.02
MAX_REORDER_WINDOW_S = 0.12
"""A path that only loses packets brings the window down to the one, one that reorders them up to the other."""
MAX_READY_S = 2.0
"""Audio kept for a reader that does not come; older packets go."""
BYE_GRACE_S = 2.0
"""A sender that said goodbye and resumes within this time was only paused (Chromium says it on a pause)."""

_MAX_HELD = 100


class _Packet(NamedTuple):
    pts: int
    duration: int
    payload_type: int
    payload: bytes
    arrived_at: float
    after_loss: bool = False


class AudioReceiver(MediaStreamTrack):
    """A remote audio track. Packets are fed on the event loop; one task reads."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.last_arrival = 0.0
        """When the last packet came, seconds of ``time.monotonic``; 0 before the first."""
        self.lost = 0
        """Packets given up so far."""
        self._decoders: dict[int, Decoder] = {}
        self._held: dict[int, _Packet] = {}
        self._missed: dict[int, float] = {}
        self._window_s = REORDER_WINDOW_S
        self._ready: deque[_Packet] = deque()
        self._ready_s = 0.0
        self._frames: deque[AudioFrame] = deque()
        self._ssrc: int | None = None
        self._next_seq = 0
        self._highest_seq = 0
        self._last_timestamp = 0
        self._pts = 0
        self._end_pts = 0
        self._wanted_s = 0.0
        self._reordered_s = 0.0
        self._reader: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._goodbye: asyncio.TimerHandle | None = None

    # What the network side calls.

    def configure(self, codecs: Sequence[RTCRtpCodecParameters]) -> None:
        for codec in codecs:
            if codec.payloadType is not None and (decoder := make_decoder(codec)) is not None:
                self._decoders[codec.payloadType] = decoder

    def feed(self, packet: Rtp, arrived_at: float) -> None:
        decoder = self._decoders.get(packet.payload_type)
        if decoder is None or self.readyState != "live":
            return
        if self._goodbye:
            self._goodbye.cancel()
            self._goodbye = None
        if packet.ssrc != self._ssrc:
            self._start(packet, decoder, arrived_at)
        self.last_arrival = arrived_at
        ahead = packets_ahead(packet.sequence_number, self._highest_seq)
        if abs(ahead) > MAX_DROPOUT:
            self._start(packet, decoder, arrived_at)
            ahead = 0
        seq = self._highest_seq + ahead
        if seq < self._next_seq or seq in self._held:
            self._spurn(seq, arrived_at)
            return
        pts = self._pts + ticks_ahead(packet.timestamp, self._last_timestamp)
        if ahead >= 0:
            self._highest_seq = seq
            self._pts, self._last_timestamp = pts, packet.timestamp
        duration = decoder.duration(packet.payload)
        received = _Packet(pts, duration, packet.payload_type, packet.payload, arrived_at)
        if seq == self._next_seq and not self._held:
            self._next_seq = seq + 1
            self._append(received, arrived_at)
            return
        self._held[seq] = received
        self._advance(arrived_at)

    def _spurn(self, seq: int, arrived_at: float) -> None:
        """A packet that is there already, or was given up: had the window been longer, it would have been heard."""
        noticed_at = self._missed.pop(seq, None)
        metrics.PACKETS["duplicate" if noticed_at is None else "late"].inc()
        if noticed_at is not None:
            self._window_s = min(MAX_REORDER_WINDOW_S, max(self._window_s, 1.25 * (arrived_at - noticed_at)))

    def bye(self) -> None:
        if self._goodbye is None and self.readyState == "live":
            self._goodbye = asyncio.get_running_loop().call_later(BYE_GRACE_S, self.end)

    def end(self) -> None:
        """Nothing more will come: a reader gets what is left, then ``MediaStreamError``."""
        for timer in (self._timer, self._goodbye):
            if timer:
                timer.cancel()
        self._timer = self._goodbye = None
        while self._held:
            self._skip_hole(time.monotonic())
        self.stop()
        self._wake()

    # What the consumer calls.

    async def recv(self) -> AudioFrame:
        """The next decoded frame, as any ``MediaStreamTrack`` gives it.

        Raises:
            MediaStreamError: the track has ended.
        """
        while not self._frames:
            if (batch := await self.read_batch(0.0, timeout_s=60.0)) is not None:
                self._frames.extend(frame.to_frame() if isinstance(frame, Wave) else frame for frame in batch.decode())
        return self._frames.popleft()

    async def read_batch(self, duration_s: float, timeout_s: float) -> Batch | None:
        """At least ``duration_s`` of audio, not yet decoded; after ``timeout_s`` what there is, None for nothing.

        Raises:
            MediaStreamError: the track has ended, and all of it was read.
        """
        if self.readyState == "live" and (not self._ready or self._ready_s < duration_s):
            loop = asyncio.get_running_loop()
            self._wanted_s = duration_s
            self._reader = loop.create_future()
            timer = loop.call_later(timeout_s, self._wake)
            try:
                await self._reader
            finally:
                timer.cancel()
                self._reader = None
        if not self._ready:
            if self.readyState == "live":
                return None
            raise MediaStreamError
        packets, duration_s = self._ready, self._ready_s
        self._ready, self._ready_s = deque(), 0.0
        metrics.PACKETS["received"].inc(len(packets))
        return Batch(partial(self._decode, packets), duration_s, packets[-1].arrived_at, self._reordered_s)

    def _start(self, packet: Rtp, decoder: Decoder, arrived_at: float) -> None:
        """Begin with a stream's first packet; the call's clock goes on by the wall clock."""
        while self._held:
            self._skip_hole(arrived_at)
        if self._ssrc is not None:
            pause_s = max(0.0, arrived_at - self.last_arrival)
            self._pts = max(self._end_pts, self._pts + round(pause_s * decoder.clock_rate_hz))
        self._ssrc = packet.ssrc
        self._last_timestamp = packet.timestamp
        self._next_seq = self._highest_seq = packet.sequence_number

    def _advance(self, now: float) -> None:
        while self._held:
            packet = self._held.pop(self._next_seq, None)
            if packet is not None:
                self._next_seq += 1
                self._append(packet, now)
                continue
            oldest = min(self._held.values(), key=lambda held: held.arrived_at)
            waited_s = now - oldest.arrived_at
            if waited_s < self._window_s and len(self._held) < _MAX_HELD:
                if self._timer is None:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(self._window_s - waited_s, self._give_up)
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
            self._held[first] = self._held[first]._replace(after_loss=True)
        self._next_seq = first
        while (packet := self._held.pop(self._next_seq, None)) is not None:
            self._next_seq += 1
            self._append(packet, now)

    def _append(self, packet: _Packet, now: float) -> None:
        self._reordered_s = now - packet.arrived_at
        rate_hz = self._decoders[packet.payload_type].clock_rate_hz
        self._ready.append(packet)
        # A hole is time too: whoever waits for 200 ms must not wait longer because of a loss.
        hole = max(0, packet.pts - self._end_pts) if self._end_pts else 0
        self._ready_s += (packet.duration + min(hole, rate_hz)) / rate_hz
        self._end_pts = packet.pts + packet.duration
        while self._ready_s > MAX_READY_S and len(self._ready) > 1:
            dropped = self._ready.popleft()
            self._ready_s -= dropped.duration / rate_hz
            metrics.PACKETS["unread"].inc()
        if self._ready_s >= self._wanted_s:
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _decode(self, packets: deque[_Packet]) -> list[Frame]:
        frames: list[Frame] = []
        for payload_type, run in groupby(packets, key=attrgetter("payload_type")):
            payloads = [Payload(packet.pts, packet.payload, packet.after_loss) for packet in run]
            frames += self._decoders[payload_type].decode(payloads)
        return frames

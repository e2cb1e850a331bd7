"""A live track -> hops: equal pieces of 16 kHz mono, each on the call's clock."""

import time
from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from voxgender.audio.resampler import SAMPLE_RATE_HZ, Samples
from voxgender.audio.timeline import Stretch, Timeline
from voxgender.audio.track import TrackReader

STALL_S = 0.5
"""A track that gives nothing for so long is taken to be silent. Above the 400 ms between Opus DTX packets."""

_PATIENCE = 1.5
"""Hops' worth of time after which part of a hop is taken as it is: DTX and stalls leave the rest to wait for."""


class Hop(NamedTuple):
    """The next piece of a call."""

    start_s: float
    samples: Samples
    arrived_at: float
    """When its last packet came, seconds of ``time.monotonic``."""
    stalled: bool
    """True for silence that stands for packets that did not come."""

    @property
    def end_s(self) -> float:
        return self.start_s + self.samples.size / SAMPLE_RATE_HZ


async def hops(track: MediaStreamTrack, hop_samples: int) -> AsyncGenerator[Hop, None]:
    """Cut a track into hops until it ends; the last one may be shorter.

    Time in which nothing arrives becomes silent hops, so that a listener learns that nobody speaks.

    Raises:
        AudioError: the track carries no audio.
    """
    reader = TrackReader(track)
    cutter = Cutter(hop_samples)
    hop_s = hop_samples / SAMPLE_RATE_HZ
    heard_at: float | None = None
    silent_since = 0.0
    try:
        while True:
            try:
                batch = await reader.read(cutter.missing_s, _PATIENCE * hop_s)
            except MediaStreamError:
                break
            now = time.monotonic()
            if batch is not None:
                cut = cutter.push(batch.frames, batch.arrived_at)
                heard_at = silent_since = now
            elif heard_at is not None and now - heard_at >= STALL_S:
                cut = cutter.pause(now - silent_since, now)
                silent_since = now
            else:
                continue
            for hop in cut:
                yield hop
        for hop in cutter.flush(time.monotonic()):
            yield hop
    finally:
        await reader.aclose()


class Cutter:
    """Frames -> hops on the call's clock; the part of :func:`hops` that needs no track and no event loop."""

    def __init__(self, hop_samples: int) -> None:
        self._hop_samples = hop_samples
        self._timeline = Timeline()
        self._position_s = 0.0
        self._pieces: list[Samples] = []
        self._size = 0

    @property
    def missing_s(self) -> float:
        """Audio that the next hop still wants, in seconds."""
        return (self._hop_samples - self._size) / SAMPLE_RATE_HZ

    def push(self, frames: Sequence[AudioFrame], arrived_at: float) -> list[Hop]:
        """Take frames in; return the hops that they complete."""
        return [hop for stretch in self._timeline.place(frames) for hop in self._cut(stretch, arrived_at)]

    def pause(self, duration_s: float, now: float) -> list[Hop]:
        """Let silent time pass for which no frame came."""
        return self._cut(self._timeline.pause(duration_s), now, stalled=True)

    def flush(self, arrived_at: float) -> list[Hop]:
        """What is left at the end, the last hop as short as it is."""
        return [*self._cut(self._timeline.flush(), arrived_at), *self._rest(arrived_at)]

    def _rest(self, arrived_at: float) -> list[Hop]:
        if not self._size:
            return []
        rest = np.concatenate(self._pieces)
        self._pieces, self._size = [], 0
        return [self._hop(rest, arrived_at, stalled=False)]

    def _cut(self, stretch: Stretch, arrived_at: float, *, stalled: bool = False) -> list[Hop]:
        cut: list[Hop] = []
        self._pieces.append(stretch.samples)
        self._size += stretch.samples.size
        if self._size >= self._hop_samples:
            gathered = np.concatenate(self._pieces)
            whole = self._size - self._size % self._hop_samples
            cut += [
                self._hop(gathered[start : start + self._hop_samples], arrived_at, stalled=stalled)
                for start in range(0, whole, self._hop_samples)
            ]
            self._pieces = [gathered[whole:]]
            self._size -= whole
        if stretch.skipped_s:
            cut += self._rest(arrived_at)
            self._position_s += stretch.skipped_s
        return cut

    def _hop(self, samples: Samples, arrived_at: float, *, stalled: bool) -> Hop:
        hop = Hop(self._position_s, samples, arrived_at, stalled)
        self._position_s = hop.end_s
        return hop

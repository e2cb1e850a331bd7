"""A live track -> hops: equal pieces of 16 kHz mono, each on the call's clock."""

import time
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples
from voxgender.audio.timeline import Stretch, Timeline
from voxgender.audio.track import Batch, TrackReader

STALL_S = 0.5
"""A track that gives nothing for so long is heard as silence, so that a label does not outlive its voice."""
NO_MEDIA_S = 2.0
"""A track that gives nothing for so long has stopped, and is not merely paused. Chromium sends one Opus DTX packet each
850 ms at the 40 ms ``ptime`` that we ask for (libopus: each 400 ms at 20 ms): longer than two of those, so that one of
them may be lost."""

_PATIENCE = 1.5
"""Hops' worth of time after which part of a hop is taken as it is: DTX and stalls leave the rest to wait for."""


class Hop(NamedTuple):
    """The next piece of a call."""

    start_s: float
    samples: Samples
    stalled: bool = False
    """True for silence that stands for packets that did not come."""

    @property
    def end_s(self) -> float:
        return self.start_s + self.samples.size / SAMPLE_RATE_HZ


class Pause(NamedTuple):
    """Time in which nothing arrived."""

    duration_s: float
    at: float
    """When it was noticed, seconds of ``time.monotonic``."""
    since_last_s: float = 0.0
    """How long ago the last audio was read."""


async def arrivals(
    track: MediaStreamTrack, hop_s: float, missing_s: Callable[[], float]
) -> AsyncGenerator[Batch | Pause, None]:
    """Read a live track until it ends, about a hop at a time, not yet decoded.

    Time in which nothing arrives is told as well, so that a listener learns that nobody speaks.

    Args:
        track: of audio.
        hop_s: what is wanted at once, in seconds.
        missing_s: asked before each read for the audio that the next hop still wants, in seconds.

    Raises:
        AudioError: the track carries no audio.
    """
    reader = TrackReader(track)
    heard_at: float | None = None
    silent_since = 0.0
    try:
        while True:
            try:
                batch = await reader.read(missing_s(), _PATIENCE * hop_s)
            except MediaStreamError:
                return
            now = time.monotonic()
            if batch is not None:
                heard_at = silent_since = now
                yield batch
            elif heard_at is not None and now - heard_at >= STALL_S:
                yield Pause(now - silent_since, now, now - heard_at)
                silent_since = now
    finally:
        await reader.aclose()


class Cutter:
    """What arrives -> hops on the call's clock. Needs no event loop; used from one thread at a time."""

    def __init__(self, hop_samples: int) -> None:
        self._hop_samples = hop_samples
        self._timeline = Timeline()
        self._position_s = 0.0
        self._pieces: list[Samples] = []
        self._size = 0
        self._wanted = hop_samples

    @property
    def missing(self) -> int:
        """Samples that the next hop still wants."""
        return self._wanted - self._size

    def shorten(self, samples: int) -> None:
        """Let the next hop, and with it all that follow, end so much sooner."""
        self._wanted = max(1, self._wanted - samples)

    def push(self, arrival: Batch | Pause) -> list[Hop]:
        """Decode what arrived; return the hops that it completes."""
        if isinstance(arrival, Pause):
            return self._cut(self._timeline.pause(arrival.duration_s), stalled=True)
        return [hop for stretch in self._timeline.place(arrival.decode()) for hop in self._cut(stretch)]

    def flush(self) -> list[Hop]:
        """What is left at the end, the last hop as short as it is."""
        return [*self._cut(self._timeline.flush()), *self._rest()]

    def _rest(self) -> list[Hop]:
        if not self._size:
            return []
        rest = np.concatenate(self._pieces)
        self._pieces, self._size, self._wanted = [], 0, self._hop_samples
        return [self._hop(rest)]

    def _cut(self, stretch: Stretch, *, stalled: bool = False) -> list[Hop]:
        cut: list[Hop] = []
        self._pieces.append(stretch.samples)
        self._size += stretch.samples.size
        if self._size >= self._wanted:
            rest = np.concatenate(self._pieces)
            while rest.size >= self._wanted:
                cut.append(self._hop(rest[: self._wanted], stalled=stalled))
                rest = rest[self._wanted :]
                self._wanted = self._hop_samples
            self._pieces, self._size = [rest], rest.size
        if stretch.skipped_s:
            cut += self._rest()
            self._position_s += stretch.skipped_s
        return cut

    def _hop(self, samples: Samples, *, stalled: bool = False) -> Hop:
        hop = Hop(self._position_s, samples, stalled)
        self._position_s = hop.end_s
        return hop

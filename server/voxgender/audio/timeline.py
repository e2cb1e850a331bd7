"""Put frames with timestamps on a call's clock, as samples without a gap."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Samples
from voxgender.audio.resampler import Resampler

TOLERANCE_S = 0.005
"""Timestamps may be off by this much through rounding; deviations that add up to more are a gap."""
MAX_FILL_S = 2.0
"""A longer gap is not filled with silence but skipped."""
MAX_GAP_S = 3600.0
"""A longer jump is a clock that was reset, not a gap."""


class TimedSamples(NamedTuple):
    """The next samples, float32 of shape ``(n,)``, and the length of a gap after them that was too long to fill."""

    samples: Samples
    skipped_s: float = 0.0


class Timeline:
    """Puts decoded frames on one clock that starts at 0 with the first frame.

    Opus DTX, loss and pauses leave gaps between timestamps; silence fills them, so that a second of the call is a
    second of samples. Frames without timestamps follow one another.
    """

    def __init__(self) -> None:
        self._resampler = Resampler()
        self._next_s: float | None = None
        self._ahead_s = 0.0

    def place(self, frames: Sequence[Frame]) -> list[TimedSamples]:
        """Convert frames and fill the gaps before and between them; a frame without samples says nothing."""
        chunks: list[TimedSamples] = []
        run: list[Frame] = []
        for frame in frames:
            if not frame.samples:
                continue
            gap_s = self._gap(frame)
            if gap_s > 0:
                chunks.append(TimedSamples(self._resampler.convert(run)))
                chunks.append(_fill(gap_s))
                run = []
            run.append(frame)
        chunks.append(TimedSamples(self._resampler.convert(run)))
        return [chunk for chunk in chunks if chunk.skipped_s or chunk.samples.size]

    def pause(self, duration_s: float) -> TimedSamples:
        """Return silence for time without frames, and shorten the next gap between timestamps by it."""
        if self._next_s is not None:
            self._ahead_s += duration_s
        return _fill(duration_s)

    def flush(self) -> TimedSamples:
        """Return the end of the last frame, which the resampler still holds."""
        return TimedSamples(self._resampler.flush())

    def _gap(self, frame: Frame) -> float:
        """Return the seconds missing before this frame, and move the clock past the frame."""
        ahead_s, self._ahead_s = self._ahead_s, 0.0
        start_s = frame.time
        # PyAV gives NaN for a pts without a time base.
        if start_s is None or math.isnan(start_s):
            self._next_s = None
            return 0.0
        end_s = start_s + frame.samples / frame.sample_rate
        gap_s = 0.0 if self._next_s is None else start_s - self._next_s - ahead_s
        if abs(gap_s) <= TOLERANCE_S:
            self._next_s = end_s - gap_s
            return 0.0
        self._next_s = end_s
        # Negative where a clock was set back, or where silence was filled in for frames that were only late.
        return gap_s if 0.0 < gap_s <= MAX_GAP_S else 0.0


def _fill(duration_s: float) -> TimedSamples:
    filled_s = min(duration_s, MAX_FILL_S)
    return TimedSamples(np.zeros(round(filled_s * SAMPLE_RATE_HZ), dtype=np.float32), duration_s - filled_s)

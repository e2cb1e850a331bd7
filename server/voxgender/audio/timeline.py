"""The call's clock: frames with timestamps -> samples without a gap."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Samples
from voxgender.audio.resampler import Resampler

TOLERANCE_S = 0.005
"""Timestamps this much off are rounding, not a gap; what adds up to more is."""
MAX_FILL_S = 2.0
"""A longer gap is not filled with silence but skipped."""
MAX_GAP_S = 3600.0
"""A longer jump is a clock that was reset, not a gap."""


class Stretch(NamedTuple):
    """The next samples, float32 of shape ``(n,)``, and the silence after them that was too long to fill."""

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

    def place(self, frames: Sequence[Frame]) -> list[Stretch]:
        """Convert frames and fill the gaps before and between them."""
        stretches: list[Stretch] = []
        run: list[Frame] = []
        for frame in frames:
            gap_s = self._gap(frame)
            if gap_s > 0:
                stretches.append(Stretch(self._resampler.convert(run)))
                stretches.append(_fill(gap_s))
                run = []
            run.append(frame)
        stretches.append(Stretch(self._resampler.convert(run)))
        return [stretch for stretch in stretches if stretch.skipped_s or stretch.samples.size]

    def pause(self, duration_s: float) -> Stretch:
        """Silence for time that has passed with no frame; a later gap in the timestamps is shorter by it."""
        if self._next_s is not None:
            self._ahead_s += duration_s
        return _fill(duration_s)

    def flush(self) -> Stretch:
        """The end of the last frame, which the resampler still holds."""
        return Stretch(self._resampler.flush())

    def _gap(self, frame: Frame) -> float:
        """Seconds missing before this frame; moves the clock on past it."""
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
        # A clock that was set back, or silence filled in for what was only late: let it stand.
        return gap_s if 0.0 < gap_s <= MAX_GAP_S else 0.0


def _fill(duration_s: float) -> Stretch:
    filled_s = min(duration_s, MAX_FILL_S)
    return Stretch(np.zeros(round(filled_s * SAMPLE_RATE_HZ), dtype=np.float32), duration_s - filled_s)

"""Decoded audio on its way through: FFmpeg's frames, or samples as they are wanted already."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

SAMPLE_RATE_HZ = 16_000
"""What gate and model hear."""

Samples = npt.NDArray[np.float32]
"""Mono, full scale ±1, shape ``(samples,)``."""


class Wave(NamedTuple):
    """Samples that came out of a decoder as they are wanted: a frame without FFmpeg's wrapping."""

    pcm: npt.NDArray[np.int16]
    """16 kHz mono, shape ``(samples,)``."""
    pts: int
    clock_rate_hz: int
    """Ticks of ``pts`` in a second."""

    @property
    def time(self) -> float:
        """Its start in seconds."""
        return self.pts / self.clock_rate_hz

    @property
    def samples(self) -> int:
        return self.pcm.size

    @property
    def sample_rate(self) -> int:
        return SAMPLE_RATE_HZ

    def to_frame(self) -> AudioFrame:
        """As any ``MediaStreamTrack`` gives it."""
        frame = AudioFrame.from_ndarray(self.pcm.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, self.pts, Fraction(1, self.clock_rate_hz)
        return frame


Frame = AudioFrame | Wave

_LOUDEST = 1e6
"""No sound: a float this far above full scale is as meaningless as infinity, and overflows in the networks."""


def finite(frame: AudioFrame) -> tuple[AudioFrame, int]:
    """Put silence in place of samples that are infinite or no numbers, which only formats of floats can have.

    One of them is enough to spoil all that a filter or a recurrent network hears after it.

    Returns:
        The frame, or a copy, and how many samples were replaced.
    """
    if not frame.format.name.startswith(("flt", "dbl")):
        return frame, 0
    planes = frame.to_ndarray()
    # False for what is no number, too.
    sound = np.abs(planes) < _LOUDEST
    if sound.all():
        return frame, 0
    made = AudioFrame.from_ndarray(np.where(sound, planes, 0), format=frame.format.name, layout=frame.layout.name)
    made.sample_rate, made.pts = frame.sample_rate, frame.pts
    if frame.time_base is not None:
        made.time_base = frame.time_base
    return made, int(planes.size - np.count_nonzero(sound))

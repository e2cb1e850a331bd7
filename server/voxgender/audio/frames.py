"""Types of audio: encoded packets, FFmpeg's frames, and 16 kHz mono samples."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from voxgender.audio.packets import SAMPLE_RATE_HZ as SAMPLE_RATE_HZ
from voxgender.audio.packets import Packet as Packet

Samples = npt.NDArray[np.float32]
"""Mono, full scale ±1, shape ``(samples,)``."""


class Wave(NamedTuple):
    """16 kHz mono samples: a frame without FFmpeg's wrapping."""

    pcm: npt.NDArray[np.int16] | Samples
    """int16 or float32, shape ``(samples,)``."""
    pts: int | None = None
    """Its start; None for a frame that follows the one before it."""
    clock_rate_hz: int = SAMPLE_RATE_HZ
    """Ticks of ``pts`` in a second."""

    @property
    def time(self) -> float | None:
        """Start in seconds."""
        return None if self.pts is None else self.pts / self.clock_rate_hz

    @property
    def samples(self) -> int:
        return self.pcm.size

    @property
    def sample_rate(self) -> int:
        return SAMPLE_RATE_HZ


Frame = AudioFrame | Wave

_LOUDEST = 1e6
"""Amplitude, full scale 1, from which a sample is taken to be damaged: larger ones overflow in the networks."""


def silence_not_numbers(samples: Samples) -> Samples:
    """Replace samples that are NaN, infinite or absurdly large by 0; return the given array if there are none."""
    # NaN compares as False, too.
    sound = np.abs(samples) < _LOUDEST
    return samples if sound.all() else np.where(sound, samples, np.float32(0))


def silence_non_finite(frame: AudioFrame) -> tuple[AudioFrame, int]:
    """Replace samples that are infinite or NaN by silence; only floating-point formats can have them.

    A single one spoils everything that a filter or a recurrent network computes after it.

    Returns:
        The frame, or a copy, and how many samples were replaced.
    """
    if not frame.format.name.startswith(("flt", "dbl")):
        return frame, 0
    planes, silenced = finite(frame.to_ndarray())
    if not silenced:
        return frame, 0
    made = AudioFrame.from_ndarray(planes, format=frame.format.name, layout=frame.layout.name)
    made.sample_rate, made.pts = frame.sample_rate, frame.pts
    if frame.time_base is not None:
        made.time_base = frame.time_base
    return made, silenced


def finite(samples: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """Replace samples that are infinite, NaN or beyond all measure by zeros.

    Returns:
        The samples, or a copy, and how many were replaced.
    """
    # NaN compares as False, too.
    sound = np.abs(samples) < _LOUDEST
    if sound.all():
        return samples, 0
    return np.where(sound, samples, samples.dtype.type(0)), int(samples.size - np.count_nonzero(sound))

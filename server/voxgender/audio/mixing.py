"""Mix channels to one: to their mean, or of two that cancel each other out to the louder one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from voxgender.audio.frames import Samples

_CANCELLED_BELOW = 0.1
_MIXED_ABOVE = 0.2
"""Energy of the mean as a share of the louder channel's: below the first value one channel is taken from then on, above
the second the mean again. A voice on one channel alone has 0.25, unrelated channels 0.5, equal channels 1.
"""
_LOUDER = 2.0
"""Energy that a channel needs to replace the one in use, relative to that one's."""
_MEMORY_S = 0.2
_PIECE_S = 0.05
"""Audio that one choice is made for."""
_FADE_S = 0.01
_MEAN = np.array([0.5, 0.5], dtype=np.float32)
_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


class StereoMixer:
    """Mix a stream of stereo frames to one channel.

    The result is the mean of both channels, unless they cancel each other out, as a balanced line in a stereo jack
    does: then it is the louder channel. The choice follows the energies of about the last 0.2 s; a change of it is
    faded over 10 ms.
    """

    def __init__(self) -> None:
        self._weights = _MEAN
        self._energies = np.zeros(3)
        """Energy of the left channel, the right one and their mean, summed with exponential decay."""
        self._started = False

    def mix_frames(self, frames: Sequence[AudioFrame]) -> AudioFrame:
        """Mix stereo frames of one rate and format that follow one another.

        Returns:
            One frame, mono, ``flt``, of the same rate.
        """
        rate = frames[0].sample_rate
        return _mono(self.mix(np.concatenate([_channels(frame) for frame in frames], axis=1), rate), rate)

    def mix(self, channels: Samples, rate: int) -> Samples:
        """Mix the next samples.

        Args:
            channels: float32, shape ``(2, samples)``, full scale ±1.
            rate: samples in a second.

        Returns:
            float32, shape ``(samples,)``.
        """
        size = round(_PIECE_S * rate)
        if channels.shape[1] <= size:
            return self._mix_piece(channels, rate)
        pieces = [channels[:, at : at + size] for at in range(0, channels.shape[1], size)]
        return np.concatenate([self._mix_piece(piece, rate) for piece in pieces])

    def _mix_piece(self, channels: Samples, rate: int) -> Samples:
        weights = self._decide(channels, rate)
        if weights is self._weights or not self._started:
            mixed = weights @ channels
        else:
            fade = np.minimum(np.arange(1, channels.shape[1] + 1, dtype=np.float32) / (_FADE_S * rate), 1)
            mixed = (1 - fade) * (self._weights @ channels) + fade * (weights @ channels)
        self._weights, self._started = weights, True
        return mixed.astype(np.float32, copy=False)

    def _decide(self, channels: Samples, rate: int) -> npt.NDArray[np.float32]:
        left, right = channels
        fresh = [float(np.dot(x, x)) for x in (left, right, (left + right) / 2)]
        self._energies *= np.exp(-channels.shape[1] / (_MEMORY_S * rate))
        self._energies += fresh
        louder = int(self._energies[1] > self._energies[0])
        share = self._energies[2] / max(self._energies[louder], 1e-30)
        if self._weights is _MEAN:
            return _MEAN if share >= _CANCELLED_BELOW or not self._energies[louder] else _ONE[louder]
        if share > _MIXED_ABOVE:
            return _MEAN
        if self._energies[louder] > _LOUDER * self._energies[1 - louder]:
            return _ONE[louder]
        return self._weights


_ONE = (np.array([1, 0], dtype=np.float32), np.array([0, 1], dtype=np.float32))


def mean_of_channels(frames: Sequence[AudioFrame]) -> AudioFrame:
    """Mix frames of one rate and format, which follow one another, to the mean of their channels.

    Returns:
        One frame, mono, ``flt``, of the same rate.
    """
    means = [_channels(frame).mean(axis=0, dtype=np.float32) for frame in frames]
    return _mono(np.concatenate(means), frames[0].sample_rate)


def _mono(samples: Samples, rate: int) -> AudioFrame:
    made = AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
    made.sample_rate = rate
    return made


def _channels(frame: AudioFrame) -> npt.NDArray[Any]:
    """Return a frame's channels: float32, shape ``(channels, samples)``, full scale ±1."""
    planes = frame.to_ndarray()
    if not frame.format.is_planar:
        planes = planes.reshape(-1, frame.layout.nb_channels).T
    kind = frame.format.packed.name
    if kind == "u8":
        planes = planes.astype(np.float32) - 128
    scale = _FULL_SCALE.get(kind)
    return planes.astype(np.float32) if scale is None else planes.astype(np.float32) * np.float32(1 / scale)

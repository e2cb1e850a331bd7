"""Mix channels to one: by weights, or, if they cancel each other out in the mix, by taking the loudest alone."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples

_CANCELLED_BELOW = 0.4
_MIXED_ABOVE = 0.8
"""Energy of the mix as a share of the energy that the loudest channel brings into it: below the first value that
channel is taken alone from then on, above the second the mix again. A voice on one channel alone has 1; unrelated
channels have more, as many as they are if they are equally loud.
"""
_LOUDER = 2.0
"""Energy that a channel needs to replace the one in use, relative to that one's."""
_MEMORY_S = 0.2
_PIECE_S = 0.05
"""Audio that one choice is made for."""
_FADE_S = 0.01
_MOST_PLACED = 8
"""Channels that FFmpeg mixes by the places of their loudspeakers. More are microphones or tracks, each as good."""
_FULL_SCALE = {"u8": 2.0**7, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63}


class Mixer:
    """Mixes a stream of several channels to one.

    The result is the weighted sum of the channels, unless they cancel each other out, as a balanced line in a stereo
    jack does: then it is the loudest channel. The choice follows the energies of about the last 0.2 s; a change of it
    is faded over 10 ms.

    Args:
        weights: float32, shape ``(channels,)``; a channel of weight 0 is never taken.
    """

    def __init__(self, weights: Samples) -> None:
        self._mean = self._weights = weights
        self._energies = np.zeros(weights.size)
        """Energy of each channel, summed with exponential decay."""
        self._mixed = 0.0
        """The same of the mix."""
        self._started = False

    def mix_frames(self, frames: Sequence[AudioFrame]) -> AudioFrame:
        """Mix frames of one rate and format that follow one another.

        Returns:
            One frame, mono, ``flt``, of the same rate.
        """
        rate = frames[0].sample_rate
        mixed = self.mix(np.concatenate([_channels(frame) for frame in frames], axis=1), rate)
        made = AudioFrame.from_ndarray(mixed.reshape(1, -1), format="flt", layout="mono")
        made.sample_rate = rate
        return made

    def mix(self, channels: Samples, rate: int) -> Samples:
        """Mix the next samples.

        Args:
            channels: float32, shape ``(channels, samples)``, full scale ±1.
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
        mean = self._mean @ channels
        weights = self._decide(channels, mean, rate)
        mixed = mean if weights is self._mean else weights @ channels
        if weights is not self._weights and self._started:
            fade = np.minimum(np.arange(1, channels.shape[1] + 1, dtype=np.float32) / (_FADE_S * rate), 1)
            mixed = (1 - fade) * (self._weights @ channels) + fade * mixed
        self._weights, self._started = weights, True
        return mixed.astype(np.float32, copy=False)

    def _decide(self, channels: Samples, mean: Samples, rate: int) -> Samples:
        decay = float(np.exp(-channels.shape[1] / (_MEMORY_S * rate)))
        self._energies = self._energies * decay + [float(np.dot(x, x)) for x in channels]
        self._mixed = self._mixed * decay + float(np.dot(mean, mean))
        brought = np.square(self._mean) * self._energies
        loudest = int(np.argmax(np.where(self._mean != 0, self._energies, -1)))
        share = self._mixed / max(brought[loudest], 1e-30)
        if self._weights is self._mean:
            return self._mean if share >= _CANCELLED_BELOW or not brought[loudest] else _alone(loudest, brought.size)
        if share > _MIXED_ABOVE:
            return self._mean
        if self._energies[loudest] > _LOUDER * float(self._weights @ self._energies):
            return _alone(loudest, brought.size)
        return self._weights


def mean_weights(channels: int) -> Samples:
    """Return the weights of the mean of all channels: float32, shape ``(channels,)``."""
    return np.full(channels, 1 / channels, dtype=np.float32)


@lru_cache(maxsize=64)
def layout_weights(layout: str, channels: int) -> Samples:
    """Return FFmpeg's weights for a layout of loudspeakers; those of the mean, if the channels have no such places.

    Args:
        layout: FFmpeg's name, as ``5.1`` or, of a plain WAV file, ``2 channels``.
        channels: of that layout.

    Returns:
        float32, shape ``(channels,)``; their sum is 1. Low frequencies (LFE) have none.
    """
    if channels > _MOST_PLACED or "ambisonic" in layout:
        return mean_weights(channels)
    impulses = np.eye(channels, dtype=np.float32).reshape(1, -1)
    mixer = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    try:
        frame = AudioFrame.from_ndarray(impulses, format="flt", layout=layout)
        frame.sample_rate = SAMPLE_RATE_HZ
        pieces = [mixed.to_ndarray().reshape(-1) for mixed in (*mixer.resample(frame), *mixer.resample(None))]
    except (ValueError, av.error.FFmpegError):
        # FFmpeg tells of layouts that it does not mix.
        return mean_weights(channels)
    weights = np.concatenate(pieces).astype(np.float32)
    weights /= weights.sum()
    if "channels" in layout:
        # Without names the one that FFmpeg takes for the low frequencies may hold the voice.
        weights[weights == 0] = 1 / channels
        weights /= weights.sum()
    return weights


def _alone(channel: int, channels: int) -> Samples:
    weights = np.zeros(channels, dtype=np.float32)
    weights[channel] = 1
    return weights


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

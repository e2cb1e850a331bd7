"""Convert decoded frames of any rate, format and layout to 16 kHz mono float32."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Samples, Wave, silence_non_finite
from voxgender.audio.mixing import Mixer, layout_weights

_AS_WANTED = (SAMPLE_RATE_HZ, "s16", "mono")
"""Nothing to filter: only from integers to floats."""

_NOTHING: Samples = np.zeros(0, dtype=np.float32)


class Resampler:
    """Converts a stream of frames. Samples that are NaN become silence; :class:`Mixer` mixes channels.

    A change of rate, format or layout in mid-stream starts a new filter.

    FFmpeg's resampler costs the same for 20 ms as for 200 ms, so callers hand over many frames at once.
    """

    def __init__(self) -> None:
        self._source: tuple[int, str, str] | None = None
        self._filter: AudioResampler | None = None
        self._mixer: Mixer | None = None

    def convert(self, frames: Sequence[Frame]) -> Samples:
        """Convert frames that follow one another without a gap.

        Returns:
            float32, shape ``(samples,)``, full scale ±1. The filter holds back about a millisecond until the
            next call or :meth:`flush`.
        """
        pieces: list[Samples] = []
        run: list[Frame] = []
        for frame in frames:
            source = (
                _AS_WANTED if isinstance(frame, Wave) else (frame.sample_rate, frame.format.name, frame.layout.name)
            )
            if source != self._source:
                pieces += self._convert_run(run)
                pieces.append(self.flush())
                run = []
                self._source = source
            run.append(frame)
        pieces += self._convert_run(run)
        return _join(pieces)

    def flush(self) -> Samples:
        """Return what the filter still holds, and forget the source."""
        if self._filter is None:
            return _NOTHING
        rest = [_samples(frame) for frame in self._filter.resample(None)]
        self._filter = self._source = self._mixer = None
        return _join(rest)

    def _convert_run(self, run: list[Frame]) -> list[Samples]:
        if not run:
            return []
        if self._source == _AS_WANTED:
            return [_floats(_pcm(frame)) for frame in run]
        if self._filter is None:
            self._filter = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        plain = [silence_non_finite(_narrow(frame))[0] for frame in run if isinstance(frame, AudioFrame)]
        # The layout's name does not tell: that of a WAV file is "2 channels".
        channels = plain[0].layout.nb_channels
        if channels > 1:
            self._mixer = self._mixer or Mixer(layout_weights(plain[0].layout.name, channels))
            whole = self._mixer.mix_frames(plain)
        else:
            whole = _merge(plain)
        return [_samples(frame) for frame in self._filter.resample(whole)]


def _narrow(frame: AudioFrame) -> AudioFrame:
    """Return a frame whose samples NumPy can have: integers of 64 bits become floats."""
    if frame.format.packed.name != "s64":
        return frame
    (narrow,) = AudioResampler(format="dbl", layout=frame.layout, rate=frame.sample_rate).resample(frame)
    return narrow


def _merge(run: list[AudioFrame]) -> AudioFrame:
    first = run[0]
    if len(run) == 1:
        return first
    planes = np.concatenate([frame.to_ndarray() for frame in run], axis=1)
    merged = AudioFrame.from_ndarray(planes, format=first.format.name, layout=first.layout.name)
    merged.sample_rate = first.sample_rate
    return merged


def _pcm(frame: Frame) -> npt.NDArray[Any]:
    return frame.pcm if isinstance(frame, Wave) else frame.to_ndarray().reshape(-1)


def _floats(pcm: npt.NDArray[Any]) -> Samples:
    return pcm if pcm.dtype == np.float32 else (pcm * np.float32(1 / 32_768)).astype(np.float32, copy=False)


def _samples(frame: AudioFrame) -> Samples:
    return frame.to_ndarray().reshape(-1).astype(np.float32, copy=False)


def _join(pieces: list[Samples]) -> Samples:
    filled = [piece for piece in pieces if piece.size]
    if len(filled) == 1:
        return filled[0]
    return np.concatenate(filled) if filled else _NOTHING

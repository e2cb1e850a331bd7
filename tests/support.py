"""Made-up sound, as frames and as tracks."""

import asyncio
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.format import AudioFormat
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout

Samples = npt.NDArray[np.float32]

_FULL_SCALE: dict[str, tuple[type[np.generic], float]] = {
    "s16": (np.int16, 2**15 - 1),
    "s32": (np.int32, 2**31 - 1),
    "flt": (np.float32, 1.0),
    "dbl": (np.float64, 1.0),
}


def sine(seconds: float, *, rate: int = 16_000, hz: float = 440.0, level: float = 0.5) -> Samples:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds: float, *, level: float = 0.1, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).normal(0.0, level, round(seconds * 16_000)).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * 16_000), dtype=np.float32)


def frame(
    samples: npt.NDArray[Any],
    *,
    rate: int = 16_000,
    encoding: str = "s16",
    layout: str = "mono",
    at_s: float | None = None,
) -> AudioFrame:
    """The same sound on every channel. ``at_s`` is its timestamp; None for a frame that has none."""
    kind = AudioFormat(encoding)
    dtype, scale = _FULL_SCALE[kind.packed.name]
    channels = np.tile((samples * scale).astype(dtype), (AudioLayout(layout).nb_channels, 1))
    planes = channels if kind.is_planar else channels.T.reshape(1, -1)
    made = AudioFrame.from_ndarray(np.ascontiguousarray(planes), format=encoding, layout=layout)
    made.sample_rate = rate
    if at_s is not None:
        made.pts = round(at_s * rate)
        made.time_base = Fraction(1, rate)
    return made


def frames(
    samples: npt.NDArray[Any], *, rate: int = 16_000, each_s: float = 0.02, from_s: float = 0.0, **kind: Any
) -> Iterator[AudioFrame]:
    """Sound in frames that follow one another."""
    size = round(each_s * rate)
    for start in range(0, samples.size, size):
        yield frame(samples[start : start + size], rate=rate, at_s=from_s + start / rate, **kind)


class TimedTrack(MediaStreamTrack):
    """Gives each frame at its time, in seconds from the first ``recv``; then ends, or gives nothing for ever."""

    kind = "audio"

    def __init__(self, timed: Iterable[tuple[float, AudioFrame]], *, ends: bool = True) -> None:
        super().__init__()
        self._timed = iter(timed)
        self._ends = ends
        self._started_at: float | None = None
        self.given = 0

    async def recv(self) -> AudioFrame:
        loop = asyncio.get_running_loop()
        if self._started_at is None:
            self._started_at = loop.time()
        due = next(self._timed, None)
        if due is None:
            if not self._ends:
                await loop.create_future()
            self.stop()
            raise MediaStreamError
        at_s, made = due
        await asyncio.sleep(self._started_at + at_s - loop.time())
        self.given += 1
        return made


def in_real_time(samples: npt.NDArray[Any], *, from_s: float = 0.0, **kind: Any) -> Iterator[tuple[float, AudioFrame]]:
    """Frames with timestamps, each due when its last sample was spoken."""
    for made in frames(samples, from_s=from_s, **kind):
        assert made.pts is not None
        yield (made.pts + made.samples) / made.sample_rate, made

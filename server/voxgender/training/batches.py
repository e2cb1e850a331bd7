"""Cut batches of windows out of crops: the windows of a step depend on the seed and the step alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from voxgender.training.manifest import KINDS
from voxgender.training.network import BANDS, ROW, filtered, rows_in
from voxgender.training.preparation import Material, TeacherEmbeddings, TrainingData

LENGTHS_MS = (500, 700, 1000, 1500)
PROBABILITIES = (0.36, 0.2, 0.36, 0.08)
"""Lengths of windows, and how often a batch has each."""
MIN_LOUD_SHARE = 0.4
"""Share of a window that has to be loud, if the crop allows it."""

_ROUGHNESS_DB, _TILT_DB, _POINTS = 4.0, 6.0, 7
"""Random frequency response: largest deviation at each of so many points, and largest tilt from the middle band."""
_SMOOTHING = 0.02
"""Label smoothing: probability of a target that is spread over all labels."""


class Batch(NamedTuple):
    """Windows of one length.

    Attributes:
        envelopes: inputs, ``(batch, rows, BANDS)``.
        kinds: probabilities to learn, ``(batch, len(KINDS))``.
        voices: bool ``(batch,)``: True for a voice.
        vectors: embeddings to learn, ``(batch, 256)``, zero for noise; None without a teacher.
    """

    envelopes: Tensor
    kinds: Tensor
    voices: Tensor
    vectors: Tensor | None


class Batches(Protocol):
    """Source of the batches of a training."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, which depends on the seed and the step alone."""
        ...


class Targets:
    """The probabilities and embeddings that a network is to learn of windows of each recording, and of noise.

    The embedding of a recording as it is, is that of the encoder's window nearest to the middle of the network's. That
    of a resynthesised take is its speaker's: the encoder does not hear such takes as they are meant.

    Args:
        material: recordings and their targets.
        device: processor of torch.
    """

    def __init__(self, material: Material, device: str = "cpu") -> None:
        # Noise is the last source, so that the index -1 finds it.
        targets = np.zeros((len(material.male) + 1, len(KINDS)), np.float32)
        targets[:-1, KINDS.index("female")] = 1 - material.male
        targets[:-1, KINDS.index("male")] = material.male
        targets[-1, KINDS.index("noise")] = 1
        self._kinds = torch.from_numpy(targets * (1 - _SMOOTHING) + _SMOOTHING / len(KINDS)).to(device)
        self._vectors = None if material.heard is None else _Vectors(material.heard, device)

    def batch(self, envelopes: Tensor, sources: Tensor, plain: Tensor, middles: Tensor) -> Batch:
        """Return a batch with what is to be learned.

        Args:
            envelopes: windows, ``(batch, rows, BANDS)``.
            sources: recording of each, int64 ``(batch,)``; -1 is noise.
            plain: bool ``(batch,)``: True for recordings as they are.
            middles: row of the recording in the middle of each window, int64 ``(batch,)``; it may lie outside of it.
        """
        vectors = None if self._vectors is None else self._vectors.of(sources, plain, middles)
        return Batch(envelopes, self._kinds[sources], sources >= 0, vectors)


class _Vectors:
    """Embeddings of all recordings by the teacher's encoder, in the memory of a device."""

    def __init__(self, heard: Sequence[TeacherEmbeddings], device: str) -> None:
        # Noise is the last speaker, with a frame of its own, so that the index -1 finds it.
        windows = np.concatenate([one.windows for one in heard])
        before = np.cumsum([0, *(len(one.windows) for one in heard)])
        nearest = [one.nearest + first for one, first in zip(heard, before, strict=False)]
        frames = np.array([*(len(one) for one in nearest), 1])
        noise = np.zeros_like(windows[:1])
        self._windows = torch.from_numpy(windows).to(device)
        self._speakers = torch.from_numpy(np.concatenate([np.stack([one.speaker for one in heard]), noise])).to(device)
        self._nearest = torch.from_numpy(np.concatenate([*nearest, [0]])).to(device)
        self._first = torch.from_numpy(np.cumsum(frames) - frames).to(device)
        self._last = torch.from_numpy(frames - 1).to(device)

    def of(self, sources: Tensor, plain: Tensor, middles: Tensor) -> Tensor:
        frames = self._first[sources] + middles.clamp_min(0).minimum(self._last[sources])
        return torch.where(plain[:, None], self._windows[self._nearest[frames]], self._speakers[sources])


class PreparedBatches:
    """Cuts windows of 0.5 to 1.5 s out of crops. The batch of a step depends on the seed and the step alone."""

    def __init__(self, data: TrainingData, size: int, seed: int) -> None:
        self._crops, self._size, self._seed = data.crops, size, seed
        self._targets = Targets(data.material)

    def batch(self, step: int) -> Batch:
        rng = np.random.default_rng((self._seed, step))
        rows = int(rng.choice(LENGTHS_MS, p=PROBABILITIES)) * 16 // ROW
        chosen = rng.integers(len(self._crops.sources), size=self._size)
        inputs = np.empty((self._size, rows_in(rows * ROW), BANDS), np.float32)
        starts = np.empty(self._size, np.int64)
        for index, crop in enumerate(chosen):
            starts[index] = self._start(self._crops.loud[crop], rows, rng)
            inputs[index] = self._crops.window(crop, starts[index], rows)
        heard = filtered(torch.from_numpy(inputs), torch.from_numpy(self._gains_db(rng)))
        middles = self._crops.begins[chosen] + starts + rows // 2
        of = (torch.from_numpy(one) for one in (self._crops.sources[chosen], self._crops.plain[chosen], middles))
        return self._targets.batch(heard, *of)

    def _gains_db(self, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """Draw frequency responses of microphones, ``(batch, BANDS)``: 0 dB for half of the windows.

        A crop is used many times, each time with another microphone.
        """
        points = rng.uniform(-_ROUGHNESS_DB, _ROUGHNESS_DB, (self._size, _POINTS))
        points += rng.uniform(-_TILT_DB, _TILT_DB, (self._size, 1)) * np.linspace(-1, 1, _POINTS)
        points *= rng.random((self._size, 1)) < 0.5
        at = np.linspace(0, _POINTS - 1, BANDS)
        return np.stack([np.interp(at, np.arange(_POINTS), curve) for curve in points]).astype(np.float32)

    def _start(self, frames: np.ndarray[Any, Any], rows: int, rng: np.random.Generator) -> int:
        loud = np.concatenate([[0], np.cumsum(frames)])
        within = loud[rows:] - loud[:-rows]
        allowed = np.flatnonzero(within >= min(MIN_LOUD_SHARE * rows, within.max()))
        return int(rng.choice(allowed))

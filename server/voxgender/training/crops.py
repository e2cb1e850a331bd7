"""Two-second crops, augmented, as the first layers hear them: what a batch is cut from.

Made once by worker processes, kept in a cache folder. The layers that hear do not learn, so that a step of training
neither makes audio nor filters it.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from voxgender.training.augmentation import Samples, augment, coloured_noise, excerpt, mixed
from voxgender.training.manifest import KINDS, Kind
from voxgender.training.network import BANDS, ROW, SAMPLE_RATE_HZ, envelopes, rows_in
from voxgender.training.voices import Recording

SIZE = 2 * SAMPLE_RATE_HZ
"""Samples of a crop."""
SHARES: dict[Kind, float] = {"female": 0.42, "male": 0.42, "noise": 0.16}
TOLD = 0.6
"""Share of voice crops from recordings that a listener labelled, where there are others."""
SHARD = 500
"""Crops that one job of a worker makes, and one file of the cache holds."""

_T = TypeVar("_T")
_VERSION = 5
"""Raise it when what is in the cache would come out different."""


@dataclass(frozen=True, slots=True)
class Crops:
    """Many crops.

    Attributes:
        envelopes: float16, shape ``(crops, rows_in(SIZE), BANDS)``, relative to the crop's loudness.
        power: float32, shape ``(crops, SIZE // ROW)``, mean square relative to the crop's.
        voiced: bool, shape ``(crops, SIZE // ROW)``.
        kinds: int64, shape ``(crops,)``, index into ``KINDS``.
    """

    envelopes: npt.NDArray[np.float16]
    power: npt.NDArray[np.float32]
    voiced: npt.NDArray[np.bool_]
    kinds: npt.NDArray[np.int64]

    def window(self, crop: int, start: int, rows: int) -> npt.NDArray[np.float32]:
        """Envelopes of ``rows * ROW`` samples from ``start * ROW``, relative to the loudness of these."""
        loudness = np.sqrt(max(1e-6, float(self.power[crop, start : start + rows].mean())))
        heard = self.envelopes[crop, start : start + rows_in(rows * ROW)].astype(np.float32)
        return heard / np.float32(loudness)


def crops(
    recordings: Sequence[Recording], cache: Path, *, count: int, resynthesised: float, seed: int, workers: int
) -> Crops:
    """Make ``count`` crops, or take them from the cache.

    The sexes come up equally often, and within them speakers whom a listener labelled.

    Args:
        recordings: has to hold both sexes.
        cache: folder that is made where it is not there.
        resynthesised: share of voice crops cut from takes other than the recording as it is.
        seed: the same seed and recordings make the same crops, whatever the number of workers.
        workers: processes.
    """
    cache.mkdir(parents=True, exist_ok=True)
    shards = max(1, round(count / SHARD))
    size = min(SHARD, count)
    facts = (_VERSION, [(r.file.name, r.kind, r.speaker) for r in recordings], resynthesised, seed, size)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    make = partial(_shard, list(recordings), cache, key, seed, size, resynthesised)
    with ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else nullcontext() as pool:
        made = map(make, range(shards)) if pool is None else pool.map(make, range(shards))
        files = list(tqdm(made, "crops", shards, unit_scale=size, leave=False))
    arrays = _room_for(shards * size)
    for index, file in enumerate(files):
        with np.load(file) as stored:
            for name, whole in arrays.items():
                whole[index * size : (index + 1) * size] = stored[name]
    return Crops(**arrays)


def _room_for(count: int) -> dict[str, Any]:
    return {
        "envelopes": np.empty((count, rows_in(SIZE), BANDS), np.float16),
        "power": np.empty((count, SIZE // ROW), np.float32),
        "voiced": np.zeros((count, SIZE // ROW), np.bool_),
        "kinds": np.empty(count, np.int64),
    }


class _People:
    """Who there is to hear. Listeners' labels and guesses have their shares, and so has each corpus of guesses,
    however many of its clips are of nobody knows whom; within them speakers come up equally often."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._told: dict[str, list[Recording]] = {}
        self._guessed: dict[str, dict[str, list[Recording]]] = {}
        for recording in recordings:
            corpus = self._told if recording.told else self._guessed.setdefault(recording.corpus, {})
            corpus.setdefault(recording.speaker, []).append(recording)

    def any(self, rng: np.random.Generator) -> Recording:
        people = self._told
        if self._guessed and rng.random() >= TOLD:
            people = _any(list(self._guessed.values()), rng)
        return _any(_any(list(people.values()), rng), rng)


def _shard(
    recordings: list[Recording], cache: Path, key: str, seed: int, size: int, resynthesised: float, index: int
) -> Path:
    file = cache / f"{key}-{index:04}.npz"
    if file.exists():
        return file
    torch.set_num_threads(1)
    rng = np.random.default_rng((seed, index))
    people = {kind: _People([one for one in recordings if one.kind == kind]) for kind in ("female", "male")}
    noises = [recording for recording in recordings if recording.kind == "noise"]
    voices = [recording for recording in recordings if recording.kind != "noise"]
    arrays = _room_for(size)
    arrays["kinds"] = rng.choice(len(SHARES), size, p=list(SHARES.values()))
    for row in range(size):
        kind = KINDS[arrays["kinds"][row]]
        if kind == "noise":
            audio = _no_voice(noises, rng)
        else:
            audio, arrays["voiced"][row] = _voice(people[kind].any(rng), resynthesised, rng)
        behind = [_any(noises, rng).take(0).audio] if noises else []
        if rng.random() < 0.15:  # music, a telephone that rings
            behind = [_tones(rng)]
        far = [_any(voices, rng).take(0).audio] if voices and kind != "noise" else []
        audio = augment(audio, rng, noises=behind, voices=far)
        audio = audio / max(1e-6, float(np.sqrt(np.mean(audio**2))))
        arrays["envelopes"][row] = envelopes(torch.from_numpy(audio)[None])[0]
        arrays["power"][row] = np.mean(audio.reshape(-1, ROW) ** 2, axis=1)
    unfinished = file.with_suffix(".tmp.npz")
    np.savez(unfinished, **arrays)
    unfinished.replace(file)
    return file


def _voice(
    recording: Recording, resynthesised: float, rng: np.random.Generator
) -> tuple[Samples, npt.NDArray[np.bool_]]:
    other = recording.count > 1 and rng.random() < resynthesised
    take = recording.take(int(rng.integers(1, recording.count)) if other else 0)
    rows = SIZE // ROW
    missing = max(0, rows - take.pitch.size)
    before = int(rng.integers(missing + 1))
    audio = np.pad(take.audio[: take.pitch.size * ROW], (before * ROW, (missing - before) * ROW))
    voiced = np.pad(take.pitch > 0, (before, missing - before))
    start = int(rng.integers(voiced.size - rows + 1))
    audio, voiced = audio[start * ROW : start * ROW + SIZE].copy(), voiced[start : start + rows].copy()
    if rng.random() < 0.3:  # someone starts or stops to speak within the window
        quiet = int(rng.integers(rows // 8, rows * 3 // 4))
        side = slice(0, quiet) if rng.random() < 0.5 else slice(rows - quiet, rows)
        audio[side.start * ROW : side.stop * ROW] = 0
        voiced[side] = False
    return audio, voiced


def _no_voice(noises: list[Recording], rng: np.random.Generator) -> Samples:
    chance = rng.random()
    if chance < 0.12 or not noises:
        return coloured_noise(SIZE, rng)
    if chance < 0.2:
        return _tones(rng)
    audio = excerpt(_any(noises, rng).take(0).audio, SIZE, rng)
    if rng.random() < 0.2:
        audio = mixed(audio, excerpt(_any(noises, rng).take(0).audio, SIZE, rng), rng.uniform(0, 12))
    if not audio.any():
        audio = coloured_noise(SIZE, rng)
    return audio


def _tones(rng: np.random.Generator) -> Samples:
    """Beeps, chords, sirens: pitch without a voice."""
    time = np.arange(SIZE) / SAMPLE_RATE_HZ
    audio = np.zeros(SIZE)
    glide = rng.choice([0.0, rng.uniform(-1, 1)])
    root = rng.uniform(70, 1500)
    for _ in range(rng.integers(1, 5)):
        hz = root * rng.choice([1, 1.26, 1.5, 2, 3, 4]) * (1 + glide * time / 2)
        audio += rng.uniform(0.2, 1) * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ)
    rhythm = rng.uniform(0.5, 8)
    gate = (np.sin(2 * np.pi * rhythm * time + rng.uniform(0, 6)) > rng.uniform(-1.2, 0.5)).astype(np.float64)
    audio *= np.convolve(gate, np.hanning(320) / np.hanning(320).sum(), "same") + 1e-4
    return audio.astype(np.float32)


def _any(items: Sequence[_T], rng: np.random.Generator) -> _T:
    return items[int(rng.integers(len(items)))]

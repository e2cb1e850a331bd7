"""Two-second crops, augmented: what a batch is cut from. Made once by worker processes, kept in a cache folder."""

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
from tqdm import tqdm

from voxgender.training.augmentation import Samples, augment, coloured_noise, excerpt, mixed
from voxgender.training.manifest import KINDS, Kind
from voxgender.training.resynthesis import FRAME, SAMPLE_RATE_HZ, TRAITS
from voxgender.training.voices import Recording

SIZE = 2 * SAMPLE_RATE_HZ
"""Samples of a crop."""
SHARES: dict[Kind, float] = {"female": 0.42, "male": 0.42, "noise": 0.16}
SHARD = 500
"""Crops that one job of a worker makes, and one file of the cache holds."""

_T = TypeVar("_T")
_VERSION = 2
"""Raise it when what is in the cache would come out different."""


@dataclass(frozen=True, slots=True)
class Crops:
    """Many crops.

    Attributes:
        audio: int16, shape ``(crops, SIZE)``.
        traits: float16, shape ``(crops, SIZE // FRAME, TRAITS)``, as in :class:`~.resynthesis.Take`.
        kinds: int64, shape ``(crops,)``, index into ``KINDS``.
    """

    audio: npt.NDArray[np.int16]
    traits: npt.NDArray[np.float16]
    kinds: npt.NDArray[np.int64]


def crops(
    recordings: Sequence[Recording], cache: Path, *, count: int, resynthesised: float, seed: int, workers: int
) -> Crops:
    """Make ``count`` crops, or take them from the cache.

    Speakers come up equally often within their sex, and the sexes equally often.

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
    files: list[Path] = []
    with ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else nullcontext() as pool:
        made = map(make, range(shards)) if pool is None else pool.map(make, range(shards))
        files.extend(tqdm(made, "crops", shards, unit_scale=size, leave=False))
    audio = np.empty((shards * size, SIZE), np.int16)
    traits = np.empty((shards * size, SIZE // FRAME, TRAITS), np.float16)
    kinds = np.empty(shards * size, np.int64)
    for index, file in enumerate(files):
        rows = slice(index * size, (index + 1) * size)
        with np.load(file) as stored:
            audio[rows], traits[rows], kinds[rows] = stored["audio"], stored["traits"], stored["kinds"]
    return Crops(audio, traits, kinds)


def _shard(
    recordings: list[Recording], cache: Path, key: str, seed: int, size: int, resynthesised: float, index: int
) -> Path:
    file = cache / f"{key}-{index:04}.npz"
    if not file.exists():
        rng = np.random.default_rng((seed, index))
        people: dict[Kind, dict[str, list[Recording]]] = {kind: {} for kind in KINDS}
        for recording in recordings:
            people[recording.kind].setdefault(recording.speaker, []).append(recording)
        noises = [recording for recording in recordings if recording.kind == "noise"]
        voices = [recording for recording in recordings if recording.kind != "noise"]
        chances = list(SHARES.values())
        arrays: dict[str, Any] = {
            "audio": np.empty((size, SIZE), np.int16),
            "traits": np.zeros((size, SIZE // FRAME, TRAITS), np.float16),
            "kinds": rng.choice(len(SHARES), size, p=chances),
        }
        for row in range(size):
            kind = KINDS[arrays["kinds"][row]]
            speakers = list(people[kind].values())
            if kind == "noise":
                audio = _no_voice(speakers, rng)
            else:
                clips = speakers[rng.integers(len(speakers))]
                audio, traits = _voice(clips[rng.integers(len(clips))], resynthesised, rng)
                arrays["traits"][row] = traits
            behind = [_any(noises, rng).take(0).audio] if noises else []
            far = [_any(voices, rng).take(0).audio] if voices and kind != "noise" else []
            audio = augment(audio, rng, noises=behind, voices=far)
            peak = float(np.abs(audio).max()) or 1.0
            arrays["audio"][row] = audio / peak * 32000 * 10 ** rng.uniform(-1.5, 0)
        unfinished = file.with_suffix(".tmp.npz")
        np.savez(unfinished, **arrays)
        unfinished.replace(file)
    return file


def _voice(recording: Recording, resynthesised: float, rng: np.random.Generator) -> tuple[Samples, Samples]:
    other = recording.count > 1 and rng.random() < resynthesised
    take = recording.take(int(rng.integers(1, recording.count)) if other else 0)
    rows = SIZE // FRAME
    audio = np.pad(take.audio[: len(take.traits) * FRAME], (0, max(0, SIZE - len(take.traits) * FRAME)))
    traits = np.pad(take.traits, ((0, max(0, rows - len(take.traits))), (0, 0)))
    start = int(rng.integers(len(traits) - rows + 1))
    audio, traits = audio[start * FRAME : start * FRAME + SIZE].copy(), traits[start : start + rows].copy()
    if rng.random() < 0.3:  # someone starts or stops to speak within the window
        quiet = int(rng.integers(rows // 8, rows * 3 // 4))
        side = slice(0, quiet) if rng.random() < 0.5 else slice(rows - quiet, rows)
        audio[side.start * FRAME : side.stop * FRAME] = 0
        traits[side] = 0
    return audio, traits


def _no_voice(sources: list[list[Recording]], rng: np.random.Generator) -> Samples:
    chance = rng.random()
    if chance < 0.12 or not sources:
        return coloured_noise(SIZE, rng)
    if chance < 0.2:
        return _tones(rng)
    audio = excerpt(_any(_any(sources, rng), rng).take(0).audio, SIZE, rng)
    if rng.random() < 0.2:
        audio = mixed(audio, excerpt(_any(_any(sources, rng), rng).take(0).audio, SIZE, rng), rng.uniform(0, 12))
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

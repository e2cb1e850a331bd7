"""Make augmented crops of two seconds, as the output of the fixed first layers, to cut batches from.

Worker processes make them once and keep them in a cache folder. The first layers do not learn, so a step of training
neither augments nor filters audio.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from voxgender.training.augmentation import Samples, augment, coloured_noise, excerpt, mixed
from voxgender.training.manifest import KINDS, Kind
from voxgender.training.network import BANDS, ROW, SAMPLE_RATE_HZ, envelopes, rows_in
from voxgender.training.processes import in_processes
from voxgender.training.recordings import FRAME, Recording, loud_frames
from voxgender.training.sampling import SpeakerSampler, choose

SIZE = 2 * SAMPLE_RATE_HZ
"""Samples of a crop."""
SHARES: dict[Kind, float] = {"female": 0.43, "male": 0.43, "noise": 0.14}
SHARD = 500
"""Crops of one job of a worker and of one file of the cache."""

_DISTANT_VOICE_SHARE = 0.3
"""Share of voices for which :func:`augment` may mix in another, distant one."""
_VERSION = 7
"""Raise it if the same recordings would now give other crops."""
assert FRAME == ROW


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops, as arrays.

    Attributes:
        envelopes: float16, shape ``(crops, rows_in(SIZE), BANDS)``, relative to the crop's loudness.
        power: float32, shape ``(crops, SIZE // ROW)``, mean square relative to the crop's.
        loud: bool, shape ``(crops, SIZE // ROW)``: True where there is a voice and no pause.
        sources: int64, shape ``(crops,)``, index of the crop's recording; -1 for noise.
        begins: int64, shape ``(crops,)``, row of the recording's take at which the crop begins; negative if it begins
            before the take.
        plain: bool, shape ``(crops,)``: True for recordings as they are; False for resynthesised takes and noise.
    """

    envelopes: npt.NDArray[np.float16]
    power: npt.NDArray[np.float32]
    loud: npt.NDArray[np.bool_]
    sources: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int64]
    plain: npt.NDArray[np.bool_]

    def window(self, crop: int, start: int, rows: int) -> npt.NDArray[np.float32]:
        """Return envelopes of ``rows * ROW`` samples from ``start * ROW``, relative to their loudness."""
        loudness = np.sqrt(max(1e-6, float(self.power[crop, start : start + rows].mean())))
        window = self.envelopes[crop, start : start + rows_in(rows * ROW)].astype(np.float32)
        return window / np.float32(loudness)


def joined(parts: Sequence[Crops]) -> Crops:
    """Concatenate crops whose sources are indices into the same recordings."""
    names = [field.name for field in fields(Crops)]
    return Crops(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class _Job:
    """A worker's job: for each crop the voice's index, its recording and a distant voice's; None for noise."""

    seed: tuple[int, int]
    voices: list[tuple[int, Recording, Recording] | None]


def crops(
    labelled: Sequence[Recording],
    others: Sequence[Recording],
    noises: Sequence[Recording],
    cache: Path,
    *,
    count: int,
    labelled_share: float,
    resynthesised: float,
    seed: int,
    workers: int,
) -> Crops:
    """Make ``count`` crops, or read them from the cache.

    Args:
        labelled: recordings of both sexes with their own labels.
        others: recordings that a teacher labelled; may be empty.
        noises: recordings without a voice; may be empty.
        cache: folder, made if it does not exist.
        count: number of crops.
        labelled_share: share of voices drawn from ``labelled``, if there are ``others`` of that sex.
        resynthesised: share of resynthesised takes among the crops of a recording, if it has any.
        seed: random seed; the same seed and recordings make the same crops with any number of workers.
        workers: number of processes.

    Returns:
        Crops, whose sources are indices into ``labelled`` followed by ``others``.
    """
    cache.mkdir(parents=True, exist_ok=True)
    size = min(SHARD, count)
    shards = max(1, round(count / size))
    facts = (
        _VERSION,
        [[(one.file.name, one.clip.kind, one.clip.speaker) for one in some] for some in (labelled, others, noises)],
        labelled_share,
        resynthesised,
        seed,
        size,
    )
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    make = partial(_make_shard, noises=list(noises), resynthesised=resynthesised, cache=cache, key=key)
    files = in_processes(make, _jobs(labelled, others, labelled_share, seed, size, shards), workers)
    arrays = _empty_arrays(shards * size)
    for index, file in enumerate(tqdm(files, "crops", shards, unit_scale=size, leave=False)):
        with np.load(file) as stored:
            for name, whole in arrays.items():
                whole[index * size : (index + 1) * size] = stored[name]
    return Crops(**arrays)


def _empty_arrays(count: int) -> dict[str, Any]:
    return {
        "envelopes": np.empty((count, rows_in(SIZE), BANDS), np.float16),
        "power": np.empty((count, SIZE // ROW), np.float32),
        "loud": np.zeros((count, SIZE // ROW), np.bool_),
        "sources": np.full(count, -1, np.int64),
        "begins": np.zeros(count, np.int64),
        "plain": np.zeros(count, np.bool_),
    }


def _jobs(
    labelled: Sequence[Recording], others: Sequence[Recording], labelled_share: float, seed: int, size: int, shards: int
) -> Iterator[_Job]:
    known, pseudo_labelled = SpeakerSampler(labelled), SpeakerSampler(others)
    numbers = {id(one): index for index, one in enumerate([*labelled, *others])}
    everybody = [*labelled, *others]
    for index in range(shards):
        rng = np.random.default_rng((seed, index))
        voices: list[tuple[int, Recording, Recording] | None] = []
        for number in rng.choice(len(SHARES), size, p=list(SHARES.values())):
            sex = KINDS[number]
            if sex == "noise":
                voices.append(None)
                continue
            sampler = (
                pseudo_labelled
                if sex in pseudo_labelled and (sex not in known or rng.random() >= labelled_share)
                else known
            )
            one = sampler.draw(sex, rng)
            voices.append((numbers[id(one)], one, choose(everybody, rng)))
        yield _Job((seed, index), voices)


def _make_shard(job: _Job, *, noises: list[Recording], resynthesised: float, cache: Path, key: str) -> Path:
    file = cache / f"{key}-{job.seed[1]:04}.npz"
    if file.exists():
        return file
    torch.set_num_threads(1)
    rng = np.random.default_rng((*job.seed, 1))
    arrays = _empty_arrays(len(job.voices))
    for row, voice in enumerate(job.voices):
        far: list[Samples] = []
        if voice is None:
            audio = _no_voice(noises, rng)
        else:
            arrays["sources"][row], one, other = voice
            take = int(rng.integers(1, one.count)) if one.count > 1 and rng.random() < resynthesised else 0
            arrays["plain"][row] = take == 0
            audio, arrays["loud"][row], arrays["begins"][row] = _voice(one.read(take), rng)
            if rng.random() < _DISTANT_VOICE_SHARE:
                far = [other.read()]
        behind = [choose(noises, rng).read()] if noises else []
        if rng.random() < 0.15:  # music, or a telephone that rings
            behind = [_tones(rng)]
        audio = augment(audio, rng, noises=behind, voices=far)
        audio = audio / max(1e-6, float(np.sqrt(np.mean(audio**2))))
        arrays["envelopes"][row] = envelopes(torch.from_numpy(audio)[None])[0]
        arrays["power"][row] = np.mean(audio.reshape(-1, ROW) ** 2, axis=1)
    unfinished = file.with_suffix(f".{os.getpid()}.npz")
    np.savez(unfinished, **arrays)
    unfinished.replace(file)
    return file


def _voice(take: Samples, rng: np.random.Generator) -> tuple[Samples, npt.NDArray[np.bool_], int]:
    """Cut a crop out of a take; return its loud frames, and the row of the take at which it begins, as well."""
    loud = loud_frames(take)
    rows = SIZE // ROW
    missing = max(0, rows - loud.size)
    before = int(rng.integers(missing + 1))
    audio = np.pad(take[: loud.size * ROW], (before * ROW, (missing - before) * ROW))
    loud = np.pad(loud, (before, missing - before))
    start = int(rng.integers(loud.size - rows + 1))
    audio, loud = audio[start * ROW : start * ROW + SIZE].copy(), loud[start : start + rows].copy()
    if rng.random() < 0.3:  # somebody starts or stops to speak within the crop
        quiet = int(rng.integers(rows // 8, rows * 3 // 4))
        side = slice(0, quiet) if rng.random() < 0.5 else slice(rows - quiet, rows)
        audio[side.start * ROW : side.stop * ROW] = 0
        loud[side] = False
    return audio, loud, start - before


def _no_voice(noises: list[Recording], rng: np.random.Generator) -> Samples:
    chance = rng.random()
    if chance < 0.12 or not noises:
        return coloured_noise(SIZE, rng)
    if chance < 0.2:
        return _tones(rng)
    audio = excerpt(choose(noises, rng).read(), SIZE, rng)
    if rng.random() < 0.2:
        audio = mixed(audio, excerpt(choose(noises, rng).read(), SIZE, rng), rng.uniform(0, 12))
    if not audio.any():
        audio = coloured_noise(SIZE, rng)
    return audio


def _tones(rng: np.random.Generator) -> Samples:
    """Make beeps, chords and sirens: pitch without a voice."""
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

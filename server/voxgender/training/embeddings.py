"""Embed recordings with the pretrained speaker encoder, once, in worker processes; keep the embeddings in a cache."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from voxgender.audio.files import read_audio
from voxgender.training.augmentation import SAMPLE_RATE_HZ, Samples, augment
from voxgender.training.encoder import SIZE, WINDOW, SpeakerEncoder, pretrained, speech_windows
from voxgender.training.manifest import Clip, digest
from voxgender.training.processes import in_processes

_SHARD = 100
"""Clips of one job of a worker and of one file of the cache."""
_BATCH = 32
_NOISES = 200
_VERSION = 2
"""Raise it if the same recordings would now give other embeddings."""

Embeddings = npt.NDArray[np.float32]

_Item = TypeVar("_Item")


def embeddings(
    clips: Sequence[Clip],
    cache: Path,
    *,
    view: int,
    noises: Sequence[Clip],
    seconds: float,
    workers: int,
    device: str = "cpu",
) -> list[Embeddings]:
    """Embed each clip, or read its embeddings from the cache.

    Args:
        clips: recordings of speech.
        cache: folder, made if it does not exist.
        view: 0 for the recordings as they are; each other number for an augmentation of its own.
        noises: recordings to mix into augmented ones.
        seconds: longest part of a clip that is used, from its start.
        workers: number of processes.
        device: processor of torch that the encoder runs on.

    Returns:
        For each clip float32, shape ``(windows, 256)``: at least one window.

    Raises:
        AudioError: a clip cannot be decoded.
        SettingsError: the package that holds the encoder's weights is not installed.
    """
    pretrained()  # So that a missing package is reported before any work.
    cache.mkdir(parents=True, exist_ok=True)
    shards = list(_batched(clips, _SHARD))
    behind = tuple(clip.path for clip in noises[:: max(1, len(noises) // _NOISES)]) if view else ()
    make = partial(_embed_shard, cache=cache, view=view, noises=behind, seconds=seconds, device=device)
    found: list[Embeddings] = []
    title = "embeddings" if view == 0 else f"embeddings, view {view}"
    with tqdm(total=len(clips), desc=title, unit="clip", leave=False) as progress:
        for shard, file in zip(shards, in_processes(make, shards, workers), strict=True):
            with np.load(file) as stored:
                vectors, counts = stored["vectors"].astype(np.float32), stored["counts"]
            found += np.split(vectors, np.cumsum(counts)[:-1])
            progress.update(len(shard))
    return found


def _embed_shard(
    clips: Sequence[Clip], *, cache: Path, view: int, noises: tuple[Path, ...], seconds: float, device: str
) -> Path:
    facts = (_VERSION, [digest(clip.path) for clip in clips], view, [digest(path) for path in noises], seconds)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
    file = cache / f"{key}.npz"
    if file.exists():
        return file
    # One thread each: several processes that share a few cores lose more by waiting for one another than they gain.
    torch.set_num_threads(1)
    windows = []
    for clip in clips:
        audio = read_audio(clip.path)[: int(seconds * SAMPLE_RATE_HZ)]
        if view:
            rng = np.random.default_rng([view, *hashlib.sha256(audio.tobytes()).digest()])
            behind = [_noise(noises[int(rng.integers(len(noises)))])] if noises else []
            audio = augment(audio, rng, noises=behind)
        windows.append(speech_windows(audio, hop=WINDOW if view else WINDOW // 2))
    vectors = _embed(np.concatenate(windows), device)
    unfinished = file.with_suffix(f".{os.getpid()}.npz")
    np.savez(unfinished, vectors=vectors.astype(np.float16), counts=np.array([len(some) for some in windows]))
    unfinished.replace(file)
    return file


@torch.inference_mode()
def _embed(windows: Samples, device: str) -> Embeddings:
    found = np.empty((len(windows), SIZE), np.float32)
    for start in range(0, len(windows), _BATCH):
        batch = torch.from_numpy(windows[start : start + _BATCH]).to(device)
        found[start : start + _BATCH] = _encoder(device)(batch).cpu().numpy()
    return found


@lru_cache(1)
def _encoder(device: str) -> SpeakerEncoder:
    return pretrained().to(device)


@lru_cache(_NOISES)
def _noise(path: Path) -> Samples:
    return read_audio(path)


def _batched(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch

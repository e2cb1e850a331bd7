"""The recordings to learn from, decoded and resynthesised once, kept in a cache folder."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from voxgender.audio.files import read_audio
from voxgender.training.manifest import Clip, Kind
from voxgender.training.resynthesis import FRAME, SAMPLE_RATE_HZ, Take, takes

_VERSION = 4
"""Raise it when what is in the cache would come out different."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A clip in the cache, as several takes; the first is the clip as it is."""

    kind: Kind
    speaker: str
    corpus: str
    told: bool
    """Whether a listener says what it is; else it is a guess."""
    file: Path
    count: int

    def take(self, index: int) -> Take:
        """The same arrays for whoever asks soon again: not to be written to."""
        return _take(self.file, index)


@lru_cache(1000)
def _take(file: Path, index: int) -> Take:
    with np.load(file) as stored:
        audio = stored[f"audio{index}"].astype(np.float32) / 32767
        return Take(audio, stored[f"pitch{index}"].astype(np.float32))


def recordings(
    clips: Sequence[Clip], cache: Path, *, variants: int, seconds: float, workers: int, told: bool = True
) -> list[Recording]:
    """Decode and resynthesise, or take from the cache.

    Args:
        clips: labelled clips.
        cache: folder that is made where it is not there.
        variants: resynthesised takes of each voice.
        seconds: of longer clips, only so much from the start.
        workers: processes.
        told: whether the labels are a listener's; else they are guesses.

    Raises:
        AudioError: a clip cannot be decoded.
    """
    cache.mkdir(parents=True, exist_ok=True)
    make = partial(_recording, cache=cache, variants=variants, seconds=seconds, told=told)
    return list(tqdm(_mapped(make, clips, workers), "voices", len(clips), unit="clip", leave=False))


def _mapped(make: "partial[Recording]", clips: Iterable[Clip], workers: int) -> Iterator[Recording]:
    if workers < 2:
        yield from map(make, clips)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(make, clips, chunksize=4)


def _recording(clip: Clip, *, cache: Path, variants: int, seconds: float, told: bool) -> Recording:
    count = 0 if clip.kind == "noise" else variants
    stat = clip.path.stat()
    facts = (_VERSION, str(clip.path.resolve()), stat.st_size, stat.st_mtime_ns, clip.kind, count, seconds)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
    file = cache / f"{key}.npz"
    if not file.exists():
        audio = read_audio(clip.path)[: int(seconds * SAMPLE_RATE_HZ)]
        if clip.kind == "noise":
            found = [Take(audio, np.zeros(audio.size // FRAME, np.float32))]
        else:
            # What is heard decides, so that the same recordings give the same voices in any folder.
            digest = hashlib.sha256(audio.tobytes()).digest()
            found = takes(audio, clip.kind, count, np.random.default_rng(list(digest)))
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        for i, take in enumerate(found):
            arrays[f"audio{i}"] = (np.clip(take.audio, -1, 1) * 32767).astype(np.int16)
            arrays[f"pitch{i}"] = take.pitch.astype(np.float16)
        partial_file = file.with_suffix(".tmp.npz")
        np.savez(partial_file, **arrays)  # type: ignore[arg-type]
        partial_file.replace(file)
    with np.load(file) as stored:
        return Recording(clip.kind, clip.speaker, clip.corpus, told, file, len(stored.files) // 2)

"""Decode the recordings of a training once, resynthesise some of them, and keep them in a cache folder."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from voxgender.audio.files import read_audio
from voxgender.training.augmentation import SAMPLE_RATE_HZ, Samples
from voxgender.training.embeddings import in_processes
from voxgender.training.manifest import Clip
from voxgender.training.resynthesis import resynthesised

FRAME = 320
"""Samples of a frame, 20 ms; each frame is either loud or not."""

_RESYNTHESISED = 5 * SAMPLE_RATE_HZ
"""Longest speech of a clip that is resynthesised; that takes a third of the speech's time."""
_PAUSE_DB = 20.0
"""Level below a recording's loud frames under which a frame is not loud."""
_VERSION = 6
"""Raise it if the same recordings would now give other files."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A labelled clip in the cache, in several takes; the first is the clip as it is."""

    clip: Clip
    file: Path
    count: int

    def read(self, take: int = 0) -> Samples:
        """Return a take, float32 ``(samples,)``. Do not write to it: it is shared."""
        return _read(self.file, take)


@lru_cache(1500)
def _read(file: Path, take: int) -> Samples:
    with np.load(file) as stored:
        audio: Samples = stored[f"take{take}"].astype(np.float32) / 32767
    return audio


def loud_frames(audio: Samples) -> npt.NDArray[np.bool_]:
    """Find the frames within 20 dB of the loudest ones, mostly vowels: bool ``(samples // FRAME,)``."""
    frames = audio[: audio.size // FRAME * FRAME].reshape(-1, FRAME)
    if not len(frames):
        return np.zeros(0, np.bool_)
    power = np.mean(frames**2, axis=1)
    loud: npt.NDArray[np.bool_] = power > max(1e-10, float(np.quantile(power, 0.95)) * 10 ** (-_PAUSE_DB / 10))
    return loud


def recordings(
    clips: Sequence[Clip], cache: Path, *, variants: int, seconds: float, workers: int, called: str
) -> list[Recording]:
    """Decode and resynthesise clips, or read them from the cache.

    Args:
        clips: labelled clips.
        cache: folder, made if it does not exist.
        variants: resynthesised takes of each clip.
        seconds: longest part of a clip that is used, from its start.
        workers: number of processes.
        called: name in the progress bar.

    Raises:
        AudioError: a clip cannot be decoded.
    """
    cache.mkdir(parents=True, exist_ok=True)
    make = partial(_recording, cache=cache, variants=variants, seconds=seconds)
    made = in_processes(make, clips, workers, chunk=8)
    return list(tqdm(made, called, len(clips), unit="clip", leave=False))


def _recording(clip: Clip, *, cache: Path, variants: int, seconds: float) -> Recording:
    stat = clip.path.stat()
    facts = (_VERSION, str(clip.path.resolve()), stat.st_size, stat.st_mtime_ns, variants and clip.kind, seconds)
    key = hashlib.sha256(repr((*facts, variants)).encode()).hexdigest()[:24]
    file = cache / f"{key}.npz"
    if not file.exists():
        audio = read_audio(clip.path)[: int(seconds * SAMPLE_RATE_HZ)]
        takes = [audio]
        if variants:
            # The audio is the seed, so that the same recordings give the same takes in any folder.
            rng = np.random.default_rng(list(hashlib.sha256(audio.tobytes()).digest()))
            begins = int(loud_frames(audio).argmax()) * FRAME if audio.size >= FRAME else 0
            takes += resynthesised(audio[begins : begins + _RESYNTHESISED], clip.kind, variants, rng)
        arrays = {f"take{i}": (np.clip(take, -1, 1) * 32767).astype(np.int16) for i, take in enumerate(takes)}
        unfinished = file.with_suffix(".tmp.npz")
        np.savez(unfinished, **arrays)  # type: ignore[arg-type]
        unfinished.replace(file)
    with np.load(file) as stored:
        return Recording(clip, file, len(stored.files))

"""Decode the recordings of a training once, resynthesise some of them, and keep them in a cache folder."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from voxgender.audio.files import read_audio
from voxgender.training.augmentation import SAMPLE_RATE_HZ, Samples, through_opus
from voxgender.training.manifest import Clip, digest
from voxgender.training.processes import in_processes
from voxgender.training.resynthesis import resynthesised

FRAME = 320
"""Samples of a frame, 20 ms; each frame is either loud or not."""

_RESYNTHESISED = 5 * SAMPLE_RATE_HZ
"""Longest speech of a clip that is resynthesised; that takes a third of the speech's time."""
_BIT_RATES = (6_000, 8_000, 12_000, 16_000, 24_000)
"""Bit rates of Opus, in bits a second."""
_PAUSE_DB = 20.0
"""Level below a recording's loud frames under which a frame is not loud."""
_VERSION = 7
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
    return as_floats(pcm(file, take))


def as_floats(audio: npt.NDArray[np.int16]) -> Samples:
    """Return PCM as float32, -1 to 1."""
    return audio.astype(np.float32) / np.float32(32767)


def pcm(file: Path, take: int = 0) -> npt.NDArray[np.int16]:
    """Read a take from a file of the cache, int16 ``(samples,)``."""
    with np.load(file) as stored:
        audio: npt.NDArray[np.int16] = stored[f"take{take}"]
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
    facts = (_VERSION, digest(clip.path), variants and clip.kind, seconds, variants)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
    file = cache / f"{key}.npz"
    if not file.exists():
        audio = read_audio(clip.path)[: int(seconds * SAMPLE_RATE_HZ)]
        takes = [audio]
        if variants:
            # The audio is the seed, so that the same recordings give the same takes in any folder.
            rng = np.random.default_rng(list(hashlib.sha256(audio.tobytes()).digest()))
            begins = int(loud_frames(audio).argmax()) * FRAME if audio.size >= FRAME else 0
            takes += resynthesised(audio[begins : begins + _RESYNTHESISED], clip.kind, variants, rng)
        _keep(file, takes)
    with np.load(file) as stored:
        return Recording(clip, file, len(stored.files))


def coded(some: Sequence[Recording], *, workers: int) -> list[Recording]:
    """Pass recordings through Opus at a low bit rate, each at one of its own, or read that from the cache."""
    made = in_processes(_coded, some, workers, chunk=8)
    return list(tqdm(made, "through Opus", len(some), unit="clip", leave=False))


def _coded(recording: Recording) -> Recording:
    file = recording.file.with_name(f"{recording.file.stem}-opus.npz")
    if not file.exists():
        chance = np.random.default_rng(list(recording.file.stem.encode()))
        _keep(file, [through_opus(recording.read(), bit_rate=int(chance.choice(_BIT_RATES)))])
    return Recording(recording.clip, file, 1)


def _keep(file: Path, takes: Sequence[Samples]) -> None:
    arrays = {f"take{i}": (np.clip(take, -1, 1) * 32767).astype(np.int16) for i, take in enumerate(takes)}
    unfinished = file.with_suffix(f".{os.getpid()}.npz")  # other processes may make the same file
    np.savez(unfinished, **arrays)  # type: ignore[arg-type]
    unfinished.replace(file)

"""How good a network is on bare windows of recordings it has not learned from; what training chooses by.

What a user meets (the speech gate, the smoothing) is measured by :mod:`voxgender.training.evaluate`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.audio.files import read_audio
from voxgender.training.manifest import KINDS, Clip, Kind
from voxgender.training.network import normalised

SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Windows:
    """The loud windows of one clip.

    Attributes:
        audio: int16, shape ``(windows, samples)``.
    """

    corpus: str
    kind: Kind
    audio: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Score:
    """Shares between 0 and 1. Of noise, right is whatever is not given a gender."""

    corpus: str
    kind: Kind
    files: float
    windows: float
    count: int


def windows_of(clips: Iterable[Clip], *, window_ms: int = 1000, hop_ms: int = 1000) -> list[Windows]:
    """Cut clips into windows, and leave out those 30 dB below the clip's loudest.

    Raises:
        AudioError: a clip cannot be decoded.
    """
    size, hop = window_ms * SAMPLE_RATE_HZ // 1000, hop_ms * SAMPLE_RATE_HZ // 1000
    found = []
    for clip in clips:
        audio = read_audio(clip.path)
        audio = np.pad(audio, (0, max(0, size - audio.size)))
        cut = np.lib.stride_tricks.sliding_window_view(audio, size)[::hop]
        power = np.mean(cut**2, axis=1)
        loud = cut[power >= power.max() / 1000]
        found.append(Windows(clip.corpus, clip.kind, (np.clip(loud, -1, 1) * 32767).astype(np.int16)))
    return found


@torch.inference_mode()
def score(network: Wav2Vec2ForSequenceClassification, clips: Sequence[Windows], *, batch: int = 64) -> list[Score]:
    """Per corpus and kind, in that order. A file is what its windows' log-odds add up to."""
    logits = _logits(network, np.concatenate([clip.audio for clip in clips]), batch)
    told: dict[tuple[str, Kind], list[tuple[bool, float]]] = {}
    start = 0
    for clip in clips:
        rows = logits[start : start + len(clip.audio)]
        start += len(clip.audio)
        if clip.kind == "noise":
            right = (rows.argmax(dim=1) == KINDS.index("noise")).float()
            told.setdefault((clip.corpus, clip.kind), []).append((bool(right.mean() > 0.5), float(right.mean())))
        else:
            towards = rows[:, KINDS.index(clip.kind)] - rows[:, 1 - KINDS.index(clip.kind)]
            told.setdefault((clip.corpus, clip.kind), []).append(
                (bool(towards.sum() > 0), float((towards > 0).float().mean()))
            )
    return [
        Score(corpus, kind, float(np.mean([f for f, _ in of])), float(np.mean([w for _, w in of])), len(of))
        for (corpus, kind), of in sorted(told.items())
    ]


def merit(scores: Iterable[Score]) -> float:
    """What to choose by: the worst corpus counts most, as that is what an unknown one will be like."""
    corpora: dict[str, list[float]] = {}
    for one in scores:
        if one.kind != "noise":
            corpora.setdefault(one.corpus, []).append((one.files + one.windows) / 2)
    means = [float(np.mean(sexes)) for sexes in corpora.values()]
    return (min(means) + float(np.mean(means))) / 2 if means else 0.0


def _logits(network: Wav2Vec2ForSequenceClassification, audio: npt.NDArray[np.int16], batch: int) -> Tensor:
    was_training = network.training
    network.train(False)
    found = [
        network(normalised(torch.from_numpy(audio[at : at + batch].astype(np.float32) / 32767))).logits
        for at in range(0, len(audio), batch)
    ]
    network.train(was_training)
    return torch.cat(found)

"""Score a network on bare windows of recordings that it has not learned from, to choose among checkpoints.

The whole pipeline, with speech gate and smoothing, is measured by :mod:`voxgender.training.evaluate`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor
from tqdm import tqdm
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.audio.files import read_audio
from voxgender.engine.files import WindowCutter
from voxgender.inference.loading import MIN_WINDOW_MS
from voxgender.training.manifest import KINDS, Clip, Kind
from voxgender.training.network import SAMPLE_RATE_HZ, normalised
from voxgender.training.processes import in_processes

Floats = npt.NDArray[np.float64]

_FEMALE, _MALE = KINDS.index("female"), KINDS.index("male")


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
    """Accuracy on one kind of recording of one corpus; ``files`` and ``windows`` are shares, 0 to 1."""

    corpus: str
    kind: Kind
    files: float
    windows: float
    count: int
    window_ms: int = 1000


_OfCorpus = TypeVar("_OfCorpus", Clip, Windows, Score)


def windows_of(clips: Iterable[Clip], *, window_ms: int = 1000, hop_ms: int = 1000, workers: int = 1) -> list[Windows]:
    """Cut clips into windows, and leave out those more than 30 dB below a clip's loudest.

    Raises:
        AudioError: a clip cannot be decoded.
    """
    return list(in_processes(partial(_loud, window_ms=window_ms, hop_ms=hop_ms), clips, workers, chunk=16))


def _loud(clip: Clip, *, window_ms: int, hop_ms: int) -> Windows:
    audio = loud_windows(read_audio(clip.path), window_ms=window_ms, hop_ms=hop_ms)
    return Windows(clip.corpus, clip.kind, audio)


def asked_windows(clips: Sequence[Clip], *, workers: int = 1) -> list[Windows]:
    """Cut clips into the windows that the pipeline asks a model about: the first ones of an utterance are short.

    Raises:
        AudioError: a clip cannot be decoded.
    """
    asked = in_processes(_asked, clips, workers, chunk=16)
    return list(chain.from_iterable(tqdm(asked, "calibration", len(clips), unit="clip", leave=False)))


def _asked(clip: Clip) -> list[Windows]:
    cut = _cutter().cut(clip.path)
    found = []
    for size in sorted({window.size for window in cut}):
        audio = np.stack([window for window in cut if window.size == size])
        found.append(Windows(clip.corpus, clip.kind, (np.clip(audio, -1, 1) * 32767).astype(np.int16)))
    return found


@cache
def _cutter() -> WindowCutter:
    return WindowCutter(MIN_WINDOW_MS)


def loud_windows(audio: npt.NDArray[np.float32], *, window_ms: int, hop_ms: int) -> npt.NDArray[np.int16]:
    """Cut audio into windows, int16 ``(windows, samples)``, and leave out those more than 30 dB below the loudest.

    Audio shorter than a window is padded with silence.
    """
    size, hop = window_ms * SAMPLE_RATE_HZ // 1000, hop_ms * SAMPLE_RATE_HZ // 1000
    audio = np.pad(audio, (0, max(0, size - audio.size)))
    cut = np.lib.stride_tricks.sliding_window_view(audio, size)[::hop]
    power = np.mean(cut**2, axis=1)
    loud: npt.NDArray[np.int16] = (np.clip(cut[power >= power.max() / 1000], -1, 1) * 32767).astype(np.int16)
    return loud


def score(network: Wav2Vec2ForSequenceClassification, clips: Sequence[Windows]) -> list[Score]:
    """Score each length of window, corpus and kind, in that order."""
    return scores_of(clips, _logits_of_each(network, clips))


def scores_of(clips: Iterable[Windows], logits: Iterable[Tensor]) -> list[Score]:
    """Score each length of window, corpus and kind, in that order; a file's log-odds are the sum of its windows'.

    Args:
        clips: the windows that were classified.
        logits: ``(windows, labels)`` for each clip, labels in the order of ``KINDS``; log-probabilities do as well.
    """
    outcomes: dict[tuple[int, str, Kind], list[tuple[bool, float]]] = {}
    for clip, rows in zip(clips, logits, strict=True):
        if clip.kind == "noise":
            right = rows.argmax(dim=1) == KINDS.index("noise")
            file = bool(right.float().mean() > 0.5)
        else:
            towards = rows[:, KINDS.index(clip.kind)] - rows[:, 1 - KINDS.index(clip.kind)]
            right = towards > 0
            file = bool(towards.sum() > 0)
        window_ms = 1000 * clip.audio.shape[1] // SAMPLE_RATE_HZ
        outcomes.setdefault((window_ms, clip.corpus, clip.kind), []).append((file, float(right.float().mean())))
    return [
        Score(corpus, kind, float(np.mean([f for f, _ in of])), float(np.mean([w for _, w in of])), len(of), window_ms)
        for (window_ms, corpus, kind), of in sorted(outcomes.items())
    ]


def without(corpus: str, items: Iterable[_OfCorpus]) -> list[_OfCorpus]:
    """Return the items of other corpora; all of them if ``corpus`` is empty, as manifests may name no corpus at all."""
    return [item for item in items if not corpus or item.corpus != corpus]


def merit(scores: Iterable[Score]) -> float:
    """Return the figure that checkpoints are chosen by, 0 to 1: mean of the mean accuracy and of the worst group's.

    A group is a sex of a corpus.
    """
    groups: dict[tuple[str, Kind], list[float]] = {}
    for one in scores:
        if one.kind != "noise":
            groups.setdefault((one.corpus, one.kind), []).append((one.files + one.windows) / 2)
    means = [float(np.mean(group)) for group in groups.values()]
    return (min(means) + float(np.mean(means))) / 2 if means else 0.0


def calibrate(network: Wav2Vec2ForSequenceClassification, clips: Sequence[Windows]) -> None:
    """Calibrate the classifier: scale and shift its log-odds so that its probabilities are right on ``clips``.

    This is Platt's scaling (J. Platt, Probabilistic outputs for support vector machines, 1999), with the same weight
    for each sex and length of window of each corpus. Scale and shift go into the weights.
    """
    voices = [clip for clip in clips if clip.kind != "noise" and len(clip.audio)]
    logits = torch.cat(_logits_of_each(network, voices))
    odds = (logits[:, _MALE] - logits[:, _FEMALE]).double().numpy()
    signs = np.concatenate([np.full(len(clip.audio), 1.0 if clip.kind == "male" else -1.0) for clip in voices])
    names = [f"{clip.corpus} {clip.kind} {clip.audio.shape[1]}" for clip in voices]
    groups = np.concatenate([np.full(len(clip.audio), name) for name, clip in zip(names, voices, strict=True)])
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / (len(counts) * counts[index])

    # As if each sex had one wrong and one right window more, so that the scale stays finite.
    men = np.count_nonzero(signs > 0)
    targets = 1 - 1 / (np.where(signs > 0, men, signs.size - men) + 2)

    def loss(found: Floats) -> tuple[float, Floats]:
        towards = signs * (found[0] * odds + found[1])
        losses = targets * np.logaddexp(0, -towards) + (1 - targets) * np.logaddexp(0, towards)
        slopes = -signs * weights * (targets - expit(towards))
        return float(weights @ losses), np.array([slopes @ odds, slopes.sum()])

    scale, shift = minimize(loss, [1.0, 0.0], jac=True, method="BFGS").x
    with torch.no_grad():
        network.classifier.weight.mul_(scale)
        network.classifier.bias.mul_(scale)
        network.classifier.bias[_MALE] += shift / 2
        network.classifier.bias[_FEMALE] -= shift / 2


def _logits_of_each(network: Wav2Vec2ForSequenceClassification, clips: Sequence[Windows]) -> list[Tensor]:
    found: list[Tensor] = [torch.empty(0)] * len(clips)
    for size in {clip.audio.shape[1] for clip in clips}:
        alike = [index for index, clip in enumerate(clips) if clip.audio.shape[1] == size]
        logits = logits_of(network, np.concatenate([clips[index].audio for index in alike]))
        ends = np.cumsum([len(clips[index].audio) for index in alike]).tolist()
        for index, end in zip(alike, ends, strict=True):
            found[index] = logits[end - len(clips[index].audio) : end]
    return found


@torch.inference_mode()
def logits_of(network: Wav2Vec2ForSequenceClassification, windows: npt.NDArray[np.int16]) -> Tensor:
    """Return the logits ``(windows, labels)`` of windows ``(windows, samples)``, by the network's processor."""
    was_training, device = network.training, network.device
    batch = 64 if device.type == "cpu" else 512
    network.train(False)
    found = [
        network(normalised(torch.from_numpy(windows[at : at + batch]).to(device).float() / 32767)).logits
        for at in range(0, len(windows), batch)
    ]
    network.train(was_training)
    return torch.cat(found).cpu()

"""A teacher: it hears the sex of every speaker in the embeddings of a pretrained speaker encoder.

A logistic regression on embeddings, taught by the labelled recordings as they are and augmented. Then it is asked about
all recordings of each speaker together. Speakers of whom it is not sure are left out, and so are labelled recordings
that it plainly contradicts without having learned from their speaker.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from voxgender.training.embeddings import Embeddings
from voxgender.training.manifest import Clip

SURE = 2.0
"""Log-odds, in the mean over a speaker's recordings, from which an unlabelled speaker is taken for one of a sex."""
CONTRADICTED = -2.0
"""Log-odds for its own label below which a labelled speaker is left out."""
FOLDS = 5

_RIDGE = 1e-4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Probe:
    """Log-odds of male, linear in an embedding.

    Attributes:
        weights: shape ``(256,)``.
        bias: of the log-odds.
    """

    weights: Floats
    bias: float

    def __call__(self, vectors: npt.NDArray[np.floating]) -> Floats:
        """Log-odds ``(count,)`` of embeddings ``(count, 256)``."""
        odds: Floats = vectors @ self.weights + self.bias
        return odds


@dataclass(frozen=True, slots=True)
class Taught:
    """A recording of which the teacher knows something.

    Attributes:
        clip: with the label that the recording is learned from with.
        male: probability, by label and teacher.
        vector: float32, shape ``(256,)``, of length 1: the mean of the embeddings of its speaker's recordings.
    """

    clip: Clip
    male: float
    vector: Embeddings


def fit(vectors: npt.NDArray[np.floating], male: npt.NDArray[np.bool_], weights: npt.NDArray[np.floating]) -> Probe:
    """Find the probe that makes the labels likeliest, each with its weight, and its own weights small.

    Args:
        vectors: embeddings, shape ``(count, 256)``.
        male: labels, shape ``(count,)``.
        weights: shape ``(count,)``.
    """
    vectors = vectors.astype(np.float64)
    signs = np.where(male, 1.0, -1.0)
    shares = weights / weights.sum()

    def loss(found: Floats) -> tuple[float, Floats]:
        margins = signs * (vectors @ found[:-1] + found[-1])
        slopes = -signs * shares / (1 + np.exp(np.minimum(margins, 500)))
        value = float(shares @ np.logaddexp(0, -margins)) + _RIDGE / 2 * float(found[:-1] @ found[:-1])
        return value, np.append(slopes @ vectors + _RIDGE * found[:-1], slopes.sum())

    found = minimize(loss, np.zeros(vectors.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return Probe(found[:-1], float(found[-1]))


def mean_vector(windows: Embeddings) -> Embeddings:
    """The direction, shape ``(256,)``, of the mean of embeddings ``(windows, 256)``."""
    return _direction(windows.mean(axis=0))


class Teacher:
    """Learns from labelled recordings; names the speakers of others.

    Args:
        clips: labelled male or female.
        views: of each way of hearing them, of each clip, embeddings ``(windows, 256)``; the first as they are.
    """

    def __init__(self, clips: Sequence[Clip], views: Sequence[Sequence[Embeddings]]) -> None:
        self._clips = clips
        self._vectors = [mean_vector(windows) for windows in views[0]]
        owner, vectors = [], []
        for view in views:
            for index, windows in enumerate(view):
                # The mean of a recording's windows, and some of these alone: short words have one.
                rows = [mean_vector(windows), *windows[:: max(1, len(windows) // 2)]]
                owner += [index] * len(rows)
                vectors += rows
        self._owner = np.array(owner)
        self._rows = np.stack(vectors)
        self._male = np.array([clip.label == "male" for clip in clips])[self._owner]
        self._weights = _balance(clips)[self._owner]
        self.probe = fit(self._rows, self._male, self._weights)

    def labelled(self) -> list[Taught]:
        """The labelled recordings, but those of speakers whose labels a probe that knows nothing of them contradicts.

        The probability is the mean of label and teacher.
        """
        odds = self._held_out()
        means, vectors = _by_speaker(self._clips, odds), _by_speaker(self._clips, self._vectors)
        taught = []
        for clip in self._clips:
            mean = float(means[clip.corpus, clip.speaker])
            sign = 1 if clip.label == "male" else -1
            if sign * mean > CONTRADICTED:
                told = 1.0 if clip.label == "male" else 0.0
                vector = _direction(vectors[clip.corpus, clip.speaker])
                taught.append(Taught(clip, (told + _sigmoid(mean)) / 2, vector))
        return taught

    def unlabelled(self, clips: Sequence[Clip], windows: Sequence[Embeddings]) -> list[Taught]:
        """Those of ``clips`` of whose speaker the teacher is sure; a clip without a speaker stands for one.

        Args:
            clips: without labels.
            windows: of each, embeddings ``(windows, 256)``.
        """
        if not clips:
            return []
        of_clips = np.stack([mean_vector(one) for one in windows])
        means, vectors = _by_speaker(clips, self.probe(of_clips)), _by_speaker(clips, of_clips)
        taught = []
        for clip in clips:
            mean = float(means[clip.corpus, clip.speaker])
            if abs(mean) > SURE:
                vector = _direction(vectors[clip.corpus, clip.speaker])
                taught.append(Taught(replace(clip, label="male" if mean > 0 else "female"), _sigmoid(mean), vector))
        return taught

    def _held_out(self) -> Floats:
        """Log-odds of each labelled clip by a probe that has not learned from its speaker."""
        speakers = sorted({(clip.corpus, clip.speaker) for clip in self._clips})
        order = np.random.default_rng(0).permutation(len(speakers))
        folds = {speaker: int(place) % FOLDS for speaker, place in zip(speakers, order, strict=True)}
        fold = np.array([folds[clip.corpus, clip.speaker] for clip in self._clips])
        vectors, odds = np.stack(self._vectors), np.zeros(len(self._clips))
        for number in range(FOLDS):
            rows = fold[self._owner] != number
            if len(set(self._male[rows])) == 2:
                probe = fit(self._rows[rows], self._male[rows], self._weights[rows])
                odds[fold == number] = probe(vectors[fold == number])
        return odds


def _balance(clips: Sequence[Clip]) -> Floats:
    """Weights that make the sexes count the same, and in each of them a speaker as the root of their clips' number."""
    speakers: dict[tuple[str, str], int] = defaultdict(int)
    for clip in clips:
        speakers[clip.corpus, clip.speaker] += 1
    weights = np.array([speakers[clip.corpus, clip.speaker] ** -0.5 for clip in clips])
    for sex in ("male", "female"):
        chosen = np.array([clip.label == sex for clip in clips])
        weights[chosen] /= weights[chosen].sum()
    return weights


def _by_speaker(clips: Iterable[Clip], heard: Iterable[Any]) -> dict[tuple[str, str], npt.NDArray[Any]]:
    """The mean over each speaker's clips."""
    of_all = defaultdict(list)
    for clip, one in zip(clips, heard, strict=True):
        of_all[clip.corpus, clip.speaker].append(one)
    return {speaker: np.mean(all_of, axis=0) for speaker, all_of in of_all.items()}


def _direction(vector: Embeddings) -> Embeddings:
    direction: Embeddings = vector / max(1e-6, float(np.linalg.norm(vector)))
    return direction


def _sigmoid(odds: float) -> float:
    return float(1 / (1 + np.exp(-odds)))

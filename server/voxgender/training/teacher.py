"""Label speakers by a teacher: a logistic regression on embeddings of a pretrained speaker encoder.

The teacher learns from the labelled recordings, and labels each speaker by all recordings of the speaker. It leaves out
speakers of whom it is not sure, and labelled speakers whose label it contradicts plainly without having learned it.
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

MIN_LOG_ODDS = 2.0
"""Mean log-odds of a speaker's recordings from which an unlabelled speaker gets a label."""
CONTRADICTED_LOG_ODDS = -2.0
"""Mean log-odds for a speaker's own label below which a labelled speaker is left out."""
FOLDS = 5

_RIDGE = 1e-4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear function from an embedding to the log-odds of male.

    Attributes:
        weights: shape ``(256,)``.
        bias: log-odds at the origin.
    """

    weights: Floats
    bias: float

    def __call__(self, vectors: npt.NDArray[np.floating]) -> Floats:
        """Return the log-odds ``(count,)`` of embeddings ``(count, 256)``."""
        odds: Floats = vectors @ self.weights + self.bias
        return odds


@dataclass(frozen=True, slots=True)
class SoftLabel:
    """A recording with the probability that a network is to learn for it.

    Attributes:
        clip: the recording, with its own label or the teacher's.
        male: probability that the voice is heard as male.
        vector: float32, shape ``(256,)``, of length 1: the mean of the embeddings of its speaker's recordings.
        windows: float32, shape ``(windows, 256)``: the embeddings of the recording itself.
    """

    clip: Clip
    male: float
    vector: Embeddings
    windows: Embeddings


def fit(vectors: npt.NDArray[np.floating], male: npt.NDArray[np.bool_], weights: npt.NDArray[np.floating]) -> Probe:
    """Fit a logistic regression with L2 regularisation.

    Args:
        vectors: embeddings, shape ``(count, 256)``.
        male: labels, shape ``(count,)``.
        weights: weights of the embeddings in the loss, shape ``(count,)``.
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
    """Return the mean of embeddings ``(windows, 256)``, scaled to length 1: shape ``(256,)``."""
    return _direction(windows.mean(axis=0))


class Teacher:
    """Learns from labelled recordings, and labels others.

    Args:
        clips: recordings labelled male or female.
        views: for each view, for each clip, embeddings ``(windows, 256)``; the first view is not augmented.
    """

    def __init__(self, clips: Sequence[Clip], views: Sequence[Sequence[Embeddings]]) -> None:
        self._clips = clips
        self._windows = views[0]
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

    def labelled(self) -> list[SoftLabel]:
        """Return the labelled recordings, without speakers whose label a probe contradicts that did not learn it.

        The probability is the mean of the label's and the teacher's.
        """
        odds = self._held_out()
        means, vectors = _by_speaker(self._clips, odds), _by_speaker(self._clips, self._vectors)
        labelled = []
        for clip, windows in zip(self._clips, self._windows, strict=True):
            mean = float(means[clip.corpus, clip.speaker])
            sign = 1 if clip.label == "male" else -1
            if sign * mean > CONTRADICTED_LOG_ODDS:
                label = 1.0 if clip.label == "male" else 0.0
                vector = _direction(vectors[clip.corpus, clip.speaker])
                labelled.append(SoftLabel(clip, (label + _sigmoid(mean)) / 2, vector, windows))
        return labelled

    def unlabelled(self, clips: Sequence[Clip], windows: Sequence[Embeddings]) -> list[SoftLabel]:
        """Label the recordings of the speakers of whom the teacher is sure; the others are left out.

        Args:
            clips: recordings without labels.
            windows: for each clip, embeddings ``(windows, 256)``.
        """
        if not clips:
            return []
        of_clips = np.stack([mean_vector(one) for one in windows])
        means, vectors = _by_speaker(clips, self.probe(of_clips)), _by_speaker(clips, of_clips)
        labelled = []
        for clip, its_windows in zip(clips, windows, strict=True):
            mean = float(means[clip.corpus, clip.speaker])
            if abs(mean) > MIN_LOG_ODDS:
                named = replace(clip, label="male" if mean > 0 else "female")
                vector = _direction(vectors[clip.corpus, clip.speaker])
                labelled.append(SoftLabel(named, _sigmoid(mean), vector, its_windows))
        return labelled

    def _held_out(self) -> Floats:
        """Return the log-odds of each labelled clip by a probe that has not learned from its speaker."""
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
    """Return weights by which the sexes count the same, and a speaker as the square root of the number of clips."""
    speakers: dict[tuple[str, str], int] = defaultdict(int)
    for clip in clips:
        speakers[clip.corpus, clip.speaker] += 1
    weights = np.array([speakers[clip.corpus, clip.speaker] ** -0.5 for clip in clips])
    for sex in ("male", "female"):
        chosen = np.array([clip.label == sex for clip in clips])
        weights[chosen] /= weights[chosen].sum()
    return weights


def _by_speaker(clips: Iterable[Clip], of_clips: Iterable[Any]) -> dict[tuple[str, str], npt.NDArray[Any]]:
    """Return the mean over each speaker's clips."""
    of_speaker = defaultdict(list)
    for clip, one in zip(clips, of_clips, strict=True):
        of_speaker[clip.corpus, clip.speaker].append(one)
    return {speaker: np.mean(all_of, axis=0) for speaker, all_of in of_speaker.items()}


def _direction(vector: Embeddings) -> Embeddings:
    direction: Embeddings = vector / max(1e-6, float(np.linalg.norm(vector)))
    return direction


def _sigmoid(odds: float) -> float:
    return float(1 / (1 + np.exp(-odds)))

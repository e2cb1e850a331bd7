"""Number the voices of one call as it goes on, by their embeddings: only what was heard until now is known."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests.benchmarks.speakers.embeddings import Vectors, directions

MOST_VOICES = 6


class Window(NamedTuple):
    """A window of a call, which ends with a hop. Its times are seconds of the call."""

    start: float
    end: float
    begins: bool
    """It is the first of its utterance, which no window reaches back over."""
    utterance: float
    """When its utterance began."""


class Told(NamedTuple):
    """A change of voice, the first voice included."""

    told: float
    """When it was told."""
    at: float
    """Since when the voice speaks, as reckoned then."""
    voice: int
    """Number of the voice, from 0."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The numbers that the clustering is steered by.

    Attributes:
        threshold: least cosine to the centroid of the voice that a window belongs to.
        pooled: latest windows of an utterance whose mean is compared.
        patience: windows in a row by which another known voice takes over.
        evidence: windows in a row, like no known voice, by which a new one is opened.
    """

    threshold: float
    pooled: int
    patience: int
    evidence: int


def told_of(windows: Sequence[Window], vectors: Vectors, rule: Rule) -> list[Told]:
    """Return the changes of voice in a call.

    Args:
        windows: in order.
        vectors: the embedding of each, of length 1.
        rule: the numbers to go by.
    """
    if not windows:
        return []
    sums: list[npt.NDArray[np.float32]] = [vectors[0].copy()]
    centroids = vectors[:1]
    told = [Told(windows[0].end, windows[0].utterance, 0)]
    current = candidate = 0
    pending: list[int] = []
    latest = deque([vectors[0]], maxlen=rule.pooled)
    for index, window in enumerate(windows[1:], 1):
        if window.begins:
            latest.clear()
        latest.append(vectors[index])
        pooled = np.sum(latest, axis=0)
        likeness = centroids @ pooled / max(1e-9, float(np.linalg.norm(pooled)))
        best = int(np.argmax(likeness))
        heard = best if likeness[best] >= rule.threshold or len(sums) == MOST_VOICES else len(sums)
        if heard == current:
            pending.clear()
            sums[current] = sums[current] + vectors[index]
        else:
            if heard != candidate:
                pending.clear()
            candidate = heard
            pending.append(index)
            is_new = heard == len(sums)
            if len(pending) < (rule.evidence if is_new else rule.patience):
                continue
            theirs = vectors[pending].sum(axis=0)
            if is_new:
                sums.append(theirs)
            else:
                sums[heard] = sums[heard] + theirs
            current = heard
            told.append(Told(window.end, began(windows[pending[0]]), current))
            # Windows before the change would go on to be pooled with those after it.
            latest = deque((vectors[one] for one in pending), maxlen=rule.pooled)
            pending.clear()
        centroids = directions(np.stack(sums))
    return told


def began(window: Window) -> float:
    """Return when a voice began that this is the first window of: with the utterance if that is new, else half-way."""
    return window.utterance if window.utterance >= window.start else (window.start + window.end) / 2

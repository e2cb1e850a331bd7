"""Number the voices of one call as it goes on, by their embeddings: only what was heard until now is known."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tests.benchmarks.speakers.embeddings import Vectors

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
    sums = np.zeros((MOST_VOICES, vectors.shape[1]), np.float32)
    lengths = np.ones(MOST_VOICES, np.float32)
    sums[0], known = vectors[0], 1
    told = [Told(windows[0].end, windows[0].utterance, 0)]
    current = candidate = 0
    pending: list[int] = []
    latest = deque([vectors[0]], maxlen=rule.pooled)
    for index, window in enumerate(windows[1:], 1):
        vector = vectors[index]
        if window.begins:
            latest.clear()
        latest.append(vector)
        pooled = sum(latest)
        likeness = sums[:known] @ pooled / (lengths[:known] * math.sqrt(pooled @ pooled))
        best = int(likeness.argmax())
        heard = best if likeness[best] >= rule.threshold or known == MOST_VOICES else known
        if heard == current:
            pending.clear()
            theirs = vector
        else:
            if heard != candidate:
                pending.clear()
            candidate = heard
            pending.append(index)
            if len(pending) < (rule.evidence if heard == known else rule.patience):
                continue
            current, known = heard, max(known, heard + 1)
            told.append(Told(window.end, began(windows[pending[0]]), current))
            theirs = vectors[pending].sum(axis=0)
            # Windows before the change would go on to be pooled with those after it.
            latest = deque((vectors[one] for one in pending), maxlen=rule.pooled)
            pending.clear()
        sums[current] += theirs
        lengths[current] = math.sqrt(sums[current] @ sums[current])
    return told


def began(window: Window) -> float:
    """Return when a voice began that this is the first window of: with the utterance if that is new, else half-way."""
    return window.utterance if window.utterance >= window.start else (window.start + window.end) / 2

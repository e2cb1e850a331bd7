"""A batch of hops -> what is heard in each: the gate first, then the model on what is speech."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from voxgender import metrics
from voxgender.audio.gate import FRAME, Gate, VoiceActivity
from voxgender.audio.resampler import Samples
from voxgender.audio.windows import Picker
from voxgender.inference.classifier import Classifier
from voxgender.protocol import Scores

MAX_BEHIND = 2
"""Windows of one call that are judged in one batch; with more waiting, the model cannot keep up."""


class Ear(NamedTuple):
    """What the judge remembers of one call. Only the judge's thread touches it."""

    gate: Gate
    picker: Picker


class Job(NamedTuple):
    """One hop of one call."""

    ear: Ear
    samples: Samples
    """The hop itself."""
    recent: Samples
    """The newest audio that a window may be cut from; ends with the hop."""
    last: bool
    """True at the end of the call: the utterance ends here."""


class Heard(NamedTuple):
    """What is heard in one hop."""

    speech: list[tuple[int, int]]
    """Stretches of speech in samples from the start of the hop."""
    scores: Scores | None
    """Of the window that ends with the hop; None where there was none to judge."""
    voice: float
    """Probability that the window holds a voice at all."""
    dropped: bool = False
    """True where there was a window, and no time to judge it."""


class Judge:
    """The networks of the process; called from one thread at a time."""

    def __init__(self, classifier: Classifier | None) -> None:
        self._classifier = classifier
        self._activity = VoiceActivity()
        if classifier is not None:
            self._columns = {label: index for index, label in enumerate(classifier.labels)}

    def ear(self, picker: Picker) -> Ear:
        """A fresh memory for a new call."""
        return Ear(Gate(self._activity), picker)

    def __call__(self, jobs: Sequence[Job]) -> list[Heard]:
        """Judge hops of many calls together, those of one call in order.

        The gate hears every hop. Of a call that has fallen behind, the model hears the newest window only.
        """
        metrics.BATCH_SIZE.observe(len(jobs))
        gated = [self._gate(job) for job in jobs]
        windows = {index: window for index, (_, window) in enumerate(gated) if window is not None}
        verdicts: dict[int, tuple[Scores | None, float]] = {}
        # Windows of one size only share a batch: padding would change what the model hears.
        by_size: dict[int, list[int]] = {}
        for index in _in_time(jobs, windows):
            by_size.setdefault(windows[index].size, []).append(index)
        for indices in by_size.values():
            verdicts |= zip(indices, self._classify(np.stack([windows[index] for index in indices])), strict=True)
        heard = []
        for index, (spans, window) in enumerate(gated):
            scores, voice = verdicts.get(index, (None, 1.0))
            heard.append(Heard(spans, scores, voice, dropped=window is not None and scores is None))
        return heard

    def _gate(self, job: Job) -> tuple[list[tuple[int, int]], Samples | None]:
        gate, picker = job.ear
        spans = gate.push(job.samples)
        recent = job.recent
        if job.last:
            recent = np.concatenate((recent, np.zeros(-gate.pending % FRAME, dtype=np.float32)))
            spans += gate.flush()
        window = picker.pick(gate)
        if window is None or self._classifier is None:
            return spans, None
        newest = recent.size - gate.pending
        return spans, recent[newest - window.start : newest - window.end]

    def _classify(self, windows: Samples) -> list[tuple[Scores, float]]:
        assert self._classifier is not None
        probabilities = self._classifier(windows)
        male = probabilities[:, self._columns["male"]]
        female = probabilities[:, self._columns["female"]]
        voice = np.maximum(male + female, 1e-6)
        return [
            (Scores(male=m, female=1.0 - m), min(v, 1.0))
            for m, v in zip((male / voice).tolist(), voice.tolist(), strict=True)
        ]


def _in_time(jobs: Sequence[Job], windows: Iterable[int]) -> list[int]:
    """Which windows to judge: all, but of a call with more than ``MAX_BEHIND`` waiting the newest alone."""
    by_call: dict[int, list[int]] = {}
    for index in windows:
        by_call.setdefault(id(jobs[index].ear), []).append(index)
    return [
        index for indices in by_call.values() for index in (indices if len(indices) <= MAX_BEHIND else indices[-1:])
    ]

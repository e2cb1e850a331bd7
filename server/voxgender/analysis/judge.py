"""A batch of hops -> what is heard in each: the gate first, then the model on what is speech."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from voxgender import metrics
from voxgender.audio.gate import FRAME, Gate, VoiceActivity
from voxgender.audio.resampler import Samples
from voxgender.audio.windows import Picker
from voxgender.inference.classifier import Classifier
from voxgender.protocol import Scores


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
        """Judge hops of different calls together."""
        metrics.BATCH_SIZE.observe(len(jobs))
        speech = []
        windows: dict[int, list[tuple[int, Samples]]] = {}
        for index, job in enumerate(jobs):
            spans, window = self._gate(job)
            speech.append(spans)
            if window is not None:
                windows.setdefault(window.size, []).append((index, window))
        verdicts: dict[int, tuple[Scores, float]] = {}
        # Windows of one size only share a batch: padding would change what the model hears.
        for group in windows.values():
            indices, audio = zip(*group, strict=True)
            verdicts |= zip(indices, self._classify(np.stack(audio)), strict=True)
        unheard = (None, 1.0)
        return [Heard(spans, *verdicts.get(index, unheard)) for index, spans in enumerate(speech)]

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

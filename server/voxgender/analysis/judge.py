"""What arrived of many calls -> what is heard in it: cut into hops, the gate first, then the model on speech."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

import numpy as np

from voxgender import metrics
from voxgender.audio.activity import FRAME, Judgement, VoiceActivity
from voxgender.audio.frames import Samples
from voxgender.audio.gate import Gate
from voxgender.audio.hops import Cutter, Hop, Pause
from voxgender.audio.ring import Ring
from voxgender.audio.track import Batch
from voxgender.audio.windows import Picker
from voxgender.inference.classifier import Classifier
from voxgender.protocol import Scores

MAX_BEHIND = 2
"""Windows of one call that are judged in one batch; with more waiting, the model cannot keep up."""


class Ear:
    """One call's memory: its clock, the newest audio, who speaks since when. Only the judge's thread touches it,
    but for a look at ``cutter.missing``.

    Args:
        picker: fresh.
        hop_samples: length of a hop.
    """

    def __init__(self, picker: Picker, hop_samples: int) -> None:
        self.cutter = Cutter(hop_samples)
        self.gate = Gate()
        self._picker = picker
        self._ring = Ring(picker.reach)
        self._hop: Hop | None = None
        self._padding = 0
        self._end_s = 0.0

    def take(self, hop: Hop | None) -> Samples:
        """Take in a hop, or the end of the call; returns the frames to be judged before :meth:`hear`."""
        self._hop = hop
        if hop is None:
            self._padding = -self.gate.pending % FRAME
            return self.gate.last_frames()
        self._ring.append(hop.samples)
        return self.gate.frames(hop.samples)

    def hear(self, judgement: Judgement) -> "tuple[Heard, Samples | None]":
        """What there is to say of the hop so far, and the window to judge, if any."""
        spans = self.gate.judge(judgement)
        if self._hop is None:
            self.gate.end()
            heard = Heard(self._end_s, self._end_s, spans)
        else:
            self._end_s = self._hop.end_s
            heard = Heard(self._hop.start_s, self._hop.end_s, spans, stalled=self._hop.stalled)
        return heard, self._window()

    def _window(self) -> Samples | None:
        window = self._picker.pick(self.gate)
        if window is None:
            return None
        # The gate has judged ``pending`` samples less than the ring holds, at the end ``padding`` more.
        behind = self.gate.pending - self._padding
        audio = self._ring.latest(window.start + behind)
        end = window.start - window.end
        return audio[:end] if audio.size >= end else np.pad(audio, (0, end - audio.size))


class Job(NamedTuple):
    """What arrived of one call; None is its end."""

    ear: Ear
    arrival: Batch | Pause | None
    shorten: int = 0
    """By how many samples the hop that it adds to is to be shorter."""


class Heard(NamedTuple):
    """What is heard in one hop."""

    start_s: float
    end_s: float
    speech: Sequence[tuple[int, int]] = ()
    """Stretches of speech in samples from the start of the hop."""
    scores: Scores | None = None
    """Of the window that ends with the hop; None where there was none to judge."""
    voice: float = 1.0
    """Probability that the window holds a voice at all."""
    dropped: bool = False
    """True where there was a window, and no time to judge it."""
    stalled: bool = False
    """True for silence that stands for packets that did not come."""


class Verdicts(NamedTuple):
    """What is heard in all hops that one arrival completes, and where the time went."""

    hops: Sequence[Heard]
    decode_s: float = 0.0
    gate_s: float = 0.0
    inference_s: float = 0.0


class Judge:
    """The networks of the process; called from one thread at a time."""

    def __init__(self, classifier: Classifier | None) -> None:
        self._classifier = classifier
        self._activity = VoiceActivity()
        if classifier is not None:
            self._columns = {label: index for index, label in enumerate(classifier.labels)}

    def __call__(self, jobs: Sequence[Job], *, live: bool = True) -> list[Verdicts]:
        """Judge what arrived of many calls together, each call's in order.

        The gate hears every hop. Of a call that has fallen behind, the model hears the newest window only, unless
        the calls are not ``live``.
        """
        metrics.BATCH_SIZE.observe(len(jobs))
        started = monotonic()
        hops = [(number, job.ear, hop) for number, job in enumerate(jobs) for hop in _cut(job)]
        decoded = monotonic()
        heard, windows = self._gate(hops)
        gated = monotonic()
        ears = [ear for _, ear, _ in hops]
        for index, (scores, voice) in self._judge(ears, windows, live).items():
            heard[index] = heard[index]._replace(scores=scores, voice=voice)
        for index in windows:
            if heard[index].scores is None:
                heard[index] = heard[index]._replace(dropped=True)
        inferred = monotonic()
        found: list[list[Heard]] = [[] for _ in jobs]
        for (number, _, _), one in zip(hops, heard, strict=True):
            found[number].append(one)
        return [Verdicts(one, decoded - started, gated - decoded, inferred - gated) for one in found]

    def _gate(self, hops: Sequence[tuple[int, Ear, Hop | None]]) -> tuple[list[Heard], dict[int, Samples]]:
        """What is heard in each hop, and the windows to judge, by hop."""
        heard: dict[int, Heard] = {}
        windows: dict[int, Samples] = {}
        by_call: dict[int, deque[int]] = {}
        for index, (_, ear, _) in enumerate(hops):
            by_call.setdefault(id(ear), deque()).append(index)
        while by_call:
            # One hop of each call at a time: what a gate hears depends on what it heard before.
            turn = [waiting.popleft() for waiting in by_call.values()]
            by_call = {call: waiting for call, waiting in by_call.items() if waiting}
            frames = [hops[index][1].take(hops[index][2]) for index in turn]
            states = [hops[index][1].gate.state for index in turn]
            for index, judgement in zip(turn, self._activity(frames, states), strict=True):
                heard[index], window = hops[index][1].hear(judgement)
                if window is not None and self._classifier is not None:
                    windows[index] = window
        return [heard[index] for index in range(len(hops))], windows

    def _judge(
        self, ears: Sequence[Ear], windows: Mapping[int, Samples], live: bool
    ) -> dict[int, tuple[Scores, float]]:
        verdicts: dict[int, tuple[Scores, float]] = {}
        # Windows of one size only share a batch: padding would change what the model hears.
        by_size: dict[int, list[int]] = {}
        for index in _in_time(ears, windows) if live else windows:
            by_size.setdefault(windows[index].size, []).append(index)
        for indices in by_size.values():
            verdicts |= zip(indices, self._classify(np.stack([windows[index] for index in indices])), strict=True)
        return verdicts

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


def _cut(job: Job) -> Sequence[Hop | None]:
    """The hops that an arrival completes; None is the end of the call."""
    if job.arrival is not None:
        job.ear.cutter.shorten(job.shorten)
        return job.ear.cutter.push(job.arrival)
    return [*job.ear.cutter.flush(), None]


def _in_time(ears: Sequence[Ear], windows: Iterable[int]) -> list[int]:
    """Which windows to judge: all, but of a call with more than ``MAX_BEHIND`` waiting the newest alone."""
    by_call: dict[int, list[int]] = {}
    for index in windows:
        by_call.setdefault(id(ears[index]), []).append(index)
    return [
        index for indices in by_call.values() for index in (indices if len(indices) <= MAX_BEHIND else indices[-1:])
    ]

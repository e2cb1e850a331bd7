"""Run the networks on hops of many calls at once: the speech gate's, and the classifier."""

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import numpy as np

from voxgender.audio.activity import VoiceActivity
from voxgender.engine.call_state import CallState, Hop
from voxgender.engine.pace import Pace
from voxgender.inference.classifier import Classifier, Probabilities, RemoteClassifier
from voxgender.inference.labels import OTHER
from voxgender.protocol import VOICES

HALT_S = 10.0
"""Longest run of the networks that the end of the process waits for."""

HopsOf = Mapping[CallState, Sequence[Hop]]


def voices_of(classifier: Classifier | None) -> tuple[str, ...]:
    """Return the labels of voices that a classifier tells apart."""
    names = classifier.labels if classifier else VOICES
    return tuple(label for label in names if label != OTHER)


class Networks:
    """The networks that all calls share.

    Args:
        classifier: the model; None tells speech from silence only.
        pace: chooses windows if the model cannot keep up.
        clock: gives seconds of ``time.monotonic``.
    """

    def __init__(self, classifier: Classifier | None, pace: Pace, clock: Callable[[], float]) -> None:
        self.classifier = classifier
        self.voices = voices_of(classifier)
        self._pace = pace
        self._clock = clock
        self._activity = VoiceActivity()
        self._lock = threading.Lock()
        """Held while the networks run: files are analysed on their callers' threads."""

    @property
    def pool(self) -> RemoteClassifier | None:
        """The classifier, if it runs in other processes."""
        return self.classifier if isinstance(self.classifier, RemoteClassifier) else None

    def swap(self, classifier: Classifier) -> None:
        """Put another classifier in the place of the present one, between two runs."""
        with self._lock:
            self.classifier = classifier
            self._pace.restart()

    def halt(self) -> None:
        """Wait for the present run, and begin none after it, because the process ends."""
        # Never given back: threads that want to run the networks wait here, for as long as there is a process.
        self._lock.acquire(timeout=HALT_S)

    def process(self, hops: HopsOf) -> tuple[float, float]:
        """Process hops of many calls: find speech, classify windows, decide.

        The gate gets every hop. If the model cannot keep up, it gets a part of the windows, the same share of each
        call, except of calls whose state ``is_whole``.

        Returns:
            The times at which the gate and the model had finished.
        """
        with self._lock:
            self._find_speech(hops)
            gated_at = self._clock()
            if self.classifier is not None:
                waiting = {state: [hop for hop in some if hop.window is not None] for state, some in hops.items()}
                paced = {state: some for state, some in waiting.items() if some and not state.is_whole}
                whole = [hop for state, some in waiting.items() if state.is_whole for hop in some]
                chosen = [*self._pace.choose(paced, gated_at), *whole]
                self._classify(chosen)
                self._pace.took(len(chosen), self._clock() - gated_at)
            classified_at = self._clock()
        for state, of_call in hops.items():
            for hop in of_call:
                state.decide(hop)
        return gated_at, classified_at

    def send(self, pool: RemoteClassifier, hops: HopsOf) -> float:
        """Find the speech in some hops and send their windows to the pool; decide those of calls that have none.

        Returns:
            The time at which the gate had finished.
        """
        with self._lock:
            self._find_speech(hops)
        gated_at = self._clock()
        waiting = {state: [hop for hop in some if hop.window is not None] for state, some in hops.items()}
        paced = {state: some for state, some in waiting.items() if some and not state.is_whole}
        whole = [hop for state, some in waiting.items() if state.is_whole for hop in some]
        for chosen, patient in ((self._pace.select(paced, pool.free_capacity), False), (whole, True)):
            rows = pool.submit([hop.window for hop in chosen if hop.window is not None], patient=patient)
            for hop, row in zip(chosen, rows, strict=True):
                hop.row = row
        for state, of_call in hops.items():
            if not any(hop.row is not None for hop in of_call):
                self._pace.note(0, len(waiting[state]), gated_at)
                for hop in of_call:
                    state.decide(hop)
        return gated_at

    def receive(self, state: CallState, hops: Sequence[Hop], now: float) -> None:
        """Take the pool's answers to the windows of a call's turn, and decide its hops."""
        classified = windows = 0
        for hop in hops:
            windows += hop.window is not None
            if hop.row is None:
                continue
            row, hop.row = hop.row, None
            if row.exception() is None:
                classified += 1
                self._score([hop], row.result()[np.newaxis])
            else:
                hop.skipped = True
        self._pace.note(classified, windows, now)
        for hop in hops:
            state.decide(hop)

    def _find_speech(self, hops: HopsOf) -> None:
        # One hop of each call at a time, because the network's state carries over from hop to hop.
        for turn in zip_longest(*hops.values()):
            some = [(state, hop) for state, hop in zip(hops, turn, strict=True) if hop is not None]
            frames = [state.frames(hop) for state, hop in some]
            gate_states = [state.gate.state for state, _ in some]
            # Quiet sound is given to the network once more, amplified, in the same run.
            quiet: list[CallState] = []
            for state, hop in some:
                if (amplified := state.quiet.frames(hop.samples)) is not None:
                    quiet.append(state)
                    frames.append(amplified)
                    gate_states.append(state.quiet.state)
            found = self._activity(frames, gate_states)
            for state, speech in zip(quiet, found[len(some) :], strict=True):
                state.quiet.update(speech)
            for (state, hop), speech in zip(some, found[: len(some)], strict=True):
                state.find_speech(hop, speech)

    def _classify(self, hops: Sequence[Hop]) -> None:
        assert self.classifier is not None
        # Only windows of one size share a batch: padding would change the model's input.
        by_size: dict[int, list[Hop]] = {}
        for hop in hops:
            assert hop.window is not None
            by_size.setdefault(hop.window.size, []).append(hop)
        for some in by_size.values():
            self._score(some, self.classifier(np.stack([hop.window for hop in some if hop.window is not None])))

    def _score(self, hops: Sequence[Hop], probabilities: Probabilities) -> None:
        """Give hops the shares of their voices, and the probability that there is a voice at all."""
        assert self.classifier is not None
        columns = [self.classifier.labels.index(label) for label in self.voices]
        of_voices = np.maximum(probabilities[:, columns], 1e-7).astype(np.float64)
        p_voice = of_voices.sum(axis=1)
        shares = (of_voices / p_voice[:, np.newaxis]).tolist()
        for hop, share, of_hop in zip(hops, shares, p_voice.tolist(), strict=True):
            hop.scores, hop.p_voice = dict(zip(self.voices, share, strict=True)), min(of_hop, 1.0)

"""Keep a stretch of one voice while it lasts: its speech and evidence, and where it may be cut in two."""

import math
from collections import deque

from voxgender.decisions.evidence import Evidence
from voxgender.decisions.turns import Hop, Turn, find_turn
from voxgender.protocol import Label, Segment, Voice

BLIP_S = 0.1
"""Less speech than this is a click or a breath: no segment."""

MEMORY_S = 2.0
"""Time constant with which the label of the moment forgets."""

HOLD = 0.75
"""Pooled probability below which a voice that was named becomes uncertain."""

VOICE = 0.3
"""Mean probability of a voice below which speech that the gate let through is taken for noise. The gate has heard
speech already, and screams and sobs are little like a voice to a model that learned from readers."""


class Stretch:
    """A stretch of one voice, as far as is known, from its first speech to its last.

    Keeps the latest hops one by one, since a change of voice is noticed only after it happened and then lies
    among them; all older ones are folded into sums.
    """

    def __init__(self, start: float, *, window_s: float) -> None:
        self.start = start
        self.voice: Voice | None = None
        """The voice named while it lasted."""
        self.now = Evidence()
        """Of the last seconds, for the label of the moment."""
        self._window_s = window_s
        self._lookback_s = 1.5 * window_s
        self._recent: deque[Hop] = deque()
        self._window_end = -math.inf
        self._folded = Evidence()
        self._folded_speech_s = 0.0
        self._folded_end = start

    @property
    def end(self) -> float:
        """End of its last speech."""
        return max((span.end for hop in self._recent for span in hop.speech), default=self._folded_end)

    @property
    def speech_s(self) -> float:
        return self._folded_speech_s + sum(hop.speech_s for hop in self._recent)

    @property
    def evidence(self) -> Evidence:
        """Evidence of all its windows."""
        pooled = Evidence()
        pooled.merge(self._folded)
        for hop in self._recent:
            _pool(hop, pooled)
        return pooled

    def add(self, hop: Hop) -> None:
        if self._recent:
            self.now.fade(math.exp((self._recent[-1].end - hop.end) / MEMORY_S))
        if hop.odds is not None:
            unheard = min(1.0, (hop.end - self._window_end) / self._window_s)
            hop = hop._replace(unheard=unheard)
            self._window_end = hop.end
        self._recent.append(hop)
        if hop.speech:
            # A window of silence may tell of the word before it, but must not bring a label back.
            _pool(hop, self.now)
        while self._recent[0].end <= hop.end - self._lookback_s - self._window_s:
            self._fold(self._recent.popleft())

    def name(self, *, last: Voice | None) -> None:
        """Name the voice once it is plain. One that differs from the ``last`` heard has to be heard twice."""
        if self.voice is not None or self.now.voice < VOICE:
            return
        label, _ = self.now.verdict()
        if label == "uncertain" or (self.now.windows == 1 and last not in (None, label)):
            return
        self.voice = label

    def turn(self) -> "Stretch | None":
        """Give up the part in which another voice than the one named speaks, once that is plain."""
        if self.voice is None:
            return None
        turn = find_turn(self._recent, self.voice, window_s=self._window_s, lookback_s=self._lookback_s)
        return None if turn is None else self._cut(turn)

    def verdict(self) -> tuple[Label, float]:
        """Return the present label and its confidence."""
        if self.now.voice < VOICE:
            return "no_speech", 1 - self.now.voice
        if self.voice is not None and (confidence := self.now.for_voice(self.voice)) >= HOLD:
            return self.voice, confidence
        return "uncertain", self.now.undecided

    @property
    def is_voice(self) -> bool:
        """True if its windows are a voice, and not noise that the gate let through."""
        return self.evidence.voice >= VOICE

    def segment(self) -> Segment | None:
        """Return the finished stretch as a segment; None if it has too little speech, or no voice."""
        if self.speech_s < BLIP_S or not self.is_voice:
            return None
        label, confidence = self.evidence.verdict()
        return Segment(start=self.start, end=self.end, label=label, confidence=confidence)

    def _cut(self, turn: Turn) -> "Stretch | None":
        """Split before the turn's hop. A window goes to the voice that speaks at its middle."""
        hops = list(self._recent)
        kept = hops[: turn.hop]
        rest = Stretch(hops[turn.hop].speech[0].start, window_s=self._window_s)
        rest.voice = turn.voice
        for hop in hops[turn.hop :]:
            if hop.end - self._window_s / 2 < rest.start:
                kept.append(hop._replace(speech=()))
                hop = hop._replace(odds=None)
            rest.add(hop)
        if rest.now.voice < VOICE or rest.now.for_voice(turn.voice) < HOLD:
            return None
        self._recent = deque(kept)
        return rest

    def _fold(self, hop: Hop) -> None:
        _pool(hop, self._folded)
        self._folded_speech_s += hop.speech_s
        if hop.speech:
            self._folded_end = hop.speech[-1].end


def _pool(hop: Hop, evidence: Evidence) -> None:
    if hop.odds is not None:
        evidence.add(hop.odds, voice=hop.voice, unheard=hop.unheard)

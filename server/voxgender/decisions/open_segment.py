"""Keep a segment while it is open: its speech, its evidence, and the point at which another voice took over."""

import math
from collections import deque

from voxgender.decisions.change_point import PAUSE_S, ChangePoint, HopEvidence, find_change_point
from voxgender.decisions.evidence import Evidence
from voxgender.protocol import Label, Segment, VoiceLabel

MIN_SPEECH_S = 0.1
"""Least speech of a segment; less is a click or a breath."""

MEMORY_S = 2.0
"""Time constant with which windows fade from the evidence for the present label."""

MIN_KEPT_PROBABILITY = 0.75
"""Pooled probability below which a voice that was named becomes uncertain."""

MIN_P_VOICE = 0.3
"""Mean probability of a voice below which speech that the gate found is taken for noise. It is low, because a model
that learned from readers finds little voice in screams and sobs."""


class OpenSegment:
    """Speech of one voice, as far as is known, that may go on.

    Keeps the latest hops one by one, because a change of voice is found only after it happened, among them. Older hops
    are added up.
    """

    def __init__(self, start: float, *, window_s: float) -> None:
        self.start = start
        self.voice: VoiceLabel | None = None
        """The voice, once it is named."""
        self.recent = Evidence()
        """Evidence of the last seconds, for the present label."""
        self._window_s = window_s
        self._lookback_s = 1.5 * window_s
        self._hops: deque[HopEvidence] = deque()
        self._window_end = -math.inf
        self._older = Evidence()
        self._older_speech_s = 0.0
        self._older_end = start

    @property
    def end(self) -> float:
        """End of its last speech."""
        return max((span.end for hop in self._hops for span in hop.speech), default=self._older_end)

    @property
    def speech_s(self) -> float:
        return self._older_speech_s + sum(hop.speech_s for hop in self._hops)

    @property
    def evidence(self) -> Evidence:
        """Evidence of all its windows."""
        pooled = Evidence()
        pooled.merge(self._older)
        for hop in self._hops:
            _pool(hop, pooled)
        return pooled

    def add(self, hop: HopEvidence) -> None:
        if self._hops:
            self.recent.fade(math.exp((self._hops[-1].end - hop.end) / MEMORY_S))
        if hop.log_odds is not None:
            new_share = min(1.0, (hop.end - self._window_end) / self._window_s)
            hop = hop._replace(new_share=new_share)
            self._window_end = hop.end
        self._hops.append(hop)
        if hop.speech:
            # A window that ends in silence belongs to the word before it, and must not bring a label back.
            _pool(hop, self.recent)
        while self._hops[0].end <= hop.end - self._lookback_s - self._window_s:
            self._add_older(self._hops.popleft())

    def name_voice(self, *, last: VoiceLabel | None) -> None:
        """Name the voice once it is probable enough; two windows are needed if it differs from the call's ``last``."""
        if self.voice is not None or self.recent.p_voice < MIN_P_VOICE:
            return
        label, _ = self.recent.decide()
        if label == "uncertain" or (self.recent.windows == 1 and last not in (None, label)):
            return
        self.voice = label

    def split_at_change(self) -> "OpenSegment | None":
        """Split off and return the part in which another voice than the named one speaks, if there is such a part."""
        if self.voice is None:
            return None
        change = find_change_point(
            self._hops, self.voice, self._older, window_s=self._window_s, lookback_s=self._lookback_s
        )
        return None if change is None else self._split(change)

    def decide(self) -> tuple[Label, float]:
        """Return the present label and its confidence."""
        if self.recent.p_voice < MIN_P_VOICE:
            return "no_speech", 1 - self.recent.p_voice
        if self.voice is not None and (confidence := self.recent.probability_of(self.voice)) >= MIN_KEPT_PROBABILITY:
            return self.voice, confidence
        return "uncertain", self.recent.uncertainty

    @property
    def is_voice(self) -> bool:
        """True if its windows hold a voice, and not noise that the gate took for speech."""
        return self.evidence.p_voice >= MIN_P_VOICE

    def finish(self) -> Segment | None:
        """Return the finished segment; None if it has too little speech, or no voice."""
        if self.speech_s < MIN_SPEECH_S or not self.is_voice:
            return None
        label, confidence = self.evidence.decide()
        return Segment(start=self.start, end=self.end, label=label, confidence=confidence)

    def _split(self, change: ChangePoint) -> "OpenSegment | None":
        """Split where another voice takes over. A window goes to the voice that speaks at its middle.

        After a pause all windows are the new voice's: they do not reach back over it.
        """
        hops = list(self._hops)
        reach_s = 0.0 if hops[change.hop].pause_s >= PAUSE_S else self._window_s / 2
        kept = hops[: change.hop]
        rest = OpenSegment(hops[change.hop].speech[0].start, window_s=self._window_s)
        rest.voice = change.voice
        for hop in hops[change.hop :]:
            if hop.end - reach_s < rest.start:
                kept.append(hop._replace(speech=()))
                hop = hop._replace(log_odds=None)
            rest.add(hop)
        if rest.recent.p_voice < MIN_P_VOICE or rest.recent.decide(min_probability=0.0)[0] != change.voice:
            return None
        self._hops = deque(kept)
        return rest

    def _add_older(self, hop: HopEvidence) -> None:
        _pool(hop, self._older)
        self._older_speech_s += hop.speech_s
        if hop.speech:
            self._older_end = hop.speech[-1].end


def _pool(hop: HopEvidence, evidence: Evidence) -> None:
    if hop.log_odds is not None:
        evidence.add(hop.log_odds, p_voice=hop.p_voice, new_share=hop.new_share)

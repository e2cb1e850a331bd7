"""Decide label and events of one call, hop by hop."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from voxgender.decisions.change_point import HopEvidence
from voxgender.decisions.evidence import Evidence, log_odds
from voxgender.decisions.observation import Observation, Span
from voxgender.decisions.open_segment import OpenSegment
from voxgender.decisions.speech_totals import SpeechTotals
from voxgender.protocol import NO_VOICE, Change, Label, Segment, Summary, VoiceLabel

SILENCE_S = 0.5
"""Silence that ends a segment."""

HANGOVER_S = 0.3
"""Time for which a label outlives speech, so that it does not flicker in the pauses between words."""

_ROUNDING_S = 1e-6


class Decision(NamedTuple):
    """The label at the end of a hop, and the events in it.

    ``confidence`` of a voice is its pooled probability over the last seconds. That of ``uncertain`` is 1 if all voices
    are equally likely, and falls to 0 as one becomes certain. That of ``no_speech`` is 1 if the gate finds no speech,
    else the probability that there is no voice in it.
    """

    label: Label
    confidence: float
    events: tuple[Change | Segment, ...]


class Decider:
    """Decides labels, changes of voice, segments and summary of one call, in constant memory."""

    def __init__(self, *, window_s: float) -> None:
        """Begin a call. ``window_s`` is the length of a scored window; the first of an utterance may be shorter."""
        self._window_s = window_s
        self._now = 0.0
        self._speech_end = 0.0
        self._open: OpenSegment | None = None
        self._voice: VoiceLabel | None = None
        self._finished: Evidence | None = None
        self._totals = SpeechTotals()

    def observe(self, observation: Observation) -> Decision:
        """Add one hop, and decide the label at its end.

        A change's time is that at which the new voice began: the start of its speech or, if it took over without a
        pause, the hop that explains the windows best, up to 1.5 windows in the past.

        Raises:
            ValueError: the hop ends before it starts, or starts before the last one ended.
        """
        start, end, speech, scores, p_voice = observation
        if not self._now - _ROUNDING_S <= start <= end:
            raise ValueError(f"Hops come in order, but {start} to {end} s came after {self._now} s.")
        self._now = end
        events: list[Change | Segment] = []
        odds = None if scores is None else log_odds(scores)

        utterances = list(_utterances(speech, after=self._speech_end, until=end))
        for index, spans in enumerate(utterances or [()]):
            latest = index >= len(utterances) - 1
            pause_s = spans[0].start - self._speech_end if spans else 0.0
            if pause_s >= SILENCE_S:
                events += self._close()
            if self._open is None and spans:
                self._open = OpenSegment(spans[0].start, window_s=self._window_s)
            if self._open is not None:
                self._open.add(HopEvidence(end, spans, pause_s, odds if latest else None, p_voice))
            if spans:
                self._speech_end = spans[-1].end

        if utterances:
            events += self._update_voice()
        elif end - self._speech_end >= SILENCE_S:
            events += self._close()
        if self._open is None or end - self._speech_end >= HANGOVER_S:
            return Decision("no_speech", 1.0, tuple(events))
        return Decision(*self._open.decide(), tuple(events))

    def finalize(self) -> tuple[Change | Segment, ...]:
        """End the present segment, if there is one; a voice that goes on begins another."""
        return tuple(self._close())

    def finish(self, at: float) -> tuple[Change | Segment | Summary, ...]:
        """End the call at ``at`` seconds: its last segment, if one is open, and the summary."""
        return *self._close(), self._totals.summary(duration=max(at, self._now))

    def overall(self) -> tuple[Label, float] | None:
        """Return label and confidence of the whole call, from all windows pooled.

        The label is the likeliest voice, however little likelier, and the confidence its probability. The label is
        ``uncertain`` if no voice is likelier than all others. None is returned if there was no voice.
        """
        evidence = _merged(self._finished, self._open)
        return None if evidence is None else evidence.decide(min_probability=0.0)

    def _update_voice(self) -> Iterator[Change | Segment]:
        """Name the voice of the open segment, and split the segment if the voice has changed."""
        segment = self._open
        if segment is None:
            return
        segment.name_voice(last=self._voice)
        if (rest := segment.split_at_change()) is not None:
            yield from self._close()
            self._open = segment = rest
        voice = segment.voice
        if voice is not None:
            yield from self._change_to(voice, at=segment.start, confidence=segment.recent.probability_of(voice))

    def _close(self) -> Iterator[Change | Segment]:
        closing, self._open = self._open, None
        if closing is None:
            return
        self._finished = _merged(self._finished, closing)
        if (segment := closing.finish()) is None:
            return
        self._totals.add(segment, speech_s=closing.speech_s)
        # A word that ended before its first window was scored has had no change yet.
        if segment.label not in NO_VOICE:
            yield from self._change_to(segment.label, at=segment.start, confidence=segment.confidence)
        yield segment

    def _change_to(self, voice: VoiceLabel, *, at: float, confidence: float) -> Iterator[Change]:
        if voice != self._voice:
            yield Change(at=at, from_=self._voice or "no_speech", to=voice, confidence=confidence)
            self._voice = voice


def _merged(finished: Evidence | None, segment: OpenSegment | None) -> Evidence | None:
    """Merge the evidence of ``segment`` into a copy of ``finished``, if the segment is a voice."""
    if segment is None or not segment.is_voice:
        return finished
    merged = Evidence()
    for evidence in (finished, segment.evidence):
        if evidence is not None:
            merged.merge(evidence)
    return merged


def _utterances(speech: Iterable[Span], *, after: float, until: float) -> Iterator[tuple[Span, ...]]:
    """Group the spans of one hop, split at silence that ends a segment; cut them to ``after`` and ``until``."""
    spans: list[Span] = []
    for span in speech:
        span = Span(max(span.start, after), min(span.end, until))
        if span.end <= span.start:
            continue
        if spans and span.start - after >= SILENCE_S:
            yield tuple(spans)
            spans = []
        spans.append(span)
        after = span.end
    if spans:
        yield tuple(spans)

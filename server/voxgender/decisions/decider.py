"""Decide label and events of one call, hop by hop."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from voxgender.decisions.evidence import Evidence, log_odds
from voxgender.decisions.observation import Observation, Span
from voxgender.decisions.stretch import Stretch
from voxgender.decisions.summary import Totals
from voxgender.decisions.turns import Hop
from voxgender.protocol import Change, Label, Segment, Summary, Voice

SILENCE_S = 0.5
"""Silence that ends a stretch of one voice."""

HANGOVER_S = 0.3
"""How long a label outlives speech, so that the pauses between words do not flicker."""

_ROUNDING_S = 1e-6


class Verdict(NamedTuple):
    """The label at the end of a hop, and the events in it.

    ``confidence`` of a voice is its pooled probability over the last seconds; of ``uncertain``, how undecided
    that is, 1 where nothing is known yet; of ``no_speech``, 1 where the gate hears no speech, else the
    probability that what it hears is no voice.
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
        self._stretch: Stretch | None = None
        self._voice: Voice | None = None
        self._whole: Evidence | None = None
        self._totals = Totals()

    def observe(self, observation: Observation) -> Verdict:
        """Take in one hop.

        A change is reckoned from where the new voice began: at the start of its speech or, where it took over
        without a pause, at the hop that explains the windows best, up to 1.5 windows in the past.

        Raises:
            ValueError: the hop ends before it starts, or starts before the last one ended.
        """
        start, end, speech, scores, voice = observation
        if not self._now - _ROUNDING_S <= start <= end:
            raise ValueError(f"Hops come in order, but {start} to {end} s came after {self._now} s.")
        self._now = end
        events: list[Change | Segment] = []
        odds = None if scores is None else log_odds(scores)

        utterances = list(_utterances(speech, after=self._speech_end, until=end))
        for index, spans in enumerate(utterances or [()]):
            latest = index >= len(utterances) - 1
            pause = spans[0].start - self._speech_end if spans else 0.0
            if pause >= SILENCE_S:
                events += self._close()
            if self._stretch is None and spans:
                self._stretch = Stretch(spans[0].start, window_s=self._window_s)
            if self._stretch is not None:
                self._stretch.add(Hop(end, spans, pause, odds if latest else None, voice))
            if spans:
                self._speech_end = spans[-1].end

        if utterances:
            events += self._listen()
        elif end - self._speech_end >= SILENCE_S:
            events += self._close()
        if self._stretch is None or end - self._speech_end >= HANGOVER_S:
            return Verdict("no_speech", 1.0, tuple(events))
        return Verdict(*self._stretch.verdict(), tuple(events))

    def settle(self) -> tuple[Change | Segment, ...]:
        """End the present segment, if there is one; a voice that goes on begins another."""
        return tuple(self._close())

    def finish(self, at: float) -> tuple[Change | Segment | Summary, ...]:
        """End the call at ``at`` seconds: its last segment, if one is open, and the summary."""
        return *self._close(), self._totals.summary(duration=max(at, self._now))

    def overall(self) -> tuple[Label, float] | None:
        """Return label and confidence of the whole call, from all windows pooled.

        The likelier voice, however little likelier, and its probability; ``uncertain`` where no window tells;
        None where no voice was found.
        """
        heard = _merged(self._whole, self._stretch)
        return None if heard is None else heard.verdict(certain=0.5)

    def _listen(self) -> Iterator[Change | Segment]:
        """Name the voice of the open stretch, and cut the stretch where the voice changes."""
        stretch = self._stretch
        if stretch is None:
            return
        stretch.name(last=self._voice)
        if (rest := stretch.turn()) is not None:
            yield from self._close()
            self._stretch = stretch = rest
        voice = stretch.voice
        if voice is not None:
            yield from self._hear(voice, at=stretch.start, confidence=stretch.now.for_voice(voice))

    def _close(self) -> Iterator[Change | Segment]:
        stretch, self._stretch = self._stretch, None
        if stretch is None:
            return
        self._whole = _merged(self._whole, stretch)
        if (segment := stretch.segment()) is None:
            return
        self._totals.add(segment, speech_s=stretch.speech_s)
        # A word that was over before its first window could be judged has had no change told yet.
        if segment.label in ("male", "female"):
            yield from self._hear(segment.label, at=segment.start, confidence=segment.confidence)
        yield segment

    def _hear(self, voice: Voice, *, at: float, confidence: float) -> Iterator[Change]:
        if voice != self._voice:
            yield Change(at=at, from_=self._voice or "no_speech", to=voice, confidence=confidence)
            self._voice = voice


def _merged(whole: Evidence | None, stretch: Stretch | None) -> Evidence | None:
    """Merge the evidence of ``stretch`` into a copy of ``whole``, if the stretch is a voice."""
    if stretch is None or not stretch.is_voice:
        return whole
    merged = Evidence()
    for evidence in (whole, stretch.evidence):
        if evidence is not None:
            merged.merge(evidence)
    return merged


def _utterances(speech: Iterable[Span], *, after: float, until: float) -> Iterator[tuple[Span, ...]]:
    """Group the spans of one hop, split at silence that ends a stretch; cut them to ``after`` and ``until``."""
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

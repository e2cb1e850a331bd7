"""Find the change point: the hop from which one voice has taken over from another without a pause between them.

A window across a change holds both voices and scores between them. So the scores slide from one side to the other
within a window's length, while the score of a wrong window jumps. The test tells a slide from a jump: it finds a
change two windows after the middle of the slide, and is misled by few pairs of wrong windows. It is a generalised
likelihood ratio over the hop in which the new voice may have begun (Basseville and Nikiforov, Detection of Abrupt
Changes, 1993, section 2.4) with squared errors that saturate, so that no window decides it alone.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from voxgender.decisions.evidence import LogOdds, between, likeliest, probability
from voxgender.decisions.observation import Span
from voxgender.protocol import VoiceLabel

PURE_LOG_ODDS = 4.0
"""Log-odds expected of a window with one voice alone. A window of two voices in equal parts is expected at 0."""

MAX_COST = 0.15
"""Largest cost of one window, as a squared error of probability."""

MIN_GAIN = 0.25
"""Cost that a change must save against no change: that of two windows, the second half saturated."""

PAUSE_S = 0.25
"""Silence between utterances. Windows do not reach back over it, and speakers often change in it."""

MIN_GAIN_AFTER_PAUSE = 0.2
"""Cost that a change must save if it follows a pause."""

_ROUNDING_S = 1e-6


class HopEvidence(NamedTuple):
    """Speech and evidence of one hop that is over."""

    end: float
    speech: tuple[Span, ...]
    pause_s: float
    """Silence before its first speech."""
    log_odds: LogOdds | None
    """Log-odds of the window that ends with it, clipped; None if none was scored."""
    p_voice: float
    """Probability that this window holds a voice."""
    new_share: float = 1.0
    """Share of that window that no window before it held."""

    @property
    def speech_s(self) -> float:
        return sum(span.end - span.start for span in self.speech)


class ChangePoint(NamedTuple):
    """The point at which another voice takes over."""

    hop: int
    """Index of the hop from which it speaks."""
    voice: VoiceLabel


def find_change_point(
    hops: Sequence[HopEvidence], voice: VoiceLabel, *, window_s: float, lookback_s: float
) -> ChangePoint | None:
    """Find the hop from which another voice speaks: the likeliest of the last window.

    Args:
        hops: the latest hops of one segment, oldest first, reaching back ``window_s`` further than ``lookback_s`` if
            the segment does.
        voice: the voice that spoke until now.
        window_s: length of the windows that were scored.
        lookback_s: how long before the last hop's end a change may lie.

    Returns:
        The hop and the voice; None if the windows are explained well enough without a change.
    """
    last = hops[-1]
    other = None if last.log_odds is None else likeliest(last.log_odds)
    if last.log_odds is None or other is None or between(voice, other, last.log_odds) >= 0:
        return None
    ends = [hop.end for hop in hops]
    speech_s = list(accumulate((hop.speech_s for hop in hops), initial=0.0))
    after_pause = list(accumulate((index if hop.pause_s >= PAUSE_S else 0 for index, hop in enumerate(hops)), max))
    windows = [
        (
            index,
            max(bisect_right(ends, hop.end - window_s + _ROUNDING_S), after_pause[index]),
            probability(between(other, voice, hop.log_odds)),
            hop.p_voice,
        )
        for index, hop in enumerate(hops)
        if hop.log_odds is not None
    ]

    def gain(candidate: int) -> float:
        total = 0.0
        for index, first, p_other, p_voice in windows:
            if index < candidate:
                continue
            # The window may hold only the end of its first hop.
            in_window = min(window_s, speech_s[index + 1] - speech_s[first])
            by_other = min(in_window, speech_s[index + 1] - speech_s[max(candidate, first)])
            share = by_other / in_window if in_window > 0 else 1.0
            total += p_voice * (_cost(p_other, 0.0) - _cost(p_other, share))
        return total

    best, first_hop = 0.0, None
    for candidate, hop in enumerate(hops):
        if not hop.speech or hop.end <= last.end - lookback_s:
            continue
        margin = gain(candidate) - (MIN_GAIN_AFTER_PAUSE if hop.pause_s >= PAUSE_S else MIN_GAIN)
        if margin >= best:
            best, first_hop = margin, candidate
    return None if first_hop is None else ChangePoint(first_hop, other)


def _cost(score: float, share: float) -> float:
    """Return how badly a ``share`` of the other voice explains a window's ``score`` for that voice."""
    return min((score - probability(PURE_LOG_ODDS * (2 * share - 1))) ** 2, MAX_COST)

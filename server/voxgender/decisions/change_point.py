"""Find the change point: the hop from which one voice has taken over from another without a pause between them.

A window across a change holds both voices, and says at first that nothing changed. The test adds up what the windows
say for another voice, and begins anew whenever the voice until now explains them better (the cumulative sum of Page,
Continuous Inspection Schemes, 1954; Basseville and Nikiforov, Detection of Abrupt Changes, 1993, section 2.2). What a
window counts depends on how surely the windows before it told the voice until now: if that voice wavers, it takes more
to say that another one speaks.
"""

from collections.abc import Sequence
from typing import NamedTuple

from voxgender.decisions.evidence import MAX_LOG_ODDS, Evidence, LogOdds, between, likeliest
from voxgender.decisions.observation import Span
from voxgender.protocol import VoiceLabel

MIN_SUM = 0.7
"""Sum of log-odds for another voice, in windows that share no audio, with which it is told. A hop's sure window has
0.58, so it takes two of those; each of a wavering voice's counts less."""

MAX_NEW_SHARE = 0.2
"""Largest share of itself that a window counts for, so that after a pause, too, none decides alone."""

SURE_WINDOWS = 1.0
"""Sure windows of the voice until now that are taken for granted while it is new."""

PAUSE_S = 0.25
"""Silence between utterances. Windows do not reach back over it, and speakers often change in it."""

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
    hops: Sequence[HopEvidence], voice: VoiceLabel, older: Evidence, *, window_s: float, lookback_s: float
) -> ChangePoint | None:
    """Find the hop from which another voice speaks: the likeliest of the last window.

    Args:
        hops: the latest hops of one segment, oldest first.
        voice: the voice that spoke until now.
        older: evidence of the segment's hops before them.
        window_s: length of the windows that were scored.
        lookback_s: how long before the last hop's end the first window of the new voice may end.

    Returns:
        The hop and the voice; None if the windows are explained well enough without a change.
    """
    last = hops[-1]
    other = None if last.log_odds is None else likeliest(last.log_odds)
    if last.log_odds is None or other is None or between(voice, other, last.log_odds) >= 0:
        return None
    weight = SURE_WINDOWS + older.weight
    log_odds = SURE_WINDOWS * MAX_LOG_ODDS + between(voice, other, older.weighted_log_odds)
    total, first = 0.0, None
    unexplained: list[tuple[float, float]] = []
    for index, hop in enumerate(hops):
        if hop.log_odds is None:
            continue
        against = between(other, voice, hop.log_odds)
        unexplained.append((hop.p_voice, -hop.p_voice * against))
        if hop.end > last.end - lookback_s:
            mean = min(max(0.0, log_odds / weight), MAX_LOG_ODDS)
            total += hop.p_voice * _log_likelihood_ratio(against, mean) * min(hop.new_share, MAX_NEW_SHARE)
            first = index if first is None else first
        if total <= 0:
            total, first = 0.0, None
            weight += sum(p_voice for p_voice, _ in unexplained)
            log_odds += sum(odds for _, odds in unexplained)
            unexplained.clear()
    return None if first is None or total < MIN_SUM else ChangePoint(_first_hop(hops, first, window_s), other)


def _log_likelihood_ratio(against: float, mean: float) -> float:
    """Return how much likelier a window is of another, sure voice than of one whose windows have this mean log-odds.

    Both scatter alike about their means; the ratio is the log-odds themselves if the voice until now is sure too.
    """
    return (MAX_LOG_ODDS + mean) / (2 * MAX_LOG_ODDS) * (against - (MAX_LOG_ODDS - mean) / 2)


def _first_hop(hops: Sequence[HopEvidence], window: int, window_s: float) -> int:
    """Return the hop at the middle of the new voice's first window, or the first after a pause in it."""
    start = hops[window].end - window_s / 2
    hop = window
    while hop > 0 and hops[hop - 1].end > start + _ROUNDING_S and hops[hop].pause_s < PAUSE_S:
        hop -= 1
    return next(index for index in range(hop, len(hops)) if hops[index].speech)

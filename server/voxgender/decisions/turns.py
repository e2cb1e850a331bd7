"""Find where one voice takes over from another without a pause between them.

A window that spans a take-over holds both voices and scores between them, so that the scores slide from one
side to the other within a window's length, where that of a wrong window jumps. The test tells a slide from a
jump: it notices a change two windows after the middle of the slide, and yet lets most pairs of wrong windows
pass. It is a generalised likelihood ratio over the hop in which the new voice may have begun (Basseville and
Nikiforov, Detection of Abrupt Changes, 1993, section 2.4) with squared errors that saturate, so that no window
carries it alone.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from voxgender.decisions.evidence import Odds, between, leading, probability
from voxgender.decisions.observation import Span
from voxgender.protocol import Voice

SLOPE = 4.0
"""Log-odds expected of a window of one voice alone. A window shared in halves is expected at 0."""

SATURATION = 0.15
"""Largest cost of one window, as a squared error of probability."""

GAIN = 0.29
"""How much better a change must explain the windows than no change does: two windows, nearly saturated."""

PAUSE_S = 0.25
"""Silence between utterances, as the gate has it. Windows do not reach back over it; people take turns in it."""

GAIN_AFTER_PAUSE = 0.2

_ROUNDING_S = 1e-6


class Hop(NamedTuple):
    """An observation as it is remembered: its speech, and the evidence of the window that ends with it."""

    end: float
    speech: tuple[Span, ...]
    pause: float
    """Seconds of silence before its first speech."""
    odds: Odds | None
    """Log-odds of the window that ends with it, as in `Evidence`."""
    voice: float
    unheard: float = 1.0
    """Share of that window that no window before it held."""

    @property
    def speech_s(self) -> float:
        return sum(span.end - span.start for span in self.speech)


class Turn(NamedTuple):
    """Another voice takes over."""

    hop: int
    """Index of the hop from which it speaks."""
    voice: Voice


def find_turn(hops: Sequence[Hop], held: Voice, *, window_s: float, lookback_s: float) -> Turn | None:
    """Find the hop from which another voice speaks: the likeliest of the last window.

    Args:
        hops: the latest hops of one stretch of speech, oldest first, reaching back ``window_s`` further than
            ``lookback_s`` where the stretch does.
        held: the voice that spoke until now.
        window_s: length of the windows that were scored.
        lookback_s: how long before the last hop's end a change may lie.

    Returns:
        The hop and the voice; None while the windows are explained well enough without a change.
    """
    last = hops[-1]
    if last.odds is None or (taker := leading(last.odds)) is None or between(held, taker, last.odds) >= 0:
        return None
    ends = [hop.end for hop in hops]
    said = list(accumulate((hop.speech_s for hop in hops), initial=0.0))
    after_pause = list(accumulate((index if hop.pause >= PAUSE_S else 0 for index, hop in enumerate(hops)), max))
    windows = [
        (
            index,
            max(bisect_right(ends, hop.end - window_s + _ROUNDING_S), after_pause[index]),
            probability(between(taker, held, hop.odds)),
            hop.voice,
        )
        for index, hop in enumerate(hops)
        if hop.odds is not None
    ]

    def gain(candidate: int) -> float:
        total = 0.0
        for index, first, other, voice in windows:
            if index < candidate:
                continue
            # The window may hold only the end of its first hop.
            in_window = min(window_s, said[index + 1] - said[first])
            by_other = min(in_window, said[index + 1] - said[max(candidate, first)])
            share = by_other / in_window if in_window > 0 else 1.0
            total += voice * (_cost(other, 0.0) - _cost(other, share))
        return total

    best, turn = 0.0, None
    for candidate, hop in enumerate(hops):
        if not hop.speech or hop.end <= last.end - lookback_s:
            continue
        margin = gain(candidate) - (GAIN_AFTER_PAUSE if hop.pause >= PAUSE_S else GAIN)
        if margin >= best:
            best, turn = margin, candidate
    return None if turn is None else Turn(turn, taker)


def _cost(score: float, share: float) -> float:
    """Return how badly a ``share`` of the other voice explains a window's ``score`` for that voice."""
    return min((score - probability(SLOPE * (2 * share - 1))) ** 2, SATURATION)

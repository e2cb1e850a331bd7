"""Made-up calls: who speaks when, and what a model that is sometimes wrong makes of it."""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

from voxgender.decisions import Decider, Decision, Observation, Span
from voxgender.protocol import Scores, VoiceLabel

HOP_S = 0.192
WINDOW_S = 1.0
FIRST_WINDOW_S = 0.5


class Part(NamedTuple):
    """One voice, or silence, for a while."""

    voice: VoiceLabel | None
    seconds: float


Noise = Callable[[float], float]
"""A model's errors: its log-odds for male as a function of a window's true ones."""


def scores(log_odds: float) -> Scores:
    male = 1 / (1 + math.exp(-log_odds))
    return Scores(male=male, female=1 - male)


def flawed(*, wrong: float, seed: int, clarity: float = 4.0) -> Noise:
    """A model whose log-odds scatter, so that of one voice's windows the share ``wrong`` is taken for the other's.

    Errors are those of hops, and a window has the mean of its hops': windows overlap, so wrong ones come in bursts. Of
    the embedded model's, 3.5 % are wrong, and of those after a wrong one 64 %.
    """
    dice = random.Random(seed)
    hops = round(WINDOW_S / HOP_S)
    errors: deque[float] = deque((dice.gauss(0, 1) for _ in range(hops)), maxlen=hops)
    spread = -clarity / NormalDist().inv_cdf(wrong) if wrong else 0.0

    def hear(log_odds: float) -> float:
        errors.append(dice.gauss(0, 1))
        return log_odds + spread * sum(errors) / math.sqrt(hops)

    return hear


def converse(
    turns: Sequence[Part], *, clarity: float = 4.0, noise: Noise = lambda odds: odds, offset: float = 0.0
) -> Iterator[Observation]:
    """Play a conversation as the audio side would tell it, the first hop ``offset`` seconds short.

    A window reaches back no further than the pause before it, and waits for half a second of speech. What it
    holds of each voice crosses over linearly. Its log-odds cross over from ``-clarity`` to ``clarity`` in half that
    time, as the embedded model's do: it is sure of a window of which three quarters are one voice's.
    """
    spoken: list[tuple[Span, VoiceLabel | None]] = []
    at = 0.0
    for turn in turns:
        spoken.append((Span(at, at + turn.seconds), turn.voice))
        at += turn.seconds
    utterance: float | None = None
    start, end = 0.0, HOP_S - offset
    while end <= at:
        speech = tuple(
            Span(max(start, span.start), min(end, span.end))
            for span, voice in spoken
            if voice and span.start < end and span.end > start
        )
        pauses = [span.end for span, voice in spoken if voice is None and span.end <= end]
        utterance = pauses[-1] if pauses else 0.0
        heard = None
        if speech and speech[-1].end == end and end - utterance >= FIRST_WINDOW_S:
            size = WINDOW_S if end - utterance >= WINDOW_S else FIRST_WINDOW_S
            share = sum(
                max(0.0, min(end, span.end) - max(end - size, span.start)) * (1 if voice == "male" else -1)
                for span, voice in spoken
                if voice
            )
            heard = scores(noise(clarity * max(-1.0, min(1.0, 2 * share / size))))
        yield Observation(start, end, speech, heard)
        start, end = end, end + HOP_S


def decide(observations: Iterator[Observation] | Sequence[Observation]) -> tuple[Decider, list[Decision]]:
    decider = Decider(window_s=WINDOW_S)
    return decider, [decider.observe(observation) for observation in observations]

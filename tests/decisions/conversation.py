"""Made-up calls: who speaks when, and what a model that is sometimes wrong makes of it."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
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


def flawed(*, wrong: float, seed: int, spread: float = 0.7) -> Noise:
    """A model whose log-odds scatter by ``spread``, and are turned round for the share ``wrong`` of windows."""
    dice = random.Random(seed)

    def hear(log_odds: float) -> float:
        heard = dice.gauss(log_odds, spread)
        return -heard if dice.random() < wrong else heard

    return hear


def converse(
    turns: Sequence[Part], *, clarity: float = 4.0, noise: Noise = lambda odds: odds, offset: float = 0.0
) -> Iterator[Observation]:
    """Play a conversation as the audio side would tell it, the first hop ``offset`` seconds short.

    A window reaches back no further than the pause before it, and waits for half a second of speech. What it
    holds of each voice crosses over linearly, and so do the log-odds of a model that pools over time, from
    ``-clarity`` to ``clarity``.
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
            heard = scores(noise(clarity * share / size))
        yield Observation(start, end, speech, heard)
        start, end = end, end + HOP_S


def decide(observations: Iterator[Observation] | Sequence[Observation]) -> tuple[Decider, list[Decision]]:
    decider = Decider(window_s=WINDOW_S)
    return decider, [decider.observe(observation) for observation in observations]

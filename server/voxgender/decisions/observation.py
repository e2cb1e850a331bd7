"""Define the input of the decisions: what speech gate and model found in one hop."""

from typing import NamedTuple

from voxgender.protocol import Scores


class Span(NamedTuple):
    """A span of time, in seconds of the call's audio."""

    start: float
    end: float


class Observation(NamedTuple):
    """Speech and scores of one hop. Hops come in order and mostly touch; a gap counts as silence."""

    start: float
    end: float

    speech: tuple[Span, ...]
    """Speech inside this hop, from the gate, in order."""

    scores: Scores | None
    """Scores of the window that ends at ``end``; None if none was scored: no speech, too little, or dropped."""

    p_voice: float = 1.0
    """Probability that the window holds a voice at all: 1 - p(noise)."""

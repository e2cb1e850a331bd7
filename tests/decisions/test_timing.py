"""Voices get their label soon, and seldom a wrong one: the figures that the constants were chosen by.

Time here is the call's own, so the figures are exact and the same on every machine.
"""

import random
from statistics import median

import pytest

from voxgender.decisions import Decider, Observation, Span
from voxgender.protocol import Change, VoiceLabel

from .conversation import HOP_S, WINDOW_S, Part, converse, flawed, scores

CLARITIES = (3.0, 4.0, 6.0)
"""Log-odds of a window; of the embedded model's, half are above 3 on each corpus."""


def delays(*turns: Part, to: VoiceLabel, clarity: float, wrong: float, calls: int = 60) -> list[float]:
    """Seconds from the start of the last turn to the change ``to`` its voice; a call without one counts 9."""
    began = sum(turn.seconds for turn in turns[:-1])
    dice = random.Random(7)
    heard: list[float] = []
    for seed in range(calls):
        decider = Decider(window_s=WINDOW_S)
        offset = dice.random() * HOP_S * 0.99
        call = converse(turns, clarity=clarity, noise=flawed(wrong=wrong, seed=seed, clarity=clarity), offset=offset)
        heard.append(
            next(
                (
                    observation.end - began
                    for observation in call
                    for event in decider.observe(observation).events
                    if isinstance(event, Change) and event.to == to and observation.end > began
                ),
                9.0,
            )
        )
    return heard


@pytest.mark.parametrize("clarity", CLARITIES)
def test_a_voice_is_heard_within_700_ms(clarity: float) -> None:
    assert median(delays(Part(None, 0.3), Part("female", 3), to="female", clarity=clarity, wrong=0.0)) <= 0.7


@pytest.mark.parametrize("clarity", CLARITIES)
@pytest.mark.parametrize(("wrong", "within_s"), [(0.0, 0.9), (0.07, 1.0)])
def test_a_voice_that_takes_over_is_heard_within_a_second(clarity: float, wrong: float, within_s: float) -> None:
    heard = delays(Part("male", 3.5), Part("female", 3), to="female", clarity=clarity, wrong=wrong)
    assert median(heard) <= within_s


def test_a_pause_makes_it_sooner() -> None:
    man, woman = Part("male", 3.5), Part("female", 3)
    at_once = delays(man, woman, to="female", clarity=6.0, wrong=0.0)
    for pause in (0.3, 1.0):
        parted = delays(man, Part(None, pause), woman, to="female", clarity=6.0, wrong=0.0)
        assert sum(parted) < sum(at_once)
        assert max(parted) < 0.9


@pytest.mark.parametrize(("wrong", "per_minute"), [(0.035, 0.5), (0.07, 1.8)])
@pytest.mark.parametrize("clarity", [3.0, 4.0])
def test_wrong_windows_rarely_make_a_false_change(wrong: float, per_minute: float, clarity: float) -> None:
    minutes = 40
    noise = flawed(wrong=wrong, seed=11, clarity=clarity)
    decider = Decider(window_s=WINDOW_S)
    false = 0
    for hop in range(round(minutes * 60 / HOP_S)):
        span = Span(hop * HOP_S, (hop + 1) * HOP_S)
        events = decider.observe(Observation(*span, (span,), scores(noise(clarity)))).events
        false += sum(isinstance(event, Change) and event.to == "female" for event in events)
    assert false / minutes <= per_minute

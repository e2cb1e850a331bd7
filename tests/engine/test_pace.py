"""A model that is too slow for its calls, on a clock that only the model moves on."""

import numpy as np
import pytest

from tests.engine.models import Pitch
from tests.support import Samples, silence
from voxgender.audio.frames import Wave
from voxgender.engine import HOP_MS, Engine
from voxgender.engine.call_state import CallState, Hop
from voxgender.engine.pace import MAX_BEHIND, RECOVERED_S, Pace
from voxgender.inference.classifier import Probabilities, Windows
from voxgender.peer.voices import MAN, speak

HOP_S = HOP_MS / 1_000


class Slow(Pitch):
    """Takes a fixed time for a window, on its own clock."""

    name = "slow"

    def __init__(self, cost_s: float) -> None:
        super().__init__()
        self.cost_s = cost_s
        self.now = 1_000.0

    def __call__(self, windows: Windows) -> Probabilities:
        self.now += self.cost_s * len(windows)
        return super().__call__(windows)


class Calls:
    """Calls that speak without a pause; each turn takes all that was said since the one before."""

    def __init__(self, model: Slow, count: int, speech: Samples) -> None:
        self.model = model
        self.engine = Engine(model, clock=lambda: self.model.now)
        self.voices = [self.engine.new_state() for _ in range(count)]
        self.turns_s: list[float] = []
        self.classified = dict.fromkeys(self.voices, 0)
        self.skipped = dict.fromkeys(self.voices, 0)
        self._speech = speech
        self._said_s = 0.0
        self._heard = 0

    def turn(self) -> None:
        began = self.model.now
        until = round((self._said_s + HOP_S) * 16_000)
        self._said_s += HOP_S
        audio = np.take(self._speech, range(self._heard, until), mode="wrap")
        self._heard = until
        hops = {voice: [*voice.place([Wave(audio)]), *voice.cut(exact=True)] for voice in self.voices}
        self.engine.process(hops)
        for voice, some in hops.items():
            self.classified[voice] += sum(hop.scores is not None for hop in some)
            self.skipped[voice] += sum(hop.skipped for hop in some)
        self.turns_s.append(self.model.now - began)
        # The next turn begins when the hop is over, or late, with more than a hop.
        late_s = self.model.now - began - HOP_S
        self._said_s += max(0.0, late_s)
        self.model.now = max(self.model.now, began + HOP_S)

    def turns(self, seconds: float) -> None:
        end = self.model.now + seconds
        while self.model.now < end:
            self.turn()


@pytest.fixture(scope="module")
def speech() -> Samples:
    return speak(MAN, 8.0)


@pytest.mark.parametrize("count", [3, 10])
@pytest.mark.parametrize("cost_s", [0.07, 0.15, 0.25])
def test_every_call_gets_the_same_share_and_no_turn_takes_longer_than_it_must(
    count: int, cost_s: float, speech: Samples
) -> None:
    """Three calls of wav2vec2-large were told late by 727 ms, and ten would have waited for two seconds a turn."""
    calls = Calls(Slow(cost_s), count, speech)
    calls.turns(4.0)
    calls.turns_s.clear()
    before = dict(calls.classified)
    calls.turns(30.0)
    classified = [calls.classified[voice] - before[voice] for voice in calls.voices]
    assert max(classified) - min(classified) <= 2
    # The model is not idle: it classifies as many as it can.
    assert sum(classified) * cost_s > 0.6 * min(30.0, count * cost_s * 30.0 / HOP_S)
    assert max(calls.turns_s) <= max(HOP_S, cost_s) + 1e-6
    rate = calls.engine.hello("me").windows_per_s
    assert isinstance(rate, float)
    assert rate == pytest.approx(np.mean(classified) / 30.0, rel=0.35)


def test_a_call_that_joins_is_served_like_the_others(speech: Samples) -> None:
    calls = Calls(Slow(0.15), 4, speech)
    calls.turns(5.0)
    late = calls.engine.new_state()
    calls.voices.append(late)
    calls.classified[late] = calls.skipped[late] = 0
    before = dict(calls.classified)
    calls.turns(30.0)
    classified = [calls.classified[voice] - before[voice] for voice in calls.voices]
    assert max(classified) - min(classified) <= 3


def test_a_call_that_was_silent_when_the_model_was_swapped_is_served_like_the_others(speech: Samples) -> None:
    """Windows were counted from 0 again: the others were served alone until they had caught up with its count."""
    calls = Calls(Slow(0.15), 4, speech)
    calls.turns(30.0)
    after = Slow(0.15)
    after.now = calls.model.now
    calls.model = after
    calls.engine.swap(after)
    silent = calls.voices.pop()
    calls.turn()
    calls.voices.append(silent)
    before = dict(calls.classified)
    calls.turns(20.0)
    classified = [calls.classified[voice] - before[voice] for voice in calls.voices]
    assert max(classified) - min(classified) <= 3


def test_a_model_that_keeps_up_leaves_nothing_out(speech: Samples) -> None:
    calls = Calls(Slow(0.01), 10, speech)
    calls.turns(8.0)
    assert set(calls.skipped.values()) == {0}
    assert calls.engine.hello("me").windows_per_s == pytest.approx(1 / HOP_S)


def test_after_a_stall_of_the_machine_nothing_is_left_out_for_long(speech: Samples) -> None:
    calls = Calls(Slow(0.01), 10, speech)
    calls.turns(3.0)
    calls.model.cost_s = 0.5
    calls.turn()
    calls.model.cost_s = 0.01
    skipped = dict(calls.skipped)
    calls.turns(3.0)
    # All but what the calls fell behind by during the stall itself.
    assert max(calls.skipped[voice] - skipped[voice] for voice in calls.voices) <= 5.0 / HOP_S + 1


def hop() -> Hop:
    return Hop(0.0, HOP_S, silence(HOP_S), window=silence(1.0))


def voices(count: int) -> list[CallState]:
    return [Engine(None).new_state() for _ in range(count)]


def test_the_newest_window_of_every_call_comes_before_the_second_of_any() -> None:
    pace = Pace(HOP_S)
    pace.took(1, HOP_S / 3)
    waiting = {voice: [hop(), hop()] for voice in voices(2)}
    chosen = pace.choose(waiting, 0.0)
    assert len(chosen) == 3
    assert all(some[-1] in chosen for some in waiting.values())


def test_of_a_call_far_behind_only_the_newest_counts() -> None:
    (voice,) = voices(1)
    some = [hop() for _ in range(MAX_BEHIND + 1)]
    assert Pace(HOP_S).choose({voice: some}, 0.0) == [some[-1]]
    assert [one.skipped for one in some] == [True] * MAX_BEHIND + [False]


def test_the_rate_is_whole_again_once_nothing_was_left_out_for_a_while() -> None:
    pace = Pace(HOP_S)
    pace.took(1, HOP_S)
    for _ in range(9):
        pace.choose({voice: [hop()] for voice in voices(4)}, 5.0)
    assert pace.is_short(5.0)
    assert pace.windows_per_s(5.0) < 0.5 / HOP_S
    assert pace.windows_per_s(5.0 + RECOVERED_S) == pytest.approx(1 / HOP_S)
    pace.choose({voice: [hop()] for voice in voices(1)}, 6.0 + RECOVERED_S)
    assert pace.windows_per_s(6.0 + RECOVERED_S) == pytest.approx(1 / HOP_S)

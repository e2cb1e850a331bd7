"""One call's hops: cut on its clock, with their speech, their windows and what is decided of them."""

from itertools import pairwise

import numpy as np
import pytest

from tests.engine.models import Pitch
from tests.support import Samples, silence, sine
from voxgender.audio.activity import FRAME, VoiceActivity
from voxgender.audio.frames import Wave
from voxgender.engine.call_state import CallState, Hop
from voxgender.engine.engine import Engine
from voxgender.peer.voices import WOMAN, speak
from voxgender.protocol import Scores, Segment, Summary

FULL, SHORT, HOP_FRAMES = 16_000, 8_000, 6
HOP = HOP_FRAMES * FRAME


@pytest.fixture
def state() -> CallState:
    return CallState(window=FULL, short=SHORT, hop_frames=HOP_FRAMES)


def hops_of(state: CallState, audio: Samples, *, each: int = HOP, exact: bool = True) -> list[Hop]:
    hops: list[Hop] = []
    for start in range(0, audio.size, each):
        hops += state.place([Wave(audio[start : start + each])])
        hops += state.cut(exact=exact)
    return [*hops, *state.finish()]


def frames_in(hops: list[Hop]) -> list[float]:
    return [hop.samples.size / FRAME for hop in hops]


def test_hops_are_equal_and_touch_whatever_comes_at_once(state: CallState) -> None:
    tone = sine(2.0)
    *hops, last, end = hops_of(state, tone, each=700)
    assert frames_in(hops) == [6.0] * 10
    assert (last.end_s, end.end_s) == pytest.approx((2.0, 2.0))
    assert end.last
    assert all(after.start_s == pytest.approx(before.end_s) for before, after in pairwise([*hops, last, end]))
    np.testing.assert_array_equal(np.concatenate([hop.samples for hop in (*hops, last)]), tone)


def test_a_turn_takes_whole_frames_and_what_is_left_waits(state: CallState) -> None:
    state.place([Wave(silence(0.2))])
    assert frames_in(list(state.cut())) == [6.0]
    assert state.waiting_s == pytest.approx(0.008)


def test_a_turn_that_comes_early_takes_what_there_is(state: CallState) -> None:
    state.place([Wave(silence(0.1))])
    assert frames_in(list(state.cut())) == [3.0]
    assert list(state.cut()) == []


def test_a_clock_that_runs_fast_is_caught_up_with_frame_by_frame(state: CallState) -> None:
    state.place([Wave(silence(8 * 0.032))])
    assert frames_in(list(state.cut())) == [7.0]


def test_many_hops_at_once_are_cut_apart(state: CallState) -> None:
    state.place([Wave(silence(20 * 0.032))])
    assert frames_in(list(state.cut())) == [7.0, 7.0, 6.0]


def test_a_gap_too_long_to_fill_ends_a_hop_and_later_ones_end_with_frames_of_the_gate_again(state: CallState) -> None:
    state.place([Wave(silence(0.1), 0)])
    *filled, short = state.place([Wave(silence(0.3), 16_000 * 60)])
    assert short.end_s == pytest.approx(2.1)
    (after,) = state.cut()
    assert after.start_s == pytest.approx(60.0)
    assert sum(hop.samples.size for hop in (*filled, short, after)) % FRAME == 0


def test_speech_is_told_in_seconds_of_the_call_and_inside_its_hop(state: CallState) -> None:
    first, second, end = (
        Hop(0.0, 0.192, silence(0.192)),
        Hop(0.192, 0.384, silence(0.192)),
        Hop(0.384, 0.384, silence(0)),
    )
    end.last = True
    # The gate judged 212 samples that came with the hop before.
    second.speech = [(-212, 1_000), (2_000, 3_000)]
    for hop in (first, second, end):
        state.decide(hop)
    segment, summary = end.closing
    assert isinstance(segment, Segment)
    assert isinstance(summary, Summary)
    assert segment.start == pytest.approx(0.192, abs=0.001)
    assert segment.end == pytest.approx(0.192 + 3_000 / 16_000, abs=0.001)
    assert summary.speech == pytest.approx(2_000 / 16_000, abs=0.001)


def test_a_voice_becomes_a_change_a_segment_and_a_summary(state: CallState) -> None:
    hops = [Hop(number * 0.192, (number + 1) * 0.192, silence(0.192)) for number in range(16)]
    for hop in hops[1:11]:
        hop.speech, hop.scores = [(0, HOP)], Scores(male=0.02, female=0.98)
    hops.append(Hop(16 * 0.192, 16 * 0.192, silence(0), last=True))
    for hop in hops:
        state.decide(hop)
    changes = [event for hop in hops if hop.decision for event in hop.decision.events if event.type == "change"]
    assert [(change.from_, change.to) for change in changes] == [("no_speech", "female")]
    (summary,) = hops[-1].closing
    assert isinstance(summary, Summary)
    assert summary.duration == pytest.approx(16 * 0.192, abs=0.001)
    assert summary.female == pytest.approx(10 * 0.192, abs=0.001)
    overall = state.overall()
    assert overall is not None
    assert overall[0] == "female"


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("each", [1_024, 1_600, HOP, 5_000])
def test_a_window_is_the_audio_that_ends_with_its_hop(state: CallState, man: Samples, each: int, exact: bool) -> None:
    activity = VoiceActivity()
    windows = 0
    for hop in hops_of(state, man, each=each, exact=exact):
        (judgement,) = activity([state.frames(hop)], [state.gate.state])
        state.find_speech(hop, judgement)
        if hop.window is None:
            continue
        windows += 1
        assert hop.window.size in (FULL, SHORT)
        end = round(hop.end_s * 16_000)
        np.testing.assert_array_equal(hop.window, man[end - hop.window.size : end])
    assert windows > 8


@pytest.mark.parametrize("cut", [0, 100, 3_000])
def test_the_end_of_a_call_judges_a_word_that_was_never_judged(cut: int) -> None:
    word = np.concatenate([silence(1.0), speak(WOMAN, 0.6)[: 4_800 + cut]]).astype(np.float32)
    engine = Engine(Pitch())
    state = engine.new_state()
    hops = hops_of(state, word)
    for hop in hops:
        engine.process({state: [hop]})
    scored = [hop.scores for hop in hops if hop.scores]
    assert scored
    assert all(scores["female"] > 0.9 for scores in scored)

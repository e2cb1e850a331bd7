from fractions import Fraction

import numpy as np
import pytest
from av.audio.frame import AudioFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Samples, frame, silence, sine
from voxgender.audio.timeline import MAX_FILL_S, MAX_GAP_S, TOLERANCE_S, Timeline

MS = 16
"""Samples."""
HELD = 40
"""More samples than the resampler holds back."""


def at(*starts_s: float, each_s: float = 0.02, rate: int = 16_000) -> list[AudioFrame]:
    return [frame(np.full(round(each_s * rate), 0.5), rate=rate, at_s=start_s) for start_s in starts_s]


def place(*made: AudioFrame) -> Samples:
    """Return all samples, put in one frame at a time, without the time that was skipped."""
    timeline = Timeline()
    chunks = [chunk for one in made for chunk in timeline.place([one])]
    return np.concatenate([chunk.samples for chunk in (*chunks, timeline.flush())])


def test_frames_that_follow_one_another_are_left_alone() -> None:
    heard = place(*at(7.0, 7.02, 7.04))
    assert heard.size == 60 * MS
    assert heard.min() == heard.max()


def test_a_gap_is_filled_to_the_sample() -> None:
    heard = place(*at(0.0, 0.02, 0.1, 0.12))
    np.testing.assert_array_equal(np.flatnonzero(heard == 0), np.arange(40 * MS, 100 * MS))
    assert heard.size == 140 * MS


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_a_gap_is_filled_to_the_sample_whatever_the_rate(rate: int) -> None:
    heard = place(*at(0.0, 0.02, 0.1, 0.12, rate=rate))
    assert heard.size == pytest.approx(140 * MS, abs=1)
    assert np.count_nonzero(np.abs(heard) < 0.01) == pytest.approx(60 * MS, abs=HELD)


def test_frames_at_once_and_one_by_one_make_the_same() -> None:
    made = at(0.0, 0.02, 0.4, 0.42, 0.8)
    timeline = Timeline()
    at_once = [chunk.samples for chunk in timeline.place(made)]
    np.testing.assert_array_equal(np.concatenate([*at_once, timeline.flush().samples]), place(*made))


def test_discontinuous_transmission_keeps_the_clock() -> None:
    """Opus DTX sends one frame of 20 ms each 400 ms."""
    heard = place(*at(*(0.4 * number for number in range(10))))
    assert heard.size == round(3.62 * 16_000)


def test_timestamps_in_milliseconds_are_no_gaps() -> None:
    """1024 samples at 44.1 kHz are 23.22 ms; a container that counts in milliseconds says 23, 46, 70, …"""
    made = []
    for number in range(200):
        one = frame(np.full(1_024, 0.5), rate=44_100)
        one.pts, one.time_base = round(number * 1_024 / 44.1), Fraction(1, 1_000)
        made.append(one)
    heard = place(*made)
    assert heard.size == pytest.approx(200 * 1_024 / 44_100 * 16_000, abs=2)
    assert (heard[HELD:-HELD] > 0.4).all()


def test_what_is_rounded_away_does_not_add_up() -> None:
    """A sender whose frames are 4 ms short each would lose a fifth of the call's time."""
    heard = place(*at(*(0.024 * number for number in range(1_000))))
    assert heard.size / 16_000 == pytest.approx(24.0, abs=0.01)


def test_timestamps_that_fall_behind_insert_nothing() -> None:
    heard = place(*at(*(0.019 * number for number in range(100))))
    assert heard.size == 100 * 20 * MS


def test_frames_without_timestamps_follow_one_another() -> None:
    made = [frame(np.full(320, 0.5)) for _ in range(5)]
    assert place(*made).size == 5 * 320


def test_a_pts_without_a_time_base_is_no_timestamp() -> None:
    made = [frame(np.full(320, 0.5)) for _ in range(5)]
    for number, one in enumerate(made):
        one.pts = 90_000 * number
    assert place(*made).size == 5 * 320


def test_timestamps_that_come_and_go_are_no_gaps() -> None:
    heard = place(*at(0.0), frame(np.full(320, 0.5)), *at(90.0, 90.02))
    assert heard.size == 4 * 320


@pytest.mark.parametrize("jump_s", [-0.02, -10.0, -100_000.0, MAX_GAP_S + 1])
def test_a_clock_that_was_reset_is_no_gap_and_goes_on_from_there(jump_s: float) -> None:
    start_s = 200_000.0
    heard = place(*at(start_s, start_s + 0.02 + jump_s, start_s + 0.04 + jump_s, start_s + 0.14 + jump_s))
    assert heard.size == (60 + 80 + 20) * MS


def test_a_gap_too_long_to_fill_is_skipped_with_the_clock_true() -> None:
    timeline = Timeline()
    chunks = timeline.place(at(0.0, 100.0, 100.02))
    lengths = [(chunk.samples.size / 16_000, chunk.skipped_s) for chunk in chunks]
    assert lengths == [
        (0.02, 0.0),
        (MAX_FILL_S, pytest.approx(100.0 - 0.02 - MAX_FILL_S)),
        (0.04, 0.0),
    ]


@pytest.mark.parametrize("gap_s", [1.0, 1.3, 30.0])
def test_silence_filled_in_while_nothing_came_is_not_filled_in_again(gap_s: float) -> None:
    timeline = Timeline()
    timeline.place(at(0.0))
    timeline.pause(0.5)
    timeline.pause(0.5)
    chunks = timeline.place(at(0.02 + gap_s))
    assert sum(s.samples.size / 16_000 + s.skipped_s for s in chunks) == pytest.approx(gap_s - 1.0 + 0.02)


def test_a_pause_longer_than_the_longest_gap_is_still_one() -> None:
    timeline = Timeline()
    timeline.place(at(0.0))
    timeline.pause(2 * MAX_GAP_S)
    chunks = timeline.place(at(0.02 + 2 * MAX_GAP_S, 0.54 + 2 * MAX_GAP_S))
    assert sum(chunk.samples.size for chunk in chunks) == (20 + 500 + 20) * MS


def test_a_burst_that_was_only_late_is_heard_whole() -> None:
    timeline = Timeline()
    timeline.place(at(0.0))
    timeline.pause(1.0)
    chunks = timeline.place(at(0.02, 0.04, 0.06))
    assert [(s.samples.size, s.skipped_s) for s in chunks] == [(60 * MS, 0.0)]


def test_the_next_gap_after_a_late_burst_counts_whole() -> None:
    timeline = Timeline()
    timeline.place(at(0.0))
    timeline.pause(1.0)
    timeline.place(at(0.02))
    chunks = timeline.place(at(0.54))
    assert sum(s.samples.size for s in chunks) == (500 + 20) * MS


def test_a_pause_before_the_first_frame_is_no_debt() -> None:
    timeline = Timeline()
    timeline.pause(1.0)
    timeline.place(at(0.0))
    assert sum(s.samples.size for s in timeline.place(at(0.52))) == (500 + 20) * MS


def test_a_long_pause_is_skipped_but_for_its_beginning() -> None:
    chunk = Timeline().pause(60.0)
    assert chunk.samples.size == MAX_FILL_S * 16_000
    assert chunk.skipped_s == pytest.approx(60.0 - MAX_FILL_S)


def test_flush_gives_back_what_the_resampler_holds() -> None:
    timeline = Timeline()
    made = frame(sine(0.2, rate=48_000), rate=48_000, at_s=0.0)
    size = sum(chunk.samples.size for chunk in timeline.place([made]))
    assert 0 < timeline.flush().samples.size < HELD
    assert size < 3_200


@given(st.lists(st.floats(0.0, 1.5) | st.just(0.0) | st.floats(0.0, TOLERANCE_S), min_size=1, max_size=30))
def test_a_second_of_the_call_is_a_second_of_samples(gaps_s: list[float]) -> None:
    starts_s, end_s = [0.0], 0.02
    for gap_s in gaps_s:
        starts_s.append(end_s + gap_s)
        end_s = starts_s[-1] + 0.02
    heard = place(*at(*starts_s))
    assert heard.size / 16_000 == pytest.approx(end_s, abs=TOLERANCE_S + 0.001)


def test_silence_in_a_frame_is_sound_like_any_other() -> None:
    assert place(frame(silence(0.02), at_s=0.0)).size == 20 * MS

"""The figures of decision 0060 are only as good as what scores them: who spoke when against what was told."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.benchmarks.speakers.clustering import MOST_VOICES, Rule, Told, Window, told_of
from tests.benchmarks.speakers.conversations import Turn
from tests.benchmarks.speakers.scoring import equal_error_rate, score
from voxgender.decisions import Span

RULE = Rule(threshold=0.7, pooled=2, patience=2, evidence=4)
ANN_BEN_ANN = (Turn(0.0, 4.0, "ann"), Turn(4.0, 8.0, "ben"), Turn(8.0, 12.0, "ann"))
ALL = (Span(0.0, 12.0),)


def vectors_of(voices: Sequence[int]) -> np.ndarray:
    return np.eye(8, dtype=np.float32)[list(voices)]


def windows_of(count: int) -> list[Window]:
    """Windows of a second, every 0.2 s, of one utterance."""
    return [Window(0.2 * index, 0.2 * index + 1, index == 0, 0.0) for index in range(count)]


def test_the_truth_has_no_error_whatever_its_voices_are_called() -> None:
    found = score(ANN_BEN_ANN, ALL, [Told(0.5, 0.0, 5), Told(4.5, 4.0, 2), Told(9.0, 8.0, 5)])

    assert (found.error, found.whole_error, found.counted, found.false, found.missed) == (0, 0, 1, 0, 0)
    assert found.delays == pytest.approx([0.5, 1.0])


def test_one_voice_for_two_speakers_is_wrong_about_the_one_who_speaks_less() -> None:
    found = score(ANN_BEN_ANN, ALL, [Told(0.5, 0.0, 0)])

    assert found.whole_error == pytest.approx(1 / 3)
    assert (found.counted, found.found, found.missed) == (0, 1, 2)


def test_two_voices_for_one_speaker_are_wrong_as_well() -> None:
    found = score((Turn(0.0, 12.0, "ann"),), ALL, [Told(0.5, 0.0, 0), Told(10.0, 9.0, 1)])

    assert found.whole_error == pytest.approx(0.25)
    assert (found.counted, found.false) == (0, 1)


def test_a_change_dated_within_the_collar_costs_nothing_outside_it() -> None:
    found = score(ANN_BEN_ANN, ALL, [Told(0.5, 0.0, 0), Told(4.5, 4.2, 1), Told(9.0, 8.2, 0)])

    assert found.error == 0
    assert found.whole_error == pytest.approx(0.4 / 12)
    assert found.speech == pytest.approx(12 - 2 * 0.5)


def test_silence_is_scored_neither_way() -> None:
    found = score(ANN_BEN_ANN, (Span(0.0, 4.0), Span(8.0, 12.0)), [Told(0.5, 0.0, 0)])

    assert found.whole_speech == pytest.approx(8.0)
    assert found.whole_error == 0


def test_a_change_to_a_wrong_voice_is_false_and_the_right_one_missed() -> None:
    told = [Told(0.5, 0.0, 0), Told(4.5, 4.0, 1), Told(9.0, 8.0, 2)]

    found = score(ANN_BEN_ANN, ALL, told)

    assert (found.missed, found.false) == (1, 1)


def test_a_known_voice_comes_back_under_its_number() -> None:
    vectors = vectors_of([0] * 10 + [1] * 10 + [0] * 10)

    told = told_of(windows_of(30), vectors, RULE)

    assert [one.voice for one in told] == [0, 1, 0]


def test_a_change_is_dated_to_the_middle_of_its_first_window() -> None:
    told = told_of(windows_of(20), vectors_of([0] * 10 + [1] * 10), RULE)

    # The mean of two windows of two voices, at index 10, is like the first one still (cosine 0.71).
    assert told[1].at == pytest.approx(0.2 * 11 + 0.5)


def test_after_a_pause_a_change_is_dated_to_the_utterance() -> None:
    windows = [*windows_of(10), *(Window(5 + 0.2 * i, 6 + 0.2 * i, i == 0, 5.1) for i in range(10))]

    told = told_of(windows, vectors_of([0] * 10 + [1] * 10), RULE)

    assert told[1].at == 5.1


def test_what_is_short_opens_no_voice() -> None:
    told = told_of(windows_of(20), vectors_of([0] * 10 + [1] * 3 + [0] * 7), RULE)

    assert len(told) == 1


def test_no_more_than_six_voices_are_opened() -> None:
    voices = [voice for voice in range(8) for _ in range(10)]

    told = told_of(windows_of(80), vectors_of(voices), RULE)

    assert max(one.voice for one in told) == MOST_VOICES - 1


def test_no_speech_is_no_voice() -> None:
    assert told_of([], vectors_of([]), RULE) == []


def test_the_equal_error_rate_is_that_of_the_best_cosine_for_both_kinds() -> None:
    ten = np.arange(10) / 10

    assert equal_error_rate(ten + 5, ten) == 0
    assert equal_error_rate(ten, ten) == pytest.approx(0.5, abs=0.06)
    assert equal_error_rate(ten + 0.8, ten) == pytest.approx(0.1, abs=0.06)

import math

import pytest

from voxgender.decisions.evidence import MAX_LOG_ODDS, Evidence, log_odds, probability
from voxgender.protocol import Scores


def pooled(*windows: float, new_share: float = 0.2) -> Evidence:
    evidence = Evidence()
    for odds in windows:
        evidence.add(odds, new_share=new_share)
    return evidence


@pytest.mark.parametrize(
    ("male", "expected"), [(1.0, MAX_LOG_ODDS), (0.0, -MAX_LOG_ODDS), (0.5, 0.0), (0.75, math.log(3))]
)
def test_log_odds_are_clipped_so_that_no_window_settles_the_matter(male: float, expected: float) -> None:
    assert log_odds(Scores(male=male, female=1 - male)) == pytest.approx(expected)


def test_log_odds_ignore_what_a_model_gives_to_other_sounds() -> None:
    assert log_odds(Scores(male=0.3, female=0.1)) == pytest.approx(log_odds(Scores(male=0.75, female=0.25)))


def test_nothing_heard_is_wholly_undecided() -> None:
    assert Evidence().decide() == ("uncertain", 1.0)


def test_one_window_counts_as_it_stands() -> None:
    assert pooled(2.0).probability_of("male") == pytest.approx(probability(2.0))


def test_the_same_audio_is_not_counted_again() -> None:
    assert pooled(2.0, 2.0, 2.0, new_share=0.0).log_odds == pytest.approx(pooled(2.0).log_odds)


def test_more_audio_makes_it_surer_but_never_sure() -> None:
    second, minute, hour = (pooled(*[1.0] * windows).log_odds for windows in (5, 300, 18_000))
    assert second < minute < hour < 4.0


def test_a_window_without_a_voice_counts_less() -> None:
    noise, voice = Evidence(), Evidence()
    for evidence, probability_of_voice in ((noise, 0.1), (voice, 0.9)):
        evidence.add(3.0, p_voice=probability_of_voice)
    assert noise.log_odds < voice.log_odds
    assert noise.decide()[0] == "uncertain"
    assert (noise.p_voice, voice.p_voice) == pytest.approx((0.1, 0.9))


def test_what_has_faded_gives_way_to_what_is_new() -> None:
    evidence = pooled(*[3.0] * 20)
    evidence.fade(0.01)
    evidence.add(-2.0)
    assert evidence.likelier == "female"


def test_merging_adds_up_what_both_heard() -> None:
    merged = pooled(1.0, 2.0)
    merged.merge(pooled(-1.0, 0.5))
    assert merged.windows == 4
    assert merged.log_odds == pytest.approx(0.625 * 2.4 / 1.35)

import math

import pytest

from voxgender.decisions.evidence import (
    MAX_LOG_ODDS,
    MIN_PROBABILITY,
    Evidence,
    LogOdds,
    between,
    likeliest,
    log_odds,
    probability,
)
from voxgender.protocol import Scores


def man(odds: float) -> LogOdds:
    """A window's log-odds for a man against a woman."""
    return {"male": min(0.0, odds), "female": min(0.0, -odds)}


def odds_of(evidence: Evidence) -> float:
    return between("male", "female", evidence.log_odds)


def pooled(*windows: float, new_share: float = 0.2) -> Evidence:
    evidence = Evidence()
    for odds in windows:
        evidence.add(man(odds), new_share=new_share)
    return evidence


@pytest.mark.parametrize(
    ("male", "expected"), [(1.0, MAX_LOG_ODDS), (0.0, -MAX_LOG_ODDS), (0.5, 0.0), (0.75, math.log(3))]
)
def test_log_odds_are_clipped_so_that_no_window_settles_the_matter(male: float, expected: float) -> None:
    odds = log_odds(Scores(male=male, female=1 - male))
    assert between("male", "female", odds) == pytest.approx(expected)
    assert max(odds.values()) == 0.0


def test_log_odds_ignore_what_a_model_gives_to_other_sounds() -> None:
    assert log_odds(Scores(male=0.3, female=0.1)) == pytest.approx(log_odds(Scores(male=0.75, female=0.25)))


def test_nothing_heard_is_wholly_undecided() -> None:
    assert Evidence().decide() == ("uncertain", 1.0)


def test_one_window_counts_as_it_stands() -> None:
    assert pooled(2.0).probability_of("male") == pytest.approx(probability(2.0))


def test_the_same_audio_is_not_counted_again() -> None:
    assert odds_of(pooled(2.0, 2.0, 2.0, new_share=0.0)) == pytest.approx(odds_of(pooled(2.0)))


def test_more_audio_makes_it_surer_but_never_sure() -> None:
    second, minute, hour = (odds_of(pooled(*[1.0] * windows)) for windows in (5, 300, 18_000))
    assert second < minute < hour < 4.0


def test_a_window_without_a_voice_counts_less() -> None:
    noise, voice = Evidence(), Evidence()
    for evidence, probability_of_voice in ((noise, 0.1), (voice, 0.9)):
        evidence.add(man(3.0), p_voice=probability_of_voice)
    assert odds_of(noise) < odds_of(voice)
    assert noise.decide()[0] == "uncertain"
    assert (noise.p_voice, voice.p_voice) == pytest.approx((0.1, 0.9))


def test_what_has_faded_gives_way_to_what_is_new() -> None:
    evidence = pooled(*[3.0] * 20)
    evidence.fade(0.01)
    evidence.add(man(-2.0))
    assert evidence.decide(min_probability=0.5)[0] == "female"


def test_merging_adds_up_what_both_heard() -> None:
    merged = pooled(1.0, 2.0)
    merged.merge(pooled(-1.0, 0.5))
    assert merged.windows == 4
    assert odds_of(merged) == pytest.approx(0.625 * 2.4 / 1.35)


def test_a_window_says_no_more_among_many_voices_than_between_two() -> None:
    for count in (2, 3, 8):
        sure = {str(label): float(label == 0) for label in range(count)}
        evidence = Evidence()
        evidence.add(log_odds(sure))
        assert evidence.probability_of("0") == pytest.approx(probability(MAX_LOG_ODDS))


def test_the_likeliest_of_many_voices_is_named_once_it_is_plain() -> None:
    evidence = Evidence()
    evidence.add(log_odds({"angry": 0.7, "happy": 0.2, "sad": 0.1}))
    assert evidence.decide()[0] == "uncertain"
    assert evidence.decide(min_probability=0.0)[0] == "angry"
    assert evidence.probability_of("angry") == pytest.approx(0.7)
    evidence.add(log_odds({"angry": 0.9, "happy": 0.05, "sad": 0.05}))
    assert evidence.decide() == ("angry", evidence.probability_of("angry"))
    assert evidence.probability_of("angry") > MIN_PROBABILITY


def test_of_many_voices_none_leads_that_is_no_likelier_than_another() -> None:
    assert likeliest({"angry": 0.0, "happy": 0.0, "sad": -1.0}) is None
    assert likeliest({}) is None
    evidence = Evidence()
    evidence.add(log_odds({"angry": 1 / 3, "happy": 1 / 3, "sad": 1 / 3}))
    assert evidence.decide(min_probability=0.0)[0] == "uncertain"
    assert evidence.uncertainty == pytest.approx(1.0)

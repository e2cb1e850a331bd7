import pickle
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise

import pytest

from voxgender.decisions import Decider, Decision, Observation, Span
from voxgender.protocol import Change, Label, Scores, Segment, Summary

from .conversation import HOP_S, WINDOW_S, Part, converse, decide, flawed, scores

MAN = scores(4.0)
WOMAN = scores(-4.0)
FAINT = scores(0.3)


def hops(*plan: tuple[int, Scores | None, bool], voice: float = 1.0, start: float = 0.0) -> Iterator[Observation]:
    """So many hops with these scores and, throughout, speech or none."""
    for count, heard, speaking in plan:
        for _ in range(count):
            end = start + HOP_S
            yield Observation(start, end, (Span(start, end),) if speaking else (), heard, voice)
            start = end


def labels(decisions: Sequence[Decision]) -> list[Label]:
    return [decision.label for decision in decisions]


def changes(decisions: Sequence[Decision]) -> list[tuple[Label, Label]]:
    events = chain.from_iterable(decision.events for decision in decisions)
    return [(event.from_, event.to) for event in events if isinstance(event, Change)]


def segments(decider: Decider, decisions: Sequence[Decision], at: float = 0.0) -> list[Segment]:
    events = chain.from_iterable((*(decision.events for decision in decisions), decider.finish(at)))
    return [event for event in events if isinstance(event, Segment)]


def summary(decider: Decider, at: float = 0.0) -> Summary:
    *_, last = decider.finish(at)
    assert isinstance(last, Summary)
    return last


def overall(decider: Decider) -> tuple[str, object]:
    """The label of the whole and its confidence, which a test compares with an approximation."""
    found = decider.overall()
    assert found is not None
    return found


class TestSilence:
    def test_silence_is_no_speech_for_sure(self) -> None:
        decider, decisions = decide(hops((20, None, False)))
        assert set(decisions) == {Decision("no_speech", 1.0, ())}
        assert decider.overall() is None
        told = summary(decider)
        assert told == Summary(duration=told.duration, speech=0, male=0, female=0, uncertain=0, segments=0)
        assert told.duration == pytest.approx(20 * HOP_S)

    def test_scores_without_speech_mean_nothing(self) -> None:
        decider, decisions = decide(hops((20, MAN, False)))
        assert set(labels(decisions)) == {"no_speech"}
        assert decider.overall() is None

    def test_a_label_outlives_the_pause_between_words(self) -> None:
        _, decisions = decide(hops((8, MAN, True), (1, None, False), (8, MAN, True)))
        assert set(labels(decisions)) == {"male"}

    def test_a_label_does_not_outlive_speech_by_a_third_of_a_second(self) -> None:
        _, decisions = decide(hops((8, MAN, True), (3, None, False)))
        assert labels(decisions)[-3:] == ["male", "no_speech", "no_speech"]

    def test_a_word_that_ends_before_its_first_window_is_told_with_its_segment(self) -> None:
        """A short "yes" had a segment and no change: whoever follows changes never heard of its voice."""
        decider, decisions = decide(hops((2, None, True), (6, MAN, False)))
        assert set(labels(decisions)) == {"uncertain", "no_speech"}
        assert changes(decisions) == [("no_speech", "male")]
        assert [segment.label for segment in segments(decider, decisions)] == ["male"]

    def test_a_window_of_the_silence_after_speech_brings_no_label_back(self) -> None:
        _, decisions = decide(hops((2, scores(1.4), True), (2, scores(-1.2), True), (1, MAN, False)))
        assert labels(decisions)[-2:] == ["uncertain", "uncertain"]

    def test_a_click_leaves_no_segment(self) -> None:
        click = Observation(0.0, HOP_S, (Span(0.05, 0.11),), None)
        decider, decisions = decide([click, *hops((6, None, False), start=HOP_S)])
        assert segments(decider, decisions) == []
        assert summary(decider).speech == 0


class TestFirstVoice:
    def test_speech_not_judged_yet_is_uncertain(self) -> None:
        _, decisions = decide(hops((3, None, True)))
        assert set(labels(decisions)) == {"uncertain"}

    def test_one_clear_window_is_enough(self) -> None:
        _, decisions = decide(hops((2, None, True), (1, Scores(male=0.08, female=0.92), True)))
        assert labels(decisions) == ["uncertain", "uncertain", "female"]
        assert decisions[-1].confidence == pytest.approx(0.92)

    def test_a_borderline_window_waits_for_the_next(self) -> None:
        _, decisions = decide(hops((2, scores(1.7), True)))
        assert labels(decisions) == ["uncertain", "male"]

    def test_weak_evidence_stays_uncertain(self) -> None:
        decider, decisions = decide(hops((50, FAINT, True)))
        assert set(labels(decisions)) == {"uncertain"}
        assert [segment.label for segment in segments(decider, decisions)] == ["uncertain"]

    def test_it_changes_from_no_speech_where_it_began(self) -> None:
        _, decisions = decide(hops((4, None, False), (2, None, True), (3, MAN, True)))
        (change,) = chain.from_iterable(decision.events for decision in decisions)
        assert isinstance(change, Change)
        assert (change.from_, change.to) == ("no_speech", "male")
        assert (change.at, change.confidence) == pytest.approx((4 * HOP_S, 0.9526), abs=1e-4)


class TestHolding:
    @pytest.mark.parametrize("odd", [FAINT, scores(-0.5), WOMAN])
    def test_a_label_is_kept_through_one_odd_window(self, odd: Scores) -> None:
        _, decisions = decide(hops((10, MAN, True), (1, odd, True), (5, MAN, True)))
        assert set(labels(decisions)) == {"male"}

    def test_a_label_is_kept_through_dropped_windows(self) -> None:
        _, decisions = decide(hops((10, MAN, True), (10, None, True), (5, MAN, True)))
        assert set(labels(decisions)) == {"male"}

    def test_a_label_that_nothing_confirms_for_long_becomes_uncertain(self) -> None:
        _, decisions = decide(hops((10, MAN, True), (60, None, True)))
        assert labels(decisions)[-1] == "uncertain"

    def test_a_change_is_heard_after_dropped_windows_too(self) -> None:
        _, decisions = decide(hops((10, MAN, True), (60, None, True), (4, WOMAN, True)))
        assert labels(decisions)[-1] == "female"
        assert changes(decisions)[-1] == ("male", "female")

    def test_time_missing_between_hops_is_silence(self) -> None:
        decider, decisions = decide([*hops((10, MAN, True)), *hops((10, MAN, True), start=60.0)])
        spans = [(segment.start, segment.end) for segment in segments(decider, decisions)]
        assert spans == [pytest.approx((0, 10 * HOP_S)), pytest.approx((60, 60 + 10 * HOP_S))]

    def test_alternating_windows_do_not_alternate_the_label(self) -> None:
        _, decisions = decide(hops(*[(1, heard, True) for heard in (MAN, WOMAN) * 50]))
        assert len(changes(decisions)) <= 2


class TestChange:
    def test_a_voice_that_takes_over_cuts_the_segment_where_it_began(self) -> None:
        decider, decisions = decide(converse([Part("male", 5), Part("female", 5)]))
        assert changes(decisions) == [("no_speech", "male"), ("male", "female")]
        man, woman = segments(decider, decisions)
        assert (man.label, woman.label) == ("male", "female")
        assert man.end == woman.start == pytest.approx(5.0, abs=HOP_S)
        assert min(man.confidence, woman.confidence) > 0.95

    def test_the_change_is_dated_back_to_the_new_voice(self) -> None:
        _, decisions = decide(converse([Part("male", 5), Part("female", 5)]))
        *_, change = (e for e in chain.from_iterable(v.events for v in decisions) if isinstance(e, Change))
        assert change.at == pytest.approx(5.0, abs=HOP_S)

    def test_the_same_voice_after_silence_is_no_change(self) -> None:
        decider, decisions = decide(converse([Part("male", 3), Part(None, 3), Part("male", 3)]))
        assert changes(decisions) == [("no_speech", "male")]
        assert [segment.label for segment in segments(decider, decisions)] == ["male", "male"]

    def test_another_voice_after_silence_has_to_be_heard_twice(self) -> None:
        silence = (5, None, False)
        _, once = decide(hops((6, MAN, True), silence, (1, WOMAN, True), (4, MAN, True)))
        _, twice = decide(hops((6, MAN, True), silence, (2, WOMAN, True)))
        assert changes(once) == [("no_speech", "male")]
        assert changes(twice) == [("no_speech", "male"), ("male", "female")]
        assert labels(twice)[-2:] == ["uncertain", "female"]

    def test_a_wrong_beginning_is_put_right_without_a_segment_of_its_own(self) -> None:
        decider, decisions = decide(hops((1, WOMAN, True), (12, MAN, True)))
        assert labels(decisions)[-1] == "male"
        assert [segment.label for segment in segments(decider, decisions)] == ["male"]

    def test_a_quick_exchange_is_followed(self) -> None:
        turns = [Part("female", 2), Part("male", 2)] * 4
        decider, decisions = decide(converse(turns))
        assert [segment.label for segment in segments(decider, decisions)] == ["female", "male"] * 4


class TestNoise:
    def test_what_the_model_takes_for_noise_gets_no_gender(self) -> None:
        decider, decisions = decide(hops((20, MAN, True), voice=0.1))
        assert set(labels(decisions)) == {"no_speech"}
        assert decisions[-1].confidence == pytest.approx(0.9)
        assert segments(decider, decisions) == []
        assert decider.overall() is None
        assert summary(decider).speech == 0

    def test_noise_after_a_voice_takes_the_label_away(self) -> None:
        _, decisions = decide([*hops((10, MAN, True)), *hops((15, WOMAN, True), voice=0.05, start=10 * HOP_S)])
        assert labels(decisions)[-1] == "no_speech"
        assert changes(decisions) == [("no_speech", "male")]

    def test_a_voice_after_noise_is_heard(self) -> None:
        noise, quiet = (10, WOMAN, True), (5, None, False)
        decider, decisions = decide([*hops(noise, quiet, voice=0.05), *hops((10, MAN, True), start=15 * HOP_S)])
        assert labels(decisions)[-1] == "male"
        assert [segment.label for segment in segments(decider, decisions)] == ["male"]
        assert overall(decider) == ("male", pytest.approx(1.0, abs=0.01))


class TestWhole:
    def test_a_clip_of_one_window_has_a_label(self) -> None:
        decider, _ = decide(hops((3, scores(-0.4), True)))
        assert overall(decider) == ("female", pytest.approx(0.6, abs=0.05))

    def test_a_window_that_comes_when_the_word_is_over_counts(self) -> None:
        decider, decisions = decide(hops((2, None, True), (1, MAN, False), (5, None, False)))
        assert overall(decider) == ("male", pytest.approx(0.9526, abs=1e-4))
        assert [segment.label for segment in segments(decider, decisions)] == ["male"]

    def test_speech_that_no_window_judged_is_uncertain(self) -> None:
        decider, decisions = decide(hops((10, None, True)))
        assert decider.overall() == ("uncertain", 1.0)
        assert [segment.label for segment in segments(decider, decisions)] == ["uncertain"]

    def test_it_does_not_depend_on_the_call_being_finished(self) -> None:
        decider, _ = decide(converse([Part("male", 3), Part(None, 1), Part("male", 3)]))
        before = decider.overall()
        decider.finish(7.0)
        assert decider.overall() == before

    def test_the_summary_counts_speech_and_not_pauses(self) -> None:
        turns = [Part("male", 4), Part(None, 0.4), Part("male", 2), Part(None, 2), Part("female", 3)]
        decider, _ = decide(converse(turns))
        told = summary(decider, at=12.0)
        assert (told.duration, told.segments) == (12.0, 2)
        assert (told.male, told.female) == pytest.approx((6, 3), abs=HOP_S)
        assert told.male + told.female + told.uncertain == pytest.approx(told.speech)

    def test_nothing_is_told_twice(self) -> None:
        decider, _ = decide(converse([Part("male", 3)]))
        assert [message.type for message in decider.finish(3.0)] == ["segment", "summary"]
        assert [message.type for message in decider.finish(3.0)] == ["summary"]


@pytest.mark.parametrize("start", [0.0, 5.0])
def test_time_does_not_run_backwards(start: float) -> None:
    decider = Decider(window_s=WINDOW_S)
    decider.observe(Observation(5.0, 6.0, (), None))
    with pytest.raises(ValueError, match="in order"):
        decider.observe(Observation(start, 4.0, (), None))


def test_memory_does_not_grow_with_the_call() -> None:
    decider = Decider(window_s=WINDOW_S)
    heard = flawed(wrong=0.1, seed=1)
    sizes: list[int] = []
    for hour in range(4):
        for hop in range(1500):
            start = (hour * 1500 + hop) * HOP_S
            speech = (Span(start, start + HOP_S),) if hop % 100 < 80 else ()
            odds = 4.0 if hop % 400 < 200 else -4.0
            decider.observe(Observation(start, start + HOP_S, speech, scores(heard(odds)) if speech else None))
        sizes.append(len(pickle.dumps(decider)))
    assert all(later <= earlier * 1.02 for earlier, later in pairwise(sizes))

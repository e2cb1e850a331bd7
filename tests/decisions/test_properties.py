"""Properties that hold for every call, however wild its scores."""

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxgender.decisions import Decider, Decision, Observation, Span
from voxgender.decisions.decider import HANGOVER_S
from voxgender.protocol import Change, Label, Scores, Segment, Summary

SWAPPED: dict[Label, Label] = {
    "male": "female",
    "female": "male",
    "uncertain": "uncertain",
    "no_speech": "no_speech",
}
ROUNDING_S = 1e-6

on_a_busy_machine_too = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

probabilities = st.floats(0, 1)
# Voices last: independent hops alone would hardly ever name one.
phases = st.tuples(
    st.integers(1, 12),
    st.sampled_from(["silent", "partly", "speaking"]),
    st.sampled_from([0.01, 0.2, 0.5, 0.8, 0.99]) | probabilities,
    st.sampled_from([1.0, 1.0, 1.0, 0.1]) | probabilities,
    st.floats(0, 0.1),
)


@st.composite
def calls(draw: st.DrawFn) -> list[Observation]:
    observations: list[Observation] = []
    at = 0.0
    for count, kind, male, voice, gap in draw(st.lists(phases, max_size=10)):
        at += draw(st.sampled_from([0.0, 0.0, 0.3, 0.7, 5.0]))
        for _ in range(count):
            hop = draw(st.sampled_from([0.192, 0.192, 0.192, 0.064, 1.5]))
            speech: tuple[Span, ...] = ()
            if kind == "speaking":
                speech = (Span(at, at + hop),)
            elif kind == "partly":
                speech = (Span(at + gap * hop, at + 0.3 * hop), Span(at + 0.8 * hop, at + 0.9 * hop))
            wrong = draw(st.integers(0, 7)) == 0
            dropped = draw(st.integers(0, 7)) == 0
            heard = 1 - male if wrong else male
            scores = None if dropped else Scores(male=heard, female=1 - heard)
            observations.append(Observation(at, at + hop, speech, scores, voice))
            at += hop
    return observations


Told = list[Change | Segment | Summary]


def play(observations: list[Observation]) -> tuple[list[Decision], Told, tuple[Label, float] | None]:
    decider = Decider(window_s=1.0)
    decisions = [decider.observe(observation) for observation in observations]
    events: Told = [event for decision in decisions for event in decision.events]
    events += decider.finish(observations[-1].end if observations else 0.0)
    return decisions, events, decider.overall()


@on_a_busy_machine_too
@given(calls())
def test_segments_are_ordered_apart_and_inside_the_call(observations: list[Observation]) -> None:
    _, events, _ = play(observations)
    told = [event for event in events if isinstance(event, Segment)]
    assert all(segment.start < segment.end for segment in told)
    assert all(earlier.end <= later.start for earlier, later in pairwise(told))
    summary = events[-1]
    assert isinstance(summary, Summary)
    assert all(segment.start >= 0 and segment.end <= summary.duration for segment in told)


@on_a_busy_machine_too
@given(calls())
def test_the_summary_adds_up(observations: list[Observation]) -> None:
    _, events, _ = play(observations)
    summary = events[-1]
    assert isinstance(summary, Summary)
    told = [event for event in events if isinstance(event, Segment)]
    assert summary.segments == len(told)
    assert abs(summary.male + summary.female + summary.uncertain - summary.speech) < ROUNDING_S
    heard = sum(span.end - span.start for o in observations for span in o.speech)
    assert summary.speech <= heard + ROUNDING_S
    for label in ("male", "female", "uncertain"):
        lasted = sum(segment.end - segment.start for segment in told if segment.label == label)
        assert 0 <= getattr(summary, label) <= lasted + ROUNDING_S


@on_a_busy_machine_too
@given(calls())
def test_no_gender_while_the_gate_hears_nothing(observations: list[Observation]) -> None:
    decisions, events, _ = play(observations)
    speech_end = -HANGOVER_S
    before: Label = "no_speech"
    for observation, decision in zip(observations, decisions, strict=True):
        if observation.speech:
            speech_end = observation.speech[-1].end
        elif decision.label in ("male", "female"):
            assert observation.end - speech_end < HANGOVER_S
            assert decision.label == before
            assert not any(isinstance(event, Change) for event in decision.events)
        before = decision.label
    spans = [span for observation in observations for span in observation.speech]
    for event in events:
        if isinstance(event, Segment):
            assert any(span.start < event.end and event.start < span.end for span in spans)


@on_a_busy_machine_too
@given(calls())
def test_swapping_the_voices_swaps_the_labels_and_nothing_else(observations: list[Observation]) -> None:
    mirrored = [
        o._replace(scores=o.scores and Scores(male=o.scores["female"], female=o.scores["male"])) for o in observations
    ]
    decisions, events, overall = play(observations)
    mirrored_verdicts, mirrored_events, mirrored_overall = play(mirrored)
    assert [(SWAPPED[v.label], v.confidence) for v in decisions] == [(v.label, v.confidence) for v in mirrored_verdicts]
    assert [_swapped(event) for event in events] == mirrored_events
    assert overall == (mirrored_overall and (SWAPPED[mirrored_overall[0]], mirrored_overall[1]))


def _swapped(event: Change | Segment | Summary) -> Change | Segment | Summary:
    match event:
        case Change(at=at, from_=old, to=new, confidence=confidence):
            return Change(at=at, from_=SWAPPED[old], to=SWAPPED[new], confidence=confidence)
        case Segment(start=start, end=end, label=label, confidence=confidence):
            return Segment(start=start, end=end, label=SWAPPED[label], confidence=confidence)
        case _:
            return Summary(
                duration=event.duration,
                speech=event.speech,
                male=event.female,
                female=event.male,
                uncertain=event.uncertain,
                segments=event.segments,
            )


@on_a_busy_machine_too
@given(calls())
def test_confidence_is_a_probability_and_a_named_voice_is_the_likelier(observations: list[Observation]) -> None:
    decisions, events, overall = play(observations)
    told: list[tuple[Label, float]] = [(decision.label, decision.confidence) for decision in decisions]
    told += [(event.to, event.confidence) for event in events if isinstance(event, Change)]
    told += [(event.label, event.confidence) for event in events if isinstance(event, Segment)]
    told += [overall] if overall else []
    for label, confidence in told:
        assert 0 <= confidence <= 1
        if label in ("male", "female"):
            assert confidence >= 0.5


@on_a_busy_machine_too
@given(calls())
def test_changes_follow_one_another(observations: list[Observation]) -> None:
    decisions, _, _ = play(observations)
    heard: Label = "no_speech"
    at = 0.0
    for observation, decision in zip(observations, decisions, strict=True):
        for event in decision.events:
            if isinstance(event, Change):
                assert event.from_ == heard
                assert event.to in ("male", "female")
                assert event.to != heard
                assert at <= event.at <= observation.end
                heard, at = event.to, event.at
        if decision.label in ("male", "female"):
            assert decision.label == heard

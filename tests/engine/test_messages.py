"""Hops become messages, with the time that each stage took."""

import numpy as np
import pytest

from voxgender.decisions import Decision
from voxgender.engine.call_state import Hop
from voxgender.engine.messages import NO_MEDIA_S, WARN_EVERY_S, Messages, TurnTimes
from voxgender.protocol import Change, Message, Result, Scores, Segment, Summary, Warning, decode

HOP_S = 0.192
TURN = TurnTimes(
    arrived_at=50.0, reordered_s=0.006, pushed_at=50.010, started_at=50.013, decoded_at=50.014, gated_at=50.016,
    classified_at=50.020,
)  # fmt: skip
CHANGE = Change(at=0.1, from_="no_speech", to="female", confidence=0.9)
SEGMENT = Segment(start=0.1, end=1.0, label="female", confidence=0.9)
SUMMARY = Summary(duration=1.0, speech=0.9, male=0.0, female=0.9, uncertain=0.0, segments=1)


def hop(number: int, **more: object) -> Hop:
    made = Hop(number * HOP_S, (number + 1) * HOP_S, np.zeros(3_072, dtype=np.float32))
    made.decision = Decision("no_speech", 1.0, ())
    for name, value in more.items():
        setattr(made, name, value)
    return made


def of(messages: Messages, *hops: Hop, turn: TurnTimes | None = TURN, now: float = 50.025) -> list[Message]:
    return list(messages.of(hops, turn, now, HOP_S))


def codes(messages: list[Message]) -> list[str]:
    return [message.code for message in messages if isinstance(message, Warning)]


def test_each_hop_is_a_result_in_order() -> None:
    messages = Messages()
    told = [message for number in range(3) for message in of(messages, hop(number))]
    results = [message for message in told if isinstance(message, Result)]
    assert results == told
    assert [(result.seq, round(result.start, 3), round(result.end, 3), result.label) for result in results] == [
        (1, 0.0, 0.192, "no_speech"),
        (2, 0.192, 0.384, "no_speech"),
        (3, 0.384, 0.576, "no_speech"),
    ]


def test_a_result_is_followed_by_its_events() -> None:
    heard = hop(0, decision=Decision("female", 0.9, (CHANGE,)), scores=Scores(male=0.1, female=0.9))
    result, change = of(Messages(), heard)
    assert isinstance(result, Result)
    assert (result.label, result.confidence, result.scores) == ("female", 0.9, Scores(male=0.1, female=0.9))
    assert change is CHANGE


def test_the_end_of_a_call_is_no_result_but_its_last_words() -> None:
    end = hop(5, last=True, start_s=1.0, end_s=1.0, closing=(SEGMENT, SUMMARY))
    assert of(Messages(), end) == [SEGMENT, SUMMARY]


def test_a_turn_that_completes_no_hop_tells_nothing() -> None:
    assert of(Messages()) == []


def test_latency_is_told_with_its_parts() -> None:
    (result,) = of(Messages(), hop(0))
    assert isinstance(result, Result)
    assert result.latency_ms == pytest.approx(25.0)
    assert {stage: round(spent, 6) for stage, spent in result.stages_ms.items()} == {
        "receive": 4.0,
        "reorder": 6.0,
        "queue": 3.0,
        "decode": 1.0,
        "gate": 2.0,
        "inference": 4.0,
        "send": 5.0,
    }
    assert sum(result.stages_ms.values()) == pytest.approx(result.latency_ms)


def test_what_comes_while_a_turn_begins_makes_no_time_negative() -> None:
    """A negative number is no message: one in two hundred results of calls that were just placed was not read."""
    turn = TURN._replace(arrived_at=50.0131, pushed_at=50.0132)
    (result,) = of(Messages(), hop(0), turn=turn, now=50.0130)
    assert decode(result.to_json()) is not None
    assert min(result.stages_ms.values()) >= 0.0  # type: ignore[attr-defined]


def test_a_file_that_nobody_waits_for_has_no_latency() -> None:
    (result,) = of(Messages(), hop(0), turn=None)
    assert isinstance(result, Result)
    assert (result.latency_ms, result.stages_ms) == (0.0, {})


def test_windows_that_were_not_judged_are_told_of() -> None:
    warning, result = of(Messages(), hop(0, skipped=True))
    assert codes([warning]) == ["overloaded"]
    assert isinstance(result, Result)


def test_audio_that_was_dropped_is_told_of() -> None:
    assert codes(of(Messages(), turn=TURN._replace(dropped_s=1.0))) == ["overloaded"]


@pytest.mark.parametrize(("silence_s", "told"), [(0.0, []), (0.9, []), (NO_MEDIA_S, ["no_media"])])
def test_silence_without_packets_is_told_of_once_it_is_no_pause_any_more(silence_s: float, told: list[str]) -> None:
    """Chromium sends one packet in 850 ms while its user is silent, which was told to be no media."""
    assert codes(of(Messages(), hop(0, silence_s=silence_s))) == told


def test_a_warning_is_said_again_only_after_a_while_and_each_for_itself() -> None:
    messages = Messages()
    said: list[str] = []
    for number in range(round(2.5 * WARN_EVERY_S / HOP_S)):
        late = hop(number, skipped=True, silence_s=NO_MEDIA_S)
        said += codes(of(messages, late, now=100.0 + number * HOP_S))
    assert said == ["no_media", "overloaded"] * 3


def test_a_voice_that_is_too_quiet_is_warned_of_now_and_then() -> None:
    messages = Messages()
    assert codes(of(messages, hop(0, too_quiet=True), hop(1, too_quiet=True), now=50.0)) == ["low_level"]
    assert codes(of(messages, hop(2, too_quiet=True), now=50.0 + WARN_EVERY_S / 2)) == []
    assert codes(of(messages, hop(3, too_quiet=True), now=50.0 + WARN_EVERY_S)) == ["low_level"]

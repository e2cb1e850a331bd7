import pytest

from tests.support import silence, sine
from voxgender.analysis.judge import Heard, Judge
from voxgender.analysis.listener import WARN_EVERY_S, Listener, Moment
from voxgender.audio.hops import Hop
from voxgender.audio.windows import Picker
from voxgender.inference.batcher import Done
from voxgender.protocol import Change, Message, Result, Scores, Segment, Summary, Warning

HOP = 3_072
HOP_S = HOP / 16_000
WOMAN = Heard([(0, HOP)], Scores(male=0.02, female=0.98), 1.0)
NOBODY = Heard([], None, 1.0)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(None)


@pytest.fixture
def listener(judge: Judge) -> Listener:
    return Listener(judge, Picker(full=16_000, short=8_000, hop=HOP))


def moment(number: int, **more: bool | float) -> Moment:
    return Moment(number * HOP_S, (number + 1) * HOP_S, **more)


def done(heard: Heard) -> Done[Heard]:
    return Done(heard, 0.003, 0.002, 1)


def play(listener: Listener, *heard: Heard | None, stalled: bool = False) -> list[Message]:
    return [
        message
        for number, one in enumerate(heard)
        for message in listener.hear(moment(number, stalled=stalled), None if one is None else done(one))
    ]


def test_a_job_holds_the_hop_and_what_came_before_it(listener: Listener) -> None:
    first, second = sine(HOP_S), sine(HOP_S, hz=700)
    listener.take(Hop(0.0, first, 0.0, False))
    job = listener.take(Hop(HOP_S, second, 0.0, False))
    assert job.samples is second
    assert job.recent[-HOP:].tolist() == second.tolist()
    assert job.recent[-2 * HOP : -HOP].tolist() == first.tolist()
    assert not job.recent[: -2 * HOP].any()
    assert not job.last


def test_the_clock_is_that_of_the_last_hop_taken(listener: Listener) -> None:
    listener.take(Hop(100.0, silence(0.1), 0.0, False))
    assert listener.now == Moment(pytest.approx(100.1), pytest.approx(100.1))
    assert listener.last().last


def test_each_hop_is_a_result_in_order(listener: Listener) -> None:
    results = play(listener, NOBODY, NOBODY, NOBODY)
    assert [type(result) for result in results] == [Result] * 3
    assert [(result.seq, result.start, result.end, result.label) for result in results] == [
        (1, 0.0, 0.192, "no_speech"),
        (2, 0.192, 0.384, "no_speech"),
        (3, 0.384, 0.576, "no_speech"),
    ]


def test_a_voice_becomes_a_change_a_segment_and_a_summary(listener: Listener) -> None:
    messages = play(listener, NOBODY, *[WOMAN] * 10, *[NOBODY] * 5)
    (change,) = (message for message in messages if isinstance(message, Change))
    assert (change.from_, change.to) == ("no_speech", "female")
    assert change.at == pytest.approx(HOP_S)
    (segment,) = (message for message in messages if isinstance(message, Segment))
    assert (segment.start, segment.end) == (pytest.approx(HOP_S, abs=0.001), pytest.approx(11 * HOP_S, abs=0.001))
    listener.take(Hop(16 * HOP_S, silence(HOP_S), 0.0, False))
    (summary,) = listener.finish()
    assert isinstance(summary, Summary)
    assert summary.duration == pytest.approx(17 * HOP_S, abs=0.001)
    assert summary.female == pytest.approx(10 * HOP_S, abs=0.001)
    overall = listener.overall()
    assert overall is not None
    assert overall[0] == "female"


def test_speech_is_told_in_seconds_of_the_call_and_inside_its_hop(listener: Listener) -> None:
    # The gate judged 212 samples that came with the hop before.
    play(listener, NOBODY, Heard([(-212, 1_000), (2_000, 3_000)], None, 1.0))
    (segment, summary) = listener.finish()
    assert isinstance(segment, Segment)
    assert isinstance(summary, Summary)
    assert segment.start == pytest.approx(HOP_S, abs=0.001)
    assert segment.end == pytest.approx(HOP_S + 3_000 / 16_000, abs=0.001)
    assert summary.speech == pytest.approx(2_000 / 16_000, abs=0.001)


def test_the_end_of_a_call_is_no_result(listener: Listener) -> None:
    assert list(listener.hear(Moment(1.0, 1.0), done(WOMAN))) == []


def test_latency_is_told_with_its_parts(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxgender.analysis.listener.monotonic", lambda: 50.030)
    (result,) = listener.hear(moment(0, arrived_at=50.0, taken_at=50.010), done(NOBODY))
    assert isinstance(result, Result)
    assert result.latency_ms == 30.0
    assert result.stages_ms == {"decode": 10.0, "queue": 3.0, "inference": 2.0}


def test_latency_of_a_file_is_none(listener: Listener) -> None:
    (result,) = listener.hear(Moment(0.0, HOP_S, taken_at=50.0), done(NOBODY))
    assert isinstance(result, Result)
    assert result.latency_ms == 0.0
    assert result.stages_ms["decode"] == 0.0


def test_a_hop_that_was_dropped_is_a_warning_and_no_result(listener: Listener) -> None:
    (warning,) = play(listener, None)
    assert isinstance(warning, Warning)
    assert warning.code == "overloaded"


def test_a_window_that_was_dropped_is_a_warning_and_a_result(listener: Listener) -> None:
    warning, result = play(listener, Heard([(0, HOP)], None, 1.0, dropped=True))
    assert isinstance(warning, Warning)
    assert warning.code == "overloaded"
    assert isinstance(result, Result)
    assert result.scores is None


def test_the_clock_goes_on_over_what_was_dropped(listener: Listener) -> None:
    results = [message for message in play(listener, NOBODY, None, None, NOBODY) if isinstance(message, Result)]
    assert [(result.seq, result.start) for result in results] == [(1, 0.0), (2, 0.576)]


def test_silence_that_stands_for_packets_is_a_warning(listener: Listener) -> None:
    warning, result = play(listener, NOBODY, stalled=True)
    assert isinstance(warning, Warning)
    assert warning.code == "no_media"
    assert isinstance(result, Result)


def test_a_warning_is_said_again_only_after_a_while_and_each_for_itself(listener: Listener) -> None:
    seconds = 2.5 * WARN_EVERY_S
    messages = play(listener, *[None] * round(seconds / HOP_S), stalled=True)
    said = [message.code for message in messages if isinstance(message, Warning)]
    assert said == ["no_media", "overloaded"] * 3

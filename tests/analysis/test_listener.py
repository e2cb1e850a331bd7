from functools import partial

import numpy as np
import pytest

from tests.support import frame, frames, sine
from voxgender.analysis.beat import LEAD_S, SLACK_S, Beat, Slot
from voxgender.analysis.judge import Heard, Judge, Verdicts
from voxgender.analysis.listener import LOOK_EVERY_S, WARN_EVERY_S, Listener, Taken
from voxgender.audio.activity import FRAME_S
from voxgender.audio.hops import NO_MEDIA_S, Pause
from voxgender.audio.track import Batch
from voxgender.audio.windows import Picker
from voxgender.inference.batcher import Done
from voxgender.protocol import Change, Message, Result, Scores, Segment, Summary, Warning

HOP = 3_072
HOP_S = HOP / 16_000
NOBODY: dict[str, object] = {}
WOMAN: dict[str, object] = {"speech": [(0, HOP)], "scores": Scores(male=0.02, female=0.98)}
TAKEN = Taken(HOP, 50.010, 50.0)


@pytest.fixture
def listener() -> Listener:
    return Listener(Picker(full=16_000, short=8_000, hop=HOP), HOP)


def done(*heard: Heard) -> Done[Verdicts]:
    return Done(Verdicts(heard, decode_s=0.001, gate_s=0.002, inference_s=0.004), queue_s=0.003, run_s=0.007)


def hop(number: int, **what: object) -> Heard:
    return Heard(number * HOP_S, (number + 1) * HOP_S, **what)  # type: ignore[arg-type]


def play(listener: Listener, *heard: dict[str, object] | None, since_last_s: float = 0.0) -> list[Message]:
    messages: list[Message] = []
    for number, one in enumerate(heard):
        taken = Taken(HOP, number * HOP_S, 0.0, since_last_s=since_last_s)
        messages += listener.hear(taken, None if one is None else done(hop(number, **one, stalled=since_last_s > 0)))
    return messages


def batch(seconds: float) -> Batch:
    return Batch(lambda: frames(sine(seconds)), seconds, 1.0)


def test_what_the_next_hop_still_wants_is_known_while_audio_is_being_judged(listener: Listener) -> None:
    assert listener.missing_s() == pytest.approx(HOP_S, abs=1e-4)
    _, taken = listener.take(batch(0.1))
    assert listener.missing_s() == pytest.approx(HOP_S - 0.1, abs=1e-4)
    listener.take(Pause(0.05, 2.0))
    assert listener.missing_s() == pytest.approx(HOP_S - 0.15, abs=1e-4)
    listener.take(batch(0.1))
    assert listener.missing_s() == pytest.approx(2 * HOP_S - 0.25, abs=1e-4)
    # It was dropped: the hop has yet to come whole.
    list(listener.hear(taken, None))
    assert listener.missing_s() == pytest.approx(HOP_S - 0.15, abs=1e-4)


def test_once_judged_the_clock_of_the_call_has_the_last_word(listener: Listener) -> None:
    job, taken = listener.take(batch(0.1))
    # The packets said 100 ms, but 60 ms could be decoded.
    shorter = job._replace(arrival=Batch(lambda: frames(sine(0.06)), 0.1, 1.0))
    (verdicts,) = Judge(None)([shorter])
    list(listener.hear(taken, Done(verdicts, 0.0, 0.0)))
    assert listener.missing_s() == pytest.approx(HOP_S - 0.06, abs=1e-4)


def test_the_first_packet_is_wanted_at_once_and_says_when_hops_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[float, float]] = []

    def frames_too_late(_: Slot, due: float, *, slack_s: float) -> int:
        looked.append((due, slack_s))
        return 2

    monkeypatch.setattr(Slot, "frames_too_late", frames_too_late)
    at = 100.0
    monkeypatch.setattr("voxgender.analysis.listener.monotonic", lambda: at)
    listener = Listener(Picker(full=16_000, short=8_000, hop=HOP), HOP, Beat(HOP_S).join())
    assert listener.missing_s() == 0.0
    job, taken = listener.take(batch(0.04))
    assert looked == [(pytest.approx(1.0 + HOP_S - 0.04), 0.0)]
    # Two frames sooner than it would, even while the judge does not know yet.
    assert listener.missing_s() == pytest.approx(HOP_S - 0.064 - 0.04, abs=1e-4)
    (verdicts,) = Judge(None)([job])
    list(listener.hear(taken, Done(verdicts, 0.0, 0.0)))
    assert listener.missing_s() == pytest.approx(HOP_S - 0.064 - 0.04, abs=1e-4)
    at += LOOK_EVERY_S - 0.1
    listener.take(batch(0.04))
    assert len(looked) == 1
    at += 0.2
    # After a pause nobody knows how much of it is new.
    listener.take(batch(0.5))
    assert len(looked) == 1
    listener.take(batch(0.04))
    assert looked[1:] == [(pytest.approx(1.0 + 4 * HOP_S - 0.064 - 3 * 0.04 - 0.5), SLACK_S)]


def test_each_hop_is_a_result_in_order(listener: Listener) -> None:
    results = play(listener, NOBODY, NOBODY, NOBODY)
    assert [type(result) for result in results] == [Result] * 3
    assert [(result.seq, round(result.start, 3), round(result.end, 3), result.label) for result in results] == [
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
    (summary,) = listener.finish()
    assert isinstance(summary, Summary)
    assert summary.duration == pytest.approx(16 * HOP_S, abs=0.001)
    assert summary.female == pytest.approx(10 * HOP_S, abs=0.001)
    overall = listener.overall()
    assert overall is not None
    assert overall[0] == "female"


def test_speech_is_told_in_seconds_of_the_call_and_inside_its_hop(listener: Listener) -> None:
    # The gate judged 212 samples that came with the hop before.
    play(listener, NOBODY, {"speech": [(-212, 1_000), (2_000, 3_000)]})
    (segment, summary) = listener.finish()
    assert isinstance(segment, Segment)
    assert isinstance(summary, Summary)
    assert segment.start == pytest.approx(HOP_S, abs=0.001)
    assert segment.end == pytest.approx(HOP_S + 3_000 / 16_000, abs=0.001)
    assert summary.speech == pytest.approx(2_000 / 16_000, abs=0.001)


def test_the_end_of_a_call_is_no_result(listener: Listener) -> None:
    assert list(listener.hear(TAKEN, done(Heard(1.0, 1.0, [(0, 100)])))) == []


def test_an_arrival_that_completes_no_hop_tells_nothing(listener: Listener) -> None:
    assert list(listener.hear(TAKEN, done())) == []


def test_latency_is_told_with_its_parts(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxgender.analysis.listener.monotonic", lambda: 50.025)
    (result,) = listener.hear(TAKEN._replace(reordered_s=0.006), done(hop(0)))
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


def test_latency_of_a_file_is_none(listener: Listener) -> None:
    (result,) = listener.hear(TAKEN._replace(arrived_at=0.0), done(hop(0)))
    assert isinstance(result, Result)
    assert result.latency_ms == 0.0
    assert result.stages_ms == {}


def test_a_hop_that_was_dropped_is_a_warning_and_no_result(listener: Listener) -> None:
    (warning,) = play(listener, None)
    assert isinstance(warning, Warning)
    assert warning.code == "overloaded"


def test_a_window_that_was_dropped_is_a_warning_and_a_result(listener: Listener) -> None:
    warning, result = play(listener, {"speech": [(0, HOP)], "dropped": True})
    assert isinstance(warning, Warning)
    assert warning.code == "overloaded"
    assert isinstance(result, Result)
    assert result.scores is None


def test_the_clock_goes_on_over_what_was_dropped(listener: Listener) -> None:
    results = [message for message in play(listener, NOBODY, None, None, NOBODY) if isinstance(message, Result)]
    assert [(result.seq, round(result.start, 3)) for result in results] == [(1, 0.0), (2, 0.576)]


def test_silence_that_stands_for_packets_is_a_warning_once_it_is_longer_than_a_pause(listener: Listener) -> None:
    messages: list[Message] = []
    for number, since_last_s in enumerate((NO_MEDIA_S - HOP_S, NO_MEDIA_S)):
        taken = Taken(HOP, number * HOP_S, 0.0, since_last_s=since_last_s)
        messages += listener.hear(taken, done(hop(number, stalled=True)))
    paused, warning, result = messages
    assert isinstance(paused, Result)
    assert isinstance(warning, Warning)
    assert warning.code == "no_media"
    assert isinstance(result, Result)


def test_a_warning_is_said_again_only_after_a_while_and_each_for_itself(listener: Listener) -> None:
    seconds = 2.5 * WARN_EVERY_S
    late: dict[str, object] = {"dropped": True}
    messages = play(listener, *[late] * round(seconds / HOP_S), since_last_s=NO_MEDIA_S)
    said = [message.code for message in messages if isinstance(message, Warning)]
    assert said == ["no_media", "overloaded"] * 3


@pytest.mark.parametrize("drift", [-1e-3, 1e-3])
def test_the_hops_of_a_caller_whose_clock_drifts_go_on_ending_in_their_slot(
    monkeypatch: pytest.MonkeyPatch, drift: float
) -> None:
    """Half a second in ten minutes, far more than sound cards do: a hop would soon end at any time."""
    now = 1_000.0
    monkeypatch.setattr("voxgender.analysis.listener.monotonic", lambda: now)
    listener, judge = Listener(Picker(full=16_000, short=8_000, hop=HOP), HOP, Beat(HOP_S).join()), Judge(None)
    packet = frame(np.zeros(640))
    waiting = []
    late_s: list[float] = []
    hops: list[int] = []
    for _ in range(15_000):
        now += 0.04 * (1 + drift)
        waiting.append(packet)
        if 0.04 * len(waiting) < listener.missing_s():
            continue
        job, taken = listener.take(Batch(partial(list, waiting), 0.04 * len(waiting), now))
        waiting = []
        (verdicts,) = judge([job])
        for message in listener.hear(taken, Done(verdicts, 0.0, 0.0)):
            if isinstance(message, Result):
                late_s.append((now + 0.15) % HOP_S - 0.15)
                hops.append(round((message.end - message.start) / FRAME_S))
    # The first slot is at whole multiples of a hop. Until the next look it may be another 10 ms, and a packet may end
    # 32 ms later than the hop in it does.
    assert min(late_s) > -LEAD_S - FRAME_S - SLACK_S - 0.011
    assert max(late_s) < 0.011
    # One way hops are a frame shorter now and then, the other way four: they can only be made shorter.
    assert set(hops[1:]) == ({5, 6} if drift > 0 else {2, 6})

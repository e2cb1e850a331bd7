import math

import msgspec
import pytest

from voxgender.peer.report import Latency, Recorder
from voxgender.peer.voices import SpeakerTurn
from voxgender.protocol import Hello, Label, Result, Summary, Warning


def result(seq: int, end: float, label: Label = "male", latency_ms: float = 5.0) -> Result:
    return Result(
        seq=seq, start=max(0.0, end - 1), end=end, label=label, confidence=0.9, scores=None, latency_ms=latency_ms
    )


SENT = [100 + 0.02 * number for number in range(500)]


def test_percentiles_lie_between_neighbours() -> None:
    assert Latency.of([float(value) for value in range(101)]) == Latency(count=101, p50=50, p95=95, p99=99, max=100)
    assert Latency.of([10.0, 20.0]) == Latency(count=2, p50=15, p95=19.5, p99=19.9, max=20)
    assert Latency.of([7.0]) == Latency(count=1, p50=7, p95=7, p99=7, max=7)
    assert Latency.of([]) is None


@pytest.mark.parametrize(
    ("end", "last_packet"), [(0.02, 0), (0.021, 1), (0.192, 9), (0.2, 9), (1.0, 49), (0.1 + 0.2, 14)]
)
def test_latency_counts_from_the_packet_that_completed_the_window(end: float, last_packet: int) -> None:
    recorder = Recorder(SENT)
    recorder.add(result(0, end), SENT[last_packet] + 0.033)

    report = recorder.report(ended="played")
    assert report.latency_ms is not None
    assert report.latency_ms.p50 == pytest.approx(33.0, abs=0.05)


def test_a_window_that_was_never_sent_has_no_latency() -> None:
    recorder = Recorder(SENT[:10])
    recorder.add(result(0, 5.0), 101.0)

    report = recorder.report(ended="played")
    assert report.results == 1
    assert report.latency_ms is None
    assert report.server_latency_ms == Latency(count=1, p50=5, p95=5, p99=5, max=5)


@pytest.mark.parametrize(
    ("order", "lost", "unordered"),
    [
        ([1, 2, 3], 0, 0),
        ([0, 1, 2], 0, 0),
        ([1, 2, 5], 2, 0),
        ([1, 3, 2, 4], 0, 1),
        ([1, 5, 2, 3], 1, 2),
        ([2, 1], 0, 1),
        ([7], 0, 0),
        ([], 0, 0),
    ],
)
def test_lost_and_unordered_results_are_told_apart(order: list[int], lost: int, unordered: int) -> None:
    recorder = Recorder(SENT)
    for seq in order:
        recorder.add(result(seq, 0.2 * (seq + 1)), 110.0)

    report = recorder.report(ended="played")
    assert (report.lost_results, report.unordered_results) == (lost, unordered)


def test_a_turn_s_delay_runs_from_its_first_packet_to_the_first_right_result() -> None:
    turns = [SpeakerTurn(1.0, 3.0, "male"), SpeakerTurn(4.0, 6.0, "female")]
    recorder = Recorder(SENT, turns)
    for seq, (end, label, at) in enumerate(
        [
            (0.8, "female", 100.9),  # Before anybody spoke.
            (1.4, "uncertain", 101.45),
            (1.6, "male", 101.65),
            (2.0, "male", 102.05),
            (4.4, "male", 104.45),  # The old voice, still.
            (4.8, "female", 104.85),
            (5.0, "female", 105.05),
        ]
    ):
        recorder.add(result(seq, end, label), at)

    first, second = recorder.report(ended="played").turns
    assert first.delay_ms == pytest.approx(650, abs=0.1)
    assert second.delay_ms == pytest.approx(850, abs=0.1)


def test_any_voice_will_do_where_nobody_told_who_speaks() -> None:
    recorder = Recorder(SENT, [SpeakerTurn(1.0, math.inf, None)])
    recorder.add(result(0, 1.2, "no_speech"), 101.3)
    recorder.add(result(1, 1.4, "uncertain"), 101.5)
    recorder.add(result(2, 1.6, "female"), 101.7)

    (turn,) = recorder.report(ended="played").turns
    assert turn.delay_ms == pytest.approx(700, abs=0.1)


def test_a_turn_that_was_missed_says_so() -> None:
    recorder = Recorder(SENT, [SpeakerTurn(1.0, 3.0, "male")])
    recorder.add(result(0, 3.5, "male"), 104.0)

    (turn,) = recorder.report(ended="played").turns
    assert turn.delay_ms is None


def test_latencies_of_a_stretch_of_time() -> None:
    recorder = Recorder(SENT)
    for seq in range(5):
        recorder.add(result(seq, 0.2 * (seq + 1), latency_ms=seq), 101.0 + seq)

    ours, servers = recorder.between(102.0, 104.0)

    assert servers.tolist() == [1, 2]
    assert ours.size == 2
    assert Recorder(SENT).between(0, 1)[0].size == 0


def test_a_report_counts_messages_and_is_one_json_object() -> None:
    recorder = Recorder(SENT)
    summary = Summary(duration=10, speech=8, male=4, female=3, uncertain=1, segments=2)
    hello = Hello(session="abc", model="m", window_ms=1000, hop_ms=192)
    recorder.placed_at, recorder.connect_ms = 109.0, 12.34
    for message in (hello, hello, result(0, 0.2), Warning(code="overloaded", message="…"), summary):
        recorder.add(message, 110.0)

    report = recorder.report(ended="hung_up")

    plain = msgspec.json.decode(msgspec.json.encode(report))
    assert plain["type"] == "report"
    assert plain["session"] == "abc"
    assert plain["ended"] == "hung_up"
    assert plain["connect_ms"] == 12.3
    assert plain["seconds"] == 10.0
    assert plain["messages"] == {"hello": 2, "result": 1, "warning": 1, "summary": 1}
    assert plain["first_result_ms"] == 1000.0
    assert plain["recovery_ms"] == []
    assert recorder.warnings == {"overloaded": 1}
    assert recorder.hop_ms == 192
    assert plain["summary"]["male"] == 4


def test_a_window_that_ends_in_an_outage_has_no_latency() -> None:
    recorder = Recorder(SENT, outages=[(101.0, 101.5)])
    for number in range(10):
        end = 0.2 * (number + 1)
        recorder.add(result(number, end), 100 + end + (0.6 if 1.0 < end <= 1.5 else 0.01))

    report = recorder.report(ended="played")
    assert report.results == 10
    assert report.latency_ms is not None
    assert report.latency_ms.count == 8
    assert report.latency_ms.max < 100


def after_outage(*delays_ms: float) -> tuple[float | None, ...]:
    """Results every 0.2 s from the end of an outage on, each so late."""
    recorder = Recorder(SENT, outages=[(101.0, 101.5)])
    for number, delay_ms in enumerate(delays_ms):
        end = 1.7 + 0.2 * number
        recorder.add(result(number, end, latency_ms=0.0), SENT[round(end / 0.02) - 1] + delay_ms / 1000)
    return recorder.recovery_ms


@pytest.mark.parametrize(
    ("delays_ms", "recovery_ms"),
    [
        ((10, 10, 10), 190),
        ((250, 210, 20, 20, 20), 600),
        ((20, 250, 20, 20, 20), 600),  # One that comes in time is no recovery.
        ((20, 20), None),
        ((300, 300, 300, 300), None),
        ((), None),
    ],
)
def test_an_outage_is_over_when_results_come_in_time_again(
    delays_ms: tuple[float, ...], recovery_ms: float | None
) -> None:
    (found,) = after_outage(*delays_ms)
    assert found == (None if recovery_ms is None else pytest.approx(recovery_ms, abs=1))


def test_without_an_outage_there_is_nothing_to_recover_from() -> None:
    assert Recorder(SENT).recovery_ms == ()


def test_a_server_s_clock_that_ran_ahead_does_not_make_results_look_sooner() -> None:
    """It fills an outage with some silence too much, and then names audio that was not yet spoken."""
    recorder = Recorder(SENT)
    for number in range(5):
        end = 0.2 * (number + 1)
        spoken = end if number < 2 else end - 0.08
        recorder.add(result(number, end, latency_ms=5.0), 99.98 + spoken + 0.01)

    report = recorder.report(ended="played")
    assert report.latency_ms is not None
    assert report.latency_ms.count == 5
    assert report.latency_ms.p50 == pytest.approx(10, abs=0.1)
    assert report.latency_ms.max == pytest.approx(10, abs=0.1)

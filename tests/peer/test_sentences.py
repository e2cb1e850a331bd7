"""Reports and progress in words."""

import math

import msgspec
import pytest

from voxgender.peer.faults import Faults
from voxgender.peer.loadreport import LoadReport, Progress
from voxgender.peer.report import Latency, Report, TurnReport
from voxgender.peer.sentences import load_sentences, progress_line, sentences
from voxgender.protocol import Summary

REPORT = Report(
    session="s",
    ended="played",
    connect_ms=71.0,
    first_result_ms=340.0,
    recovery_ms=(),
    seconds=11.5,
    messages={"hello": 2, "result": 60},
    results=60,
    lost_results=1,
    unordered_results=2,
    latency_ms=Latency(count=60, p50=31.2, p95=44.0, p99=60.0, max=61.0),
    server_latency_ms=None,
    turns=(TurnReport(start=0.5, label="male", delay_ms=640.4), TurnReport(start=6.5, label="female", delay_ms=None)),
    summary=Summary(duration=11.5, speech=9.1, male=4.5, female=4.4, uncertain=0.2, segments=1),
)


def latency(p95: float) -> Latency:
    return Latency(count=100, p50=p95 / 2, p95=p95, p99=p95 * 2, max=p95 * 3)


LOAD = LoadReport(
    asked=5, up=4, held=1, not_held={"silent": 1, "dropped": 1, "late": 1}, failed={"503 full": 1}, seconds=10.0,
    results=200, results_per_s=20.0, lost_results=3, dropped_windows=7, warnings={"overloaded": 2},
    connect_ms=latency(60), first_result_ms=latency(400), latency_ms=latency(100), worst_call_ms=latency(300),
    server_latency_ms=latency(90), server_stages_ms={"queue": latency(50)}, recovery_ms=latency(450), not_recovered=2,
    server_cpu_percent=20.0, server_cpu_percent_per_call=5.0, server_memory_mb=150.0, server_memory_mb_per_call=1.25,
    callers_cpu_percent=2.0, callers_cpu_percent_per_call=0.5, faults=Faults(outage_ms=500),
)  # fmt: skip


def test_a_load_s_report_says_what_it_measured_in_words() -> None:
    assert load_sentences(LOAD) == [
        "1 of 5 calls held for 10 s",
        "  1 up, but results did not keep coming",
        "  1 up, but windows were dropped",
        "  1 up, but more than 5 % of their results came later than 200 ms",
        "  1 failed: 503 full",
        "200 results, 20 a second, 3 lost on the way",
        "7 windows dropped by the server",
        "  2 warnings: overloaded",
        "latency, last packet sent to result received: p50 50 ms, p95 100 ms, p99 200 ms",
        "  of the worst call: p50 150 ms, p95 300 ms, p99 600 ms",
        "  of that in the server: p50 45 ms, p95 90 ms, p99 180 ms",
        "    queue: p50 25 ms, p95 50 ms, p99 100 ms",
        "first result after the offer: p50 200 ms, p95 400 ms, p99 800 ms",
        "in time again after the outage: p50 225 ms, p95 450 ms, p99 900 ms",
        "2 calls were not in time again after the outage",
        "server CPU 20 % of a core, 5.00 % a call",
        "server memory 150 MB, 1.25 MB more a call",
        "the callers themselves: 2 % of a core, 0.50 % a call",
    ]


@pytest.mark.parametrize(
    ("progress", "filled", "said"),
    [
        (Progress(0.0, 5, 0, 0, 0.0, math.nan, 0), 10, "5 of 10 calls up, 0 results/s, p95 –, 0 drops, placing calls"),
        (
            Progress(15.0, 9, 1, 400, 47.0, 41.6, 3),
            5,
            "9 of 10 calls up, 1 failed, 47 results/s, p95 42 ms, 3 drops, 15 s left",
        ),
        (Progress(0.2, 10, 0, 900, 52.0, 8.0, 0), 20, "10 of 10 calls up, 52 results/s, p95 8 ms, 0 drops, 0 s left"),
    ],
)
def test_progress_is_one_line(progress: Progress, filled: int, said: str) -> None:
    assert progress_line(progress, peers=10, seconds=20.0) == f"{'█' * filled:<20} {said}"


@pytest.mark.parametrize(("recovery_ms", "said"), [(420.0, "after 420 ms"), (None, "never")])
def test_a_call_s_report_tells_of_the_outage(recovery_ms: float | None, said: str) -> None:
    report = msgspec.structs.replace(REPORT, recovery_ms=(recovery_ms,))
    assert sentences(report)[-1] == f"in time again after the outage: {said}"

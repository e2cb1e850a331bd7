"""Metrics of several processes, added up."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from voxgender.fleet.totals import total


def a_process(calls: int, *, started: float) -> str:
    registry = CollectorRegistry()
    Gauge("calls", "Live", registry=registry).set(calls)
    ended = Counter("ended", "Ended", ["reason"], registry=registry)
    ended.labels("left").inc(calls)
    if calls > 1:
        ended.labels("bug").inc()
    seconds = Histogram("wait_seconds", "Waiting", ["stage"], buckets=(1, 2), registry=registry)
    for second in range(calls):
        seconds.labels("queue").observe(second)
    Gauge("process_start_time_seconds", "Start", registry=registry).set(started)
    Gauge("python_info", "Python", ["version"], registry=registry).labels("3").set(1)
    return generate_latest(registry).decode()


def values(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items(), reverse=True))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_counters_gauges_and_histograms_are_summed() -> None:
    text = total([a_process(1, started=20.0), a_process(3, started=10.0)]).decode()
    assert values(text) == {
        ("calls",): 4,
        ("ended_total", "left"): 4,
        ("ended_total", "bug"): 1,
        ("wait_seconds_bucket", "queue", "1.0"): 3,
        ("wait_seconds_bucket", "queue", "2.0"): 4,
        ("wait_seconds_bucket", "queue", "+Inf"): 4,
        ("wait_seconds_count", "queue"): 4,
        ("wait_seconds_sum", "queue"): 3,
        ("process_start_time_seconds",): 10,
        ("python_info", "3"): 1,
    }
    assert "# TYPE ended_total counter" in text
    assert "# HELP wait_seconds Waiting" in text


def test_one_process_alone_is_shown_as_it_is() -> None:
    text = a_process(2, started=1.0)
    assert values(total([text]).decode()) == values(text)


def test_none_at_all_is_nothing() -> None:
    assert total([]) == b""

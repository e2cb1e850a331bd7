"""Report what a load has measured: of each call, and of the server while all calls were up."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from voxgender.peer.faults import Faults
from voxgender.peer.meter import Reading
from voxgender.peer.report import IN_TIME_MS, Latency, Recorder

FLOWING = 0.9
"""Share of a call's expected results that have to arrive; the others may be lost."""
OVERLOADED = "overloaded"
"""Code of the server's warning that windows of a call were dropped."""


class LoadReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="load_report"):
    """The outcome of a load: each call's report, and the server's own figures while all calls were up."""

    asked: int
    up: int
    """Calls that came up and stayed until they were hung up."""
    held: int
    """Calls of these whose results arrived, with no window dropped, 95 % of them within 200 ms."""
    not_held: dict[str, int]
    """Number of the others by reason: ``silent``, ``dropped``, ``late``."""
    failed: dict[str, int]
    """Calls that did not come up or did not stay, by reason."""
    seconds: float
    """Length of the measurement, with all calls connected; the figures below are of this time."""
    results: int
    results_per_s: float
    lost_results: int
    """Results lost over the calls' whole life."""
    dropped_windows: int | None
    """Windows not classified because the server could not keep up; ``None`` if its metrics cannot be read."""
    warnings: dict[str, int]
    connect_ms: Latency | None
    """Time from the offer until the first packet could be sent."""
    first_result_ms: Latency | None
    """From the offer."""
    latency_ms: Latency | None
    """By the callers' clock: from the sending of a window's last packet, even if it is lost or late on the way, to the
    result's arrival. Windows that end in an outage are left out."""
    worst_call_ms: Latency | None
    """Latency of the call with the highest 95th percentile."""
    server_latency_ms: Latency | None
    server_stages_ms: dict[str, Latency]
    """Time of each stage by the server's ``/metrics``. Percentiles are read off a histogram."""
    recovery_ms: Latency | None
    """Time from an outage's end until results come in time again."""
    not_recovered: int
    """Calls whose results did not come in time again after an outage."""
    server_cpu_percent: float | None
    """Server's CPU time as a share of one core, for all calls together."""
    server_cpu_percent_per_call: float | None
    server_memory_mb: float | None
    server_memory_mb_per_call: float | None
    """Growth since before the first call."""
    callers_cpu_percent: float
    """Callers' CPU time as a share of one core. Near 100 the callers are the bottleneck, not the server."""
    callers_cpu_percent_per_call: float
    faults: Faults
    """Faults of the callers' network."""


class Progress(NamedTuple):
    """The progress of a run."""

    seconds_left: float
    up: int
    failed: int
    results: int
    results_per_s: float
    """Over the last second or so, as ``p95_ms``."""
    p95_ms: float
    """``nan`` where there was no result."""
    drops: int
    """Warnings that windows were dropped."""


def summarise(
    recorders: Sequence[Recorder],
    stayed: Sequence[Recorder],
    failures: Counter[str],
    readings: tuple[Reading, Reading, Reading],
    *,
    asked: int,
    faults: Faults,
) -> LoadReport:
    """Summarise a load.

    Args:
        recorders: the measurements of each call that was placed.
        stayed: those of the calls that came up and stayed.
        failures: reasons for which the others did not.
        readings: of the server: before the first call, and when the measurement began and ended.
        asked: number of calls that were asked for.
        faults: faults of the callers' network.
    """
    idle, begin, end = readings
    measured = [recorder.between(begin.at, end.at) for recorder in recorders]
    each = [latency[~np.isnan(latency)] for latency, _ in measured]
    server_latencies = np.concatenate([latency for _, latency in measured])
    seconds = end.at - begin.at
    not_held = Counter(reason for recorder in stayed if (reason := why_not_held(recorder, begin.at, end.at)))
    recoveries = [recovery for recorder in recorders for recovery in recorder.recovery_ms]
    up = len(stayed)
    cpu = _difference(begin.cpu_s, end.cpu_s, 100 / seconds)
    own_cpu = (end.own_cpu_s - begin.own_cpu_s) / seconds * 100
    dropped = _difference(begin.dropped, end.dropped, 1)
    return LoadReport(
        asked=asked,
        up=up,
        held=up - not_held.total(),
        not_held=dict(not_held),
        failed=dict(failures.most_common()),
        seconds=round(seconds, 1),
        results=server_latencies.size,
        results_per_s=round(server_latencies.size / seconds, 1),
        lost_results=sum(recorder.lost_results for recorder in recorders),
        dropped_windows=None if dropped is None else round(dropped),
        warnings=dict(sum((recorder.warnings for recorder in recorders), Counter[str]())),
        connect_ms=Latency.of([recorder.connect_ms for recorder in recorders if recorder.connect_ms]),
        first_result_ms=Latency.of([first for r in recorders if (first := r.first_result_ms) is not None]),
        latency_ms=Latency.of(np.concatenate(each)),
        worst_call_ms=max((Latency.of(latency) for latency in each), key=_p95, default=None),
        server_latency_ms=Latency.of(server_latencies),
        server_stages_ms=end.stages_since(begin),
        recovery_ms=Latency.of([recovery for recovery in recoveries if recovery is not None]),
        not_recovered=recoveries.count(None),
        server_cpu_percent=_share(cpu, 1),
        server_cpu_percent_per_call=_share(cpu, up),
        server_memory_mb=_share(end.memory_bytes, 1e6),
        server_memory_mb_per_call=_share(_difference(idle.memory_bytes, end.memory_bytes, 1e-6), up),
        callers_cpu_percent=round(own_cpu, 1),
        callers_cpu_percent_per_call=round(own_cpu / max(1, up), 2),
        faults=faults,
    )


def why_not_held(recorder: Recorder, begin: float, end: float) -> str | None:
    """Return why a call that stayed up was not held, or None."""
    latencies_ms, _ = recorder.between(begin, end)
    out_s = sum(max(0.0, min(until, end) - max(since, begin)) for since, until in recorder.outages)
    # Results at the edges of the measurement and of an outage are not expected.
    due = math.inf if recorder.hop_ms is None else (end - begin - out_s) * 1000 / recorder.hop_ms - 2
    if latencies_ms.size < FLOWING * due:
        return "silent"
    if recorder.warnings[OVERLOADED]:
        return "dropped"
    latency = Latency.of(latencies_ms[~np.isnan(latencies_ms)])
    return "late" if latency is None or latency.p95 > IN_TIME_MS else None


def _p95(latency: Latency | None) -> float:
    return latency.p95 if latency else -1.0


def _difference(begin: float | None, end: float | None, scale: float) -> float | None:
    return None if begin is None or end is None else (end - begin) * scale


def _share(value: float | None, of: float) -> float | None:
    return None if value is None or not of else round(value / of, 2)

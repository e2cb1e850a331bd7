"""Read a server's ``/metrics`` before and after a load."""

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from voxgender.peer.report import Latency

STAGES = "voxgender_stage_seconds"
"""The server's histogram of each stage's time."""

Buckets = Mapping[float, float]
"""Observations up to each bound in seconds, that one included."""


class Reading(NamedTuple):
    """Readings of the server's metrics and of our CPU time. ``None`` stands for metrics that the server lacks."""

    at: float
    own_cpu_s: float
    cpu_s: float | None = None
    memory_bytes: float | None = None
    dropped: float | None = None
    stages: Mapping[str, Buckets] = {}

    def stages_since(self, begin: "Reading") -> dict[str, Latency]:
        """Return each stage's percentiles since ``begin``, as Prometheus' ``histogram_quantile`` computes them."""
        found = {}
        for stage, buckets in self.stages.items():
            before = begin.stages.get(stage, {})
            latency = _percentiles({bound: count - before.get(bound, 0.0) for bound, count in buckets.items()})
            if latency is not None:
                found[stage] = latency
        return found


class Meter:
    """Reads a server's ``/metrics``, if it has them. They may be the sum of several processes."""

    def __init__(self, http: aiohttp.ClientSession, url: URL) -> None:
        self._http = http
        self._url = url

    async def read(self) -> Reading:
        values: dict[str, float] = {}
        stages: dict[str, dict[float, float]] = defaultdict(dict)
        try:
            async with self._http.get(self._url, timeout=aiohttp.ClientTimeout(total=5)) as response:
                if response.ok:
                    for family in text_string_to_metric_families(await response.text()):
                        for sample in family.samples:
                            if sample.name == f"{STAGES}_bucket":
                                stages[sample.labels.get("stage", "")][float(sample.labels["le"])] = sample.value
                            else:
                                values[sample.name] = sample.value
        except (aiohttp.ClientError, TimeoutError, ValueError):
            values, stages = {}, {}
        return Reading(
            at=time.monotonic(),
            own_cpu_s=time.process_time(),
            cpu_s=values.get("process_cpu_seconds_total"),
            memory_bytes=values.get("process_resident_memory_bytes"),
            dropped=values.get("voxgender_windows_dropped_total"),
            stages=stages,
        )


def _percentiles(buckets: Buckets) -> Latency | None:
    """Return a histogram's percentiles in milliseconds, or None if it is empty."""
    total = max(buckets.values(), default=0.0)
    if not total:
        return None
    p50, p95, p99, worst = (round(_quantile(buckets, share * total) * 1000, 2) for share in (0.5, 0.95, 0.99, 1.0))
    return Latency(count=round(total), p50=p50, p95=p95, p99=p99, max=worst)


def _quantile(buckets: Buckets, wanted: float) -> float:
    """Return where the count reaches ``wanted``, interpolated within a bucket, at most the last finite bound."""
    start = below = 0.0
    for bound, count in sorted(buckets.items()):
        if math.isinf(bound):
            break
        if count >= wanted and count > below:
            return start + (bound - start) * (wanted - below) / (count - below)
        start, below = bound, count
    return start

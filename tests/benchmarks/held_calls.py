"""Measure how many calls the server holds with the embedded model, the callers on the same machine."""

from typing import Any

from tests.benchmarks import plots
from tests.benchmarks.processes import a_server, load, voxgender_server
from tests.benchmarks.tables import Measured, markdown

COARSE = 20
FINE = 5
MOST = 180
"""Calls: steps up to the first that fails, then between it and the last one held."""
SECONDS = 8.0
MAX_P95_MS = 200.0


async def measure(brief: bool) -> Measured:
    """A fresh server for each step. No process is pinned: media, model and callers share all cores."""
    seconds = 5.0 if brief else SECONDS
    reports: dict[int, dict[str, Any]] = {}
    held, failed = 0, 5 if brief else MOST + COARSE
    for calls in (5,) if brief else range(COARSE, MOST + 1, COARSE):
        reports[calls] = await _step(calls, seconds)
        if not is_held(reports[calls]):
            failed = calls
            break
        held = calls
    while failed - held > FINE and failed <= MOST:
        middle = (held + failed) // 2 // FINE * FINE
        reports[middle] = await _step(middle, seconds)
        held, failed = (middle, failed) if is_held(reports[middle]) else (held, middle)
    steps = [reports[calls] for calls in sorted(reports)]
    figures = {"seconds": seconds, "max_p95_ms": MAX_P95_MS, "calls_held": held, "steps": steps}
    return Measured(figures, _table(steps), _plot(steps))


async def _step(calls: int, seconds: float) -> dict[str, Any]:
    async with a_server(voxgender_server("--max-sessions", "200")) as url:
        return await load(url, peers=calls, seconds=seconds)


def is_held(report: dict[str, Any]) -> bool:
    latency = report["latency_ms"]
    return (
        report["held"] == report["asked"]
        and not report["dropped_windows"]
        and not report["lost_results"]
        and latency is not None
        and latency["p95"] <= MAX_P95_MS
    )


def _table(reports: list[dict[str, Any]]) -> str:
    return markdown(
        (
            "calls", "held", "results a second", "p50 ms", "p95 ms", "p99 ms", "worst call, p95 ms",
            "of it in the server, p95 ms", "windows dropped", "results lost", "server, % of a core", "% a call",
            "server MB", "MB a call", "callers, % of a core", "verdict",
        ),
        [_row(report) for report in reports],
    )  # fmt: skip


def _plot(reports: list[dict[str, Any]]) -> str:
    delays = [(f"{report['asked']} calls", float((report["latency_ms"] or {}).get("p95", 0.0))) for report in reports]
    title = "Live calls on one machine: result latency, 95th percentile"
    return plots.bars(title, "ms, from a window's last packet sent to its result received", delays, target=MAX_P95_MS)


def _row(report: dict[str, Any]) -> tuple[object, ...]:
    latency, server, worst = (report[name] or {} for name in ("latency_ms", "server_latency_ms", "worst_call_ms"))
    return (
        report["asked"], report["held"], report["results_per_s"],
        latency.get("p50"), latency.get("p95"), latency.get("p99"), worst.get("p95"), server.get("p95"),
        report["dropped_windows"], report["lost_results"],
        report["server_cpu_percent"], report["server_cpu_percent_per_call"],
        report["server_memory_mb"], report["server_memory_mb_per_call"],
        report["callers_cpu_percent"], "held" if is_held(report) else "not held",
    )  # fmt: skip

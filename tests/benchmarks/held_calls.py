"""How many calls the server holds with the embedded model, the callers on the same machine."""

from typing import Any

from tests.benchmarks import plots
from tests.benchmarks.processes import a_server, load, voxgender_server
from tests.benchmarks.tables import Measured, markdown

STEPS = (10, 20, 30, 40, 50)
SECONDS = 8.0
MAX_P95_MS = 200.0


async def measure(brief: bool) -> Measured:
    """Go up step by step to the first that fails; a fresh server for each. No process is pinned: media, model and
    callers share all cores."""
    reports: list[dict[str, Any]] = []
    for calls in (5,) if brief else STEPS:
        async with a_server(voxgender_server()) as url:
            reports.append(await load(url, peers=calls, seconds=5.0 if brief else SECONDS))
        if not _is_held(reports[-1]):
            break
    held = max((report["held"] for report in reports if _is_held(report)), default=0)
    table = markdown(
        (
            "calls", "held", "results a second", "p50 ms", "p95 ms", "p99 ms", "of it in the server, p95 ms",
            "windows dropped", "results lost", "server, % of a core", "% a call", "server MB", "MB a call",
            "callers, % of a core", "verdict",
        ),
        [_row(report) for report in reports],
    )  # fmt: skip
    return Measured(
        {"seconds": SECONDS, "max_p95_ms": MAX_P95_MS, "calls_held": held, "steps": reports}, table, _plot(reports)
    )


def _is_held(report: dict[str, Any]) -> bool:
    latency = report["latency_ms"]
    return (
        report["held"] == report["asked"]
        and not report["dropped_windows"]
        and not report["lost_results"]
        and latency is not None
        and latency["p95"] <= MAX_P95_MS
    )


def _plot(reports: list[dict[str, Any]]) -> str:
    delays = [(f"{report['asked']} calls", float((report["latency_ms"] or {}).get("p95", 0.0))) for report in reports]
    title = "Live calls on one machine: result latency, 95th percentile"
    return plots.bars(title, "ms, from a window's last packet sent to its result received", delays, target=MAX_P95_MS)


def _row(report: dict[str, Any]) -> tuple[object, ...]:
    latency, server = report["latency_ms"] or {}, report["server_latency_ms"] or {}
    return (
        report["asked"], report["held"], report["results_per_s"],
        latency.get("p50"), latency.get("p95"), latency.get("p99"), server.get("p95"),
        report["dropped_windows"], report["lost_results"],
        report["server_cpu_percent"], report["server_cpu_percent_per_call"],
        report["server_memory_mb"], report["server_memory_mb_per_call"],
        report["callers_cpu_percent"], "held" if _is_held(report) else "not held",
    )  # fmt: skip

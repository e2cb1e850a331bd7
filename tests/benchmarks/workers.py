"""One media process beside two behind one front, with the embedded model and the callers on the same machine."""

from tests.benchmarks import plots
from tests.benchmarks.held_calls import MAX_P95_MS, is_held
from tests.benchmarks.processes import a_server, load, voxgender_server
from tests.benchmarks.tables import Measured, markdown

WORKERS = (1, 2)
CALLS = 120
"""More than one process holds on two cores; see ``held_calls``."""
SECONDS = 8.0


async def measure(brief: bool) -> Measured:
    rows, figures = [], []
    delays: list[tuple[str, float]] = []
    calls = 4 if brief else CALLS
    for workers in WORKERS:
        options = ("--workers", str(workers), "--max-sessions", "200")
        async with a_server(voxgender_server(*options)) as url:
            report = await load(url, peers=calls, seconds=3.0 if brief else SECONDS)
        latency = report["latency_ms"] or {}
        figures.append({"workers": workers, **report})
        delays.append((f"{calls} calls, {workers} {'worker' if workers == 1 else 'workers'}", latency.get("p95", 0.0)))
        rows.append(
            (
                calls, workers, report["held"], latency.get("p50"), latency.get("p95"), report["dropped_windows"],
                report["server_cpu_percent"], report["server_cpu_percent_per_call"], report["server_memory_mb"],
                report["callers_cpu_percent"], "held" if is_held(report) else "not held",
            )
        )  # fmt: skip
    table = markdown(
        (
            "calls", "workers", "held", "p50 ms", "p95 ms", "windows dropped", "server, % of a core", "% a call",
            "server MB", "callers, % of a core", "verdict",
        ),
        rows,
    )  # fmt: skip
    title = "Media processes on one machine: result latency, 95th percentile"
    plot = plots.bars(title, "ms, from a window's last packet sent to its result received", delays, target=MAX_P95_MS)
    return Measured({"runs": figures}, table, plot)

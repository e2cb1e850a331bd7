"""Measure what a bad network does to a few calls' results: one row a fault, the rest of the machine idle."""

from typing import Any

from tests.benchmarks import plots
from tests.benchmarks.processes import a_server, load, voxgender_server
from tests.benchmarks.tables import Measured, markdown

CALLS = 4
SECONDS = 6.0
TARGET_P95_MS = 200.0

FAULTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "2 % loss": ("--loss", "2"),
    "5 % loss": ("--loss", "5"),
    "5 % loss, 3 packets at once": ("--loss", "5", "--burst", "3"),
    "jitter up to 40 ms": ("--jitter-ms", "40"),
    "5 % reordered": ("--reorder", "5"),
    "5 % twice": ("--duplicate", "5"),
    "an outage of 500 ms": ("--outage-ms", "500"),
}
BRIEFLY = ("none", "5 % loss", "an outage of 500 ms")


async def measure(brief: bool) -> Measured:
    """The same calls through one fault after another, on one server."""
    reports: dict[str, dict[str, Any]] = {}
    async with a_server(voxgender_server()) as url:
        for name in BRIEFLY if brief else FAULTS:
            reports[name] = await load(url, peers=CALLS, seconds=2.0 if brief else SECONDS, options=FAULTS[name])
    table = markdown(
        (
            "fault", "calls held", "results a second", "p50 ms", "p95 ms", "p99 ms", "worst call, p95 ms",
            "in the server, p95 ms", "in time again after, ms", "windows dropped",
        ),
        [_row(name, report) for name, report in reports.items()],
    )  # fmt: skip
    delays = [(name, float((report["latency_ms"] or {}).get("p95", 0.0))) for name, report in reports.items()]
    plot = plots.bars(
        "Result latency through a bad network, 95th percentile",
        "ms, from a window's last packet sent to its result received",
        delays,
        target=TARGET_P95_MS,
    )
    return Measured({"calls": CALLS, "seconds": SECONDS, "reports": reports}, table, plot)


def _row(name: str, report: dict[str, Any]) -> tuple[object, ...]:
    latency, worst, recovery = (report[key] or {} for key in ("latency_ms", "worst_call_ms", "recovery_ms"))
    recovered = "never" if report["not_recovered"] else recovery.get("max")
    return (
        name, f"{report['held']} of {report['asked']}", report["results_per_s"],
        latency.get("p50"), latency.get("p95"), latency.get("p99"), worst.get("p95"),
        (report["server_latency_ms"] or {}).get("p95"), recovered, report["dropped_windows"],
    )  # fmt: skip

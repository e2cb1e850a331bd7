"""A call over a WebSocket beside the same call over WebRTC: CPU, bytes, delays, calls held. The same speech, in Opus.

``python -m tests.benchmarks.websocket TRANSPORT CALLS SECONDS`` counts bytes, in a network namespace of its own.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.benchmarks import machine
from tests.benchmarks.held_calls import is_held
from tests.benchmarks.processes import a_server, load, voxgender_server
from tests.benchmarks.tables import Measured, markdown

TRANSPORTS = ("webrtc", "websocket")
CALLS = 20
SECONDS = 5.0
"""Twice each, there and back, so that a machine whose speed drifts wrongs neither."""
TARGET_PERCENT = 0.5
"""Share of a core that a call may cost more than over WebRTC."""
STEPS = (30, 60, 90, 120)

_LOOPBACK = Path("/proc/net/dev")


async def measure(brief: bool) -> Measured:
    calls, seconds = (4, 2.0) if brief else (CALLS, SECONDS)
    order = TRANSPORTS if brief else (*TRANSPORTS, *reversed(TRANSPORTS))
    plain = await _rounds("off", order, calls, seconds)
    judged = await _rounds("embedded", order, calls, seconds)
    sent = {transport: _bytes_of(transport, 2 if brief else 10, seconds) for transport in TRANSPORTS}
    held = {transport: None if brief else await _held(transport) for transport in TRANSPORTS}
    media = {transport: _mean(reports, "server_cpu_percent_per_call") for transport, reports in plain.items()}
    rows = [
        (
            transport,
            media[transport],
            _mean(judged[transport], "server_cpu_percent_per_call"),
            sent[transport],
            *(_latency(judged[transport], name) for name in ("p50", "p95")),
            held[transport],
        )
        for transport in TRANSPORTS
    ]
    more = media["websocket"] - media["webrtc"]
    head = (
        "transport", "server without model, % of a core a call", "with it", "kbit/s a call, both ways with headers",
        f"latency of {calls} calls, p50 ms", "p95 ms", "calls held",
    )  # fmt: skip
    verdict = "within" if more <= TARGET_PERCENT else "above"
    told = f"Over the WebSocket {more:+.2f} % of a core a call, {verdict} the target of {TARGET_PERCENT} %."
    figures = {"calls": calls, "seconds": seconds, "more_percent": more, "target_percent": TARGET_PERCENT, "rows": rows}
    return Measured(figures, f"{markdown(head, rows)}\n\n{told}")


async def _rounds(model: str, order: tuple[str, ...], calls: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Load one server by both transports in turn."""
    reports: dict[str, list[dict[str, Any]]] = {transport: [] for transport in TRANSPORTS}
    async with a_server(voxgender_server("--model", model), machine.pinned_to(0)) as url:
        for transport in order:
            options = ("--transport", transport)
            report = await load(url, peers=calls, seconds=seconds, options=options, pin=machine.pinned_to(1))
            reports[transport].append(report)
    return reports


async def _held(transport: str) -> int:
    """Return the most calls of ``STEPS`` that are held."""
    held = 0
    for calls in STEPS:
        async with a_server(voxgender_server("--max-sessions", "200")) as url:
            if not is_held(await load(url, peers=calls, seconds=5.0, options=("--transport", transport))):
                break
        held = calls
    return held


def _bytes_of(transport: str, calls: int, seconds: float) -> float | None:
    """Return what a call puts on the wire in kbit/s; None without network namespaces."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    script = f"ip link set lo up; exec {sys.executable} -m tests.benchmarks.websocket {transport} {calls} {seconds}"
    done = subprocess.run([unshare, "-rn", "bash", "-c", script], capture_output=True, check=False)
    return None if done.returncode else float(json.loads(done.stdout)["kbit_s"])


async def _count(transport: str, calls: int, seconds: float) -> None:
    """Print what all calls put on this namespace's loopback while they are held."""
    async with a_server(voxgender_server("--model", "off")) as url:
        # Held for longer than is counted, so that no handshake and no end are among it.
        placing = asyncio.create_task(load(url, peers=calls, seconds=seconds + 5, options=("--transport", transport)))
        while not placing.done() and await _sessions(url) < calls:  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.2)
        await asyncio.sleep(2.0)
        before = _sent()
        await asyncio.sleep(seconds)
        count = _sent() - before
        await placing
    print(json.dumps({"kbit_s": round(count * 8 / 1_000 / seconds / calls, 1)}))


async def _sessions(url: str) -> float:
    async with ClientSession() as http, http.get(f"{url}metrics") as response:
        found = re.search(r"^voxgender_sessions (\S+)$", await response.text(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def _sent() -> int:
    """Return the bytes that went over loopback, without its Ethernet headers."""
    fields = next(line for line in _LOOPBACK.read_text().splitlines() if line.lstrip().startswith("lo:")).split()
    received, packets = int(fields[1]), int(fields[2])
    return received - 14 * packets


def _mean(reports: list[dict[str, Any]], name: str) -> float:
    return float(sum(report[name] for report in reports) / len(reports))


def _latency(reports: list[dict[str, Any]], name: str) -> float | None:
    known = [report["latency_ms"][name] for report in reports if report["latency_ms"]]
    return sum(known) / len(known) if known else None


if __name__ == "__main__":
    asyncio.run(_count(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))

"""Server CPU of a live call without any model: ours, a plain aiortc consumer, FastRTC. The same callers for all."""

import subprocess
import sys
import venv
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks import machine, plots
from tests.benchmarks.processes import a_server, load, voxgender_server
from tests.benchmarks.tables import Measured, markdown

CALLS = 20
"""FastRTC fills a core at some 25."""
SECONDS = 5.0
"""Twice each, there and back, so that a machine whose speed drifts wrongs none of them."""
TARGET_PERCENT = 0.45
OURS = "voxgender, model off"

_HERE = Path(__file__).parent
_ENVIRONMENT = _HERE.parents[1] / ".cache" / "benchmarks" / "fastrtc"
_FASTRTC_PYTHON = _ENVIRONMENT / "bin" / "python"
_PACKAGES = ("fastrtc==0.0.34", "aiortc==1.16.*", "prometheus-client", "uvloop")


def prepare() -> None:
    """Install FastRTC in an environment of its own, once."""
    if _has_fastrtc():
        return
    print("installing FastRTC in .cache/benchmarks/fastrtc", flush=True)
    venv.create(_ENVIRONMENT, with_pip=True)
    install = [str(_FASTRTC_PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_PACKAGES]
    if subprocess.run(install, stderr=subprocess.DEVNULL, check=False).returncode:
        print("FastRTC cannot be installed here; the others are measured without it", flush=True)


async def measure(brief: bool) -> Measured:
    calls, seconds = (5, 3.0) if brief else (CALLS, SECONDS)
    servers = {
        OURS: voxgender_server("--model", "off"),
        "plain aiortc consumer": (sys.executable, str(_HERE / "consumers" / "plain.py")),
    }
    if _has_fastrtc():
        fastrtc = (str(_FASTRTC_PYTHON), str(_HERE / "consumers" / "fastrtc_app.py"))
        servers |= {"FastRTC": fastrtc, "FastRTC, on uvloop": (*fastrtc, "--uvloop")}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    async with AsyncExitStack() as stack:
        urls = {
            name: await stack.enter_async_context(a_server(command, machine.pinned_to(0)))
            for name, command in servers.items()
        }
        for name in urls if brief else (*urls, *reversed(urls)):
            report = await load(urls[name], peers=calls, seconds=seconds, pin=machine.pinned_to(1))
            rounds[name].append(report)
    shares = {name: _mean(reports, "server_cpu_percent_per_call") for name, reports in rounds.items()}
    ours = next(iter(shares.values()))
    table = markdown(
        (
            "server",
            "calls",
            "% of a core a call",
            "there, back",
            "ours to it",
            "MB a call",
            "callers, % of a core",
        ),
        [
            (
                name,
                min(report["up"] for report in reports),
                shares[name],
                ", ".join(f"{report['server_cpu_percent_per_call']:.2f}" for report in reports),
                None if reports is rounds[OURS] else f"{ours / shares[name]:.2f}",
                reports[0]["server_memory_mb_per_call"],
                _mean(reports, "callers_cpu_percent"),
            )
            for name, reports in rounds.items()
        ],
    )
    pinned = machine.pinned_to(0) is not None
    figures = {"calls": calls, "seconds": seconds, "pinned": pinned, "percent_per_call": shares, "rounds": rounds}
    title = "Server CPU of a live call, without any model"
    plot = plots.bars(title, "% of one core", list(shares.items()), target=TARGET_PERCENT)
    return Measured(figures, table, plot)


def _mean(reports: list[dict[str, Any]], name: str) -> float:
    return sum(float(report[name]) for report in reports) / len(reports)


def _has_fastrtc() -> bool:
    if not _FASTRTC_PYTHON.exists():
        return False
    probe = (
        "from importlib.metadata import version; version('fastrtc'), version('uvloop'), version('prometheus-client')"
    )
    return subprocess.run([str(_FASTRTC_PYTHON), "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode == 0

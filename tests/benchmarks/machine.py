"""The machine a figure belongs to, and which core a process runs on."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def describe() -> dict[str, Any]:
    """Describe the machine to a reader, without names."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("aiortc", "aioice", "av", "torch", "onnxruntime", "uvloop")},
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "simd": torch.backends.cpu.get_cpu_capability(),
    }


def pinned_to(core: int) -> Callable[[], None] | None:
    """Keep this process on one core, if there is more than one and the system can; child processes call it first."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        return None
    cores = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {cores[core % len(cores)]})


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

"""Run a call of an adapter in an interpreter that has its framework."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FRAMEWORKS = Path(sys.prefix) / "integrations"
"""FastRTC and Pipecat, as `make setup` installs them."""


def outcome_of(program: str) -> dict[str, Any]:
    """Run a module of this folder; return the JSON object that it prints last."""
    assert FRAMEWORKS.is_dir(), f"{FRAMEWORKS} is missing: make setup"
    path = os.pathsep.join([str(FRAMEWORKS), str(ROOT / "server"), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", f"tests.integrations.{program}"],
        capture_output=True, text=True, timeout=100, cwd=ROOT, check=False,
        env=os.environ | {"PYTHONPATH": path, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    outcome: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return outcome

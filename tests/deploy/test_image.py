"""The images hold what their roles need, and no more."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise

from tests.deploy.artifacts import ROOT
from tests.deploy.packages import files, required
from tools.dockerfile_steps import Stage, instructions, stages

DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = stages(DOCKERFILE)
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def test_all_that_runs_is_pinned() -> None:
    check = subprocess.run(
        [sys.executable, "tools/constraints.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr
    assert all(re.fullmatch(r"\S+==\S+", line) for line in CONSTRAINTS.splitlines() if line[:1] != "#")


def test_every_install_is_held_to_the_pins() -> None:
    runs = [rest for word, rest in instructions(DOCKERFILE) if word == "RUN"]
    commands = [shlex.split(command) for run in runs for command in run.split(" && ")]
    installs = [words for words in commands if "pip" in words and {"install", "wheel"} & set(words)]
    assert len(installs) >= 4
    for words in installs:
        assert (
            ("--constraint", "constraints.txt") in pairwise(words)
            or "--require-hashes" in words
            or "--no-deps" in words
        )


def test_the_base_is_pinned_to_a_patch_release() -> None:
    (word, version), *_ = instructions(DOCKERFILE)
    assert word == "ARG"
    assert re.fullmatch(r"PYTHON=3\.\d+\.\d+-slim-\w+", version)
    assert all(stage.base == "python:${PYTHON}" or stage.base in STAGES for stage in STAGES.values())


def told(stage: Stage, instruction: str) -> list[str]:
    return [rest for word, rest in stage.instructions if word == instruction]


def test_both_targets_run_as_somebody_and_tell_their_health() -> None:
    (user,) = told(STAGES["runtime"], "USER")
    assert int(user) > 0
    (health,) = told(STAGES["runtime"], "HEALTHCHECK")
    assert "/health/ready" in health
    for target in ("signaling", "media"):
        assert STAGES[target].base == "runtime"
        assert [json.loads(command) for command in told(STAGES[target], "CMD")] == [[target]]
        assert told(STAGES[target], "USER") == []


def size_bytes(names: Iterable[str]) -> int:
    return sum(place.stat().st_size for _, place in files(names))


def test_the_packages_of_signaling_are_few_and_small() -> None:
    """On its own, as in the image: ``tools/dockerfile_steps.py signaling`` installs and weighs it whole."""
    names = required("registry")
    assert not {"torch", "numpy", "aiortc", "av", "onnxruntime", "transformers"} & set(names)
    assert size_bytes(names) < 150e6


def test_the_packages_of_media_are_without_torch() -> None:
    """The speech gate's package brought torch and its CUDA: six gigabytes from the default index."""
    names = required("media")
    assert not {"torch", "transformers", "onnx", "silero-vad", "safetensors", "sympy"} & set(names)
    assert size_bytes(names) < 340e6


def test_checkpoints_take_little_more() -> None:
    names = required("media", "checkpoints")
    assert not {"torch", "transformers", "silero-vad"} & set(names)
    assert size_bytes(names) < 420e6


def test_the_media_image_has_what_the_embedded_model_needs() -> None:
    assert "EXTRAS=media" in told(STAGES["media-packages"], "ARG")

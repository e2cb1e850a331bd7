"""What the images hold."""

import re
import subprocess
import sys
from collections.abc import Iterable

from tests.deploy.artifacts import ROOT
from tests.deploy.packages import files, required

DOCKERFILE = (ROOT / "Dockerfile").read_text()
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def test_all_that_runs_is_pinned() -> None:
    check = subprocess.run(
        [sys.executable, "tools/constraints.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr
    assert all(re.fullmatch(r"\S+==\S+", line) for line in CONSTRAINTS.splitlines() if line[:1] != "#")


def test_every_install_is_held_to_the_pins() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?(?:install|wheel)[^&\n]*", DOCKERFILE)
    assert len(installs) >= 4
    for install in installs:
        assert "--constraint constraints.txt" in install or "--no-deps" in install


def test_the_base_is_pinned_to_a_patch_release() -> None:
    assert re.search(r"^ARG PYTHON=3\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    names = [name for _, name in stages]
    assert all(base == "python:${PYTHON}" or base in names for base, _ in stages)


def test_both_targets_run_as_somebody_and_tell_their_health() -> None:
    runtime = DOCKERFILE.partition(" AS runtime\n")[2].partition("\nFROM ")[0]
    assert re.search(r"^USER [1-9]\d*$", runtime, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*/health/ready", runtime, re.MULTILINE)
    for target in ("signaling", "media"):
        stage = re.search(rf"^FROM runtime AS {target}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
        assert stage is not None
        assert f'CMD ["{target}"]' in stage[1]
        assert "USER" not in stage[1]


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
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert extras == "media"

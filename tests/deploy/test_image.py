"""What the images hold."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.deploy.artifacts import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def closure(requirements: Iterable[str], seen: set[str]) -> Iterator[str]:
    """The distributions that these need, themselves included."""
    for requirement in map(Requirement, requirements):
        if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(requirement.name)
        yield requirement.name
        yield from closure(distribution(requirement.name).requires or (), seen)


def test_all_that_runs_is_pinned() -> None:
    check = subprocess.run(
        [sys.executable, "tools/constraints", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
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


def test_the_packages_of_signaling_are_few_and_small() -> None:
    """On its own, as in the image: ``tools/dockerfile-steps signaling`` installs and weighs it whole."""
    names = list(closure([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["registry"]], set()))
    assert not {"torch", "numpy", "aiortc", "av", "onnxruntime", "transformers"} & set(names)
    files = [Path(str(file.locate())) for name in names for file in distribution(name).files or ()]
    assert sum(file.stat().st_size for file in files if file.is_file()) < 150e6

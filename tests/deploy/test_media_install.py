"""The commands where ``pip install 'voxgender[media]'`` was all: what else is installed here cannot be imported."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.serving import PATIENCE_S, serving
from voxgender.inference.loading import EMBEDDED_DIRECTORY


def command(*arguments: object) -> list[str]:
    # -S: without the packages that are installed here.
    return [sys.executable, "-S", "-m", "voxgender.cli", *map(str, arguments)]


def run(media_environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=media_environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.fixture
def server(media_environment: dict[str, str]) -> Iterator[str]:
    with serving(command(), media_environment) as url:
        yield url


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The embedded one as others would bring it: without its graph."""
    return Path(shutil.copytree(EMBEDDED_DIRECTORY, tmp_path / "own", ignore=shutil.ignore_patterns("*.onnx")))


def test_torch_is_not_to_be_had(media_environment: dict[str, str]) -> None:
    program = (
        "import importlib.util as u\n"
        "names = ('torch', 'transformers', 'onnx', 'silero_vad', 'safetensors', 'huggingface_hub', 'scipy')\n"
        "print([name for name in names if u.find_spec(name)], bool(u.find_spec('onnxruntime')))"
    )
    found = subprocess.run(
        [sys.executable, "-S", "-c", program], env=media_environment, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[] True\n"


def test_files_are_classified(media_environment: dict[str, str], recording: Path) -> None:
    ran = run(media_environment, "classify", "--json", recording)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["label"] == "male"


def test_a_call_is_served_and_placed(media_environment: dict[str, str], server: str) -> None:
    ran = run(media_environment, "call", server, "--json")
    assert ran.returncode == 0, ran.stderr
    messages = [json.loads(line) for line in ran.stdout.splitlines()]
    labels = [message["label"] for message in messages if message.get("type") == "segment"]
    assert labels == ["male", "female"]


def test_analyze_loads_its_model(media_environment: dict[str, str]) -> None:
    program = (
        "from voxgender.engine.loading import shared_engine; a = shared_engine('embedded'); print(a.model); a.close()"
    )
    ran = subprocess.run(
        [sys.executable, "-S", "-c", program], env=media_environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "embedded\n"


def refused(ran: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command ended with."""
    assert ran.returncode == 1
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("voxgender: ")
    return line


def test_another_checkpoint_names_the_extra_that_converts_it(
    media_environment: dict[str, str], checkpoint: Path
) -> None:
    for arguments in (("classify", "--model", checkpoint, "x.wav"), ("classify", "--precision", "int8", "x.wav")):
        line = refused(run(media_environment, *arguments))
        assert "converting it needs onnx: pip install 'voxgender[checkpoints]'" in line


def test_a_hub_names_the_extra_that_fetches_from_it(media_environment: dict[str, str]) -> None:
    line = refused(run(media_environment, "classify", "--model", "somebody/voices", "x.wav"))
    assert "fetching it from the hub needs huggingface_hub: pip install 'voxgender[checkpoints]'" in line


def test_what_needs_torch_names_its_extra(media_environment: dict[str, str], checkpoint: Path, tmp_path: Path) -> None:
    config = checkpoint / "config.json"
    config.write_text(config.read_text().replace('"hidden_act": "gelu"', '"hidden_act": "silu"'))
    for arguments in (
        ("classify", "--model", checkpoint, "x.wav"),
        ("classify", "--device", "cuda", "x.wav"),
        ("export", tmp_path / "run", tmp_path / "out"),
    ):
        assert "pip install 'voxgender[torch]'" in refused(run(media_environment, *arguments))


def test_training_names_the_one_extra_that_brings_all_that_it_needs(media_environment: dict[str, str]) -> None:
    line = refused(run(media_environment, "train", "manifest.csv", "--out", "run"))
    assert line == "voxgender: this command needs pyworld: pip install 'voxgender[training]'"


def test_evaluation_needs_no_extra(media_environment: dict[str, str]) -> None:
    assert "manifest.csv: cannot be read" in refused(run(media_environment, "evaluate", "manifest.csv"))

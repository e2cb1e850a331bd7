"""Every example in Python of the documentation runs, and passes strict type checks."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxgender
from tests.engine.test_files import write
from tests.snippets import PREAMBLE, ROOT, Example, examples
from tests.support import Samples, TimedTrack, frames, silence
from tests.waits import PATIENCE_S
from voxgender.peer.voices import MAN, speak

EXAMPLES = examples()


@pytest.fixture(scope="module")
def voice() -> Samples:
    return np.concatenate([speak(MAN, 1.5), silence(0.7)])


class Microphone:
    """Gives sound as soon as somebody wants it."""

    def __init__(self, pcm: bytes) -> None:
        self._pcm = pcm

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "on_data":
            on_data: Callable[[bytes], None] = value
            on_data(self._pcm)


async def two_channels(voice: Samples) -> AsyncIterator[bytes]:
    """Stand for a telephone's channels: µ-law."""
    import av

    for made in frames(np.stack([voice, voice]).T.reshape(-1)[::2], rate=16_000):
        encoder = av.CodecContext.create("pcm_mulaw", "w")
        assert isinstance(encoder, av.AudioCodecContext)
        encoder.sample_rate, encoder.layout, encoder.format = 16_000, "mono", "s16"
        for packet in encoder.encode(made):
            yield bytes(packet)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.page}:{example.line}")
@pytest.mark.usefixtures("pitch")
async def test_every_example_runs(
    example: Example, voice: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if example.framework is not None:
        pytest.skip(f"run where {example.framework} is: tests/integrations/{example.framework}_call.py")
    scope: dict[str, Any] = {}
    exec(compile(PREAMBLE + example.as_function("example"), example.page, "exec"), scope)
    reader = asyncio.StreamReader()
    reader.feed_data((voice * 32_767).astype("<i2").tobytes())
    reader.feed_eof()
    given = {
        "track": TimedTrack((0.0, made) for made in frames(voice)),
        "chunks": two_channels(voice),
        "path": write(tmp_path / "voice.wav", voice),
        "samples": voice,
        "reader": reader,
        "microphone": Microphone((voice * 32_767).astype("<i2").tobytes()),
    }
    async with asyncio.timeout(PATIENCE_S):
        await scope["example"](**given)
    if "print" in example.code and "def run" not in example.code:
        assert capsys.readouterr().out
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 10


CONFIG = """
[mypy]
strict = True
mypy_path = {path}
[mypy-voxgender.*]
follow_imports = silent
# Large, and no matter here.
[mypy-aiortc.*,av.*,numpy.*,onnxruntime.*,prometheus_client.*,livekit.*,fastrtc.*,pipecat.*,torch.*,transformers.*]
follow_imports = skip
ignore_missing_imports = True
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One module with all examples."""
    path = tmp_path_factory.mktemp("examples") / "examples.py"
    path.write_text(PREAMBLE + "\n".join(one.as_function(f"example_{i}") for i, one in enumerate(EXAMPLES)))
    return path


def test_every_example_is_typed_for_mypy(module: Path) -> None:
    config = module.with_name("mypy.ini")
    config.write_text(CONFIG.format(path=ROOT / "server"))
    check = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", ROOT / ".mypy_cache/examples", module],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert check.returncode == 0, check.stdout + check.stderr


def test_every_example_is_typed_for_pyright(module: Path) -> None:
    (module.parent / "pyrightconfig.json").write_text(
        f'{{"extraPaths": ["{ROOT / "server"}"], "reportMissingImports": false, "typeCheckingMode": "standard"}}'
    )
    check = subprocess.run(
        ["npx", "--no-install", "pyright", "--pythonpath", sys.executable, "--project", module.parent],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert check.returncode == 0, check.stdout + check.stderr


def test_all_names_that_the_pages_import_are_public() -> None:
    text = "\n".join(example.code for example in EXAMPLES)
    names = {name.strip() for line in re.findall(r"from voxgender import ([^\n]+)", text) for name in line.split(",")}
    assert names <= set(voxgender.__all__)
    page = (ROOT / "docs" / "embedding.md").read_text().partition("## In Python\n")[2]
    assert names | {"AudioError", "ModelError", "VoxgenderError"} <= set(re.findall(r"\w+", page))


@pytest.mark.parametrize("name", voxgender.__all__)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    assert getattr(voxgender, name) is not None
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("embedding.md", "protocol.md"))
    assert name == "__version__" or re.search(rf"\b{name}\b", pages, re.IGNORECASE)

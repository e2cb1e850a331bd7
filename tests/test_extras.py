import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from tests.deploy.packages import required
from voxgender.extras import MODULES, advice


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("torch", "needs torch: pip install 'voxgender[torch]'"),
        ("onnx.helper", "needs onnx: pip install 'voxgender[checkpoints]'"),
        ("aiortc", "needs aiortc: pip install 'voxgender[media]'"),
    ],
)
def test_a_missing_module_is_told_with_the_extra_that_brings_it(module: str, told: str) -> None:
    assert advice(ModuleNotFoundError(f"No module named '{module}'", name=module)) == told


@pytest.mark.parametrize("name", ["voxgender.nothing", "left_pad", None])
def test_a_module_that_no_extra_brings_stays_an_error(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError):
        advice(ModuleNotFoundError("no module", name=name))


@pytest.mark.parametrize("extra", MODULES)
def test_each_extra_brings_its_modules_and_the_package_alone_does_not(extra: str) -> None:
    distributions = packages_distributions()
    for module in MODULES[extra]:
        names = {canonicalize_name(name) for name in distributions[module]}
        assert names & set(required(extra)), module
        assert not names & set(required()), module


_HIDDEN = """
import asyncio, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "av", "aiortc", "onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
import voxgender

async def analyze():
    async for _ in voxgender.analyze([bytes(320)], rate=16_000):
        pass

async def voice():
    async with voxgender.Voice(16_000) as voice:
        voice.push(bytes(320))
        await anext(voice)

for use in (
    lambda: asyncio.run(analyze()),
    lambda: asyncio.run(voice()),
    lambda: asyncio.run(voxgender.classify("x.wav")),
    lambda: voxgender.classify_sync("x.wav"),
    lambda: voxgender.FileClassification,
):
    try:
        use()
    except ModuleNotFoundError as missing:
        print(missing)
"""


def test_a_program_is_told_the_extra_that_it_needs() -> None:
    """``pip install voxgender`` and the first example of the documentation: No module named 'numpy'."""
    ended = subprocess.run([sys.executable, "-c", _HIDDEN], capture_output=True, text=True, timeout=100, check=False)
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert len(lines) == 5
    assert set(lines) == {"voxgender needs numpy: pip install 'voxgender[media]'"}

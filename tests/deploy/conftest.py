"""The packages as a release has them, built once."""

import os
import subprocess
import sys
import wave
import zipfile
from pathlib import Path

import pytest

from tests.deploy.artifacts import ROOT
from tests.deploy.packages import files, required
from voxgender.peer.voices import MAN, speak


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return out


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def npm_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball that ``npm publish`` would send."""
    out = tmp_path_factory.mktemp("npm")
    command = ["npm", "pack", "--silent", "--pack-destination", str(out)]
    ran = subprocess.run(command, cwd=ROOT / "client", capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (tarball,) = out.iterdir()
    return tarball


@pytest.fixture(scope="session")
def media_environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> dict[str, str]:
    """An environment with the built wheel, the media extra's own packages, linked, and nothing else."""
    site = tmp_path_factory.mktemp("site")
    for path, place in files(required("media")):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).symlink_to(place)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VOXGENDER_")}
    return {**kept, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    with wave.open(str(tmp_path / "man.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((speak(MAN, 3.0) * 32_000).astype("<i2").tobytes())
    return tmp_path / "man.wav"

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def speech() -> Path:
    """The corpus of real speech: ``manifest.csv`` and the files that it names."""
    directory = Path(os.environ.get("VOXGENDER_SPEECH", Path(__file__).parents[1] / ".." / "shared" / "speech"))
    if not (directory / "manifest.csv").is_file():
        pytest.skip(f"no real speech in {directory}: point VOXGENDER_SPEECH at a directory with a manifest.csv")
    return directory.resolve()

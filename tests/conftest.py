"""What tests of more than one module start from."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.rtc import Server, a_server
from voxgender.analysis import Analyzer


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep converted checkpoints of tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def speech() -> Path:
    """The corpus of real speech: ``manifest.csv`` and the files that it names."""
    directory = Path(os.environ.get("VOXGENDER_SPEECH", Path(__file__).parents[1] / ".." / "shared" / "speech"))
    if not (directory / "manifest.csv").is_file():
        pytest.skip(f"no real speech in {directory}: point VOXGENDER_SPEECH at a directory with a manifest.csv")
    return directory.resolve()


@pytest.fixture(scope="session")
def analyzer() -> Iterator[Analyzer]:
    """Hears speech and silence; no gender is asked for where connections are tested."""
    analyzer = Analyzer(None)
    yield analyzer
    analyzer.close()


@pytest.fixture
async def server(analyzer: Analyzer) -> AsyncIterator[Server]:
    async with a_server(analyzer) as server:
        yield server

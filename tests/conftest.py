"""Fixtures of tests of more than one module."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.engine.models import Pitch
from tests.rtc import Server, a_server
from voxgender.engine import Engine, loading

pytest_plugins = ["tests.watchdog"]

# The same examples in each run, so that a change is not refused for what an older one did: new ones are looked for by
# `make fuzz`, whose findings become tests.
settings.register_profile("tests", derandomize=True, deadline=None)
# For `make unit`.
settings.register_profile("unit", max_examples=20, derandomize=True, deadline=None)
# For `make fuzz`.
settings.register_profile("nightly", max_examples=5_000, deadline=None)
settings.load_profile("tests")

# Programs in a shell's background ignore Ctrl-C, and so would those that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
def engine() -> Iterator[Engine]:
    """Hears speech and silence; no gender is asked for where connections are tested."""
    engine = Engine(None)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def hearing() -> Iterator[Engine]:
    """Tell voices apart by their pitch."""
    engine = Engine(Pitch())
    yield engine
    engine.close()


@pytest.fixture
def pitch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Let the library's embedded model be one that goes by the pitch."""
    engine = Engine(Pitch())
    monkeypatch.setitem(loading._engines, "embedded", engine)
    yield engine
    engine.close()


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[Server]:
    async with a_server(engine) as server:
        yield server

"""The commands where the system has less than Linux, as macOS and Windows do: what they lack is taken away."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.serving import PATIENCE_S, serving

MACOS = """
import os, sys
del os.sched_getaffinity
sys.modules["voxgender.media.recvmmsg"] = None
"""
WINDOWS = (
    MACOS
    + """
import asyncio
sys.modules["uvloop"] = None
del asyncio.start_unix_server

def lacks(*_):
    raise NotImplementedError

for name in ("add_reader", "add_signal_handler", "remove_signal_handler"):
    setattr(asyncio.SelectorEventLoop, name, lacks)
"""
)
MAIN = """
from voxgender.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(params=[MACOS, WINDOWS], ids=["macOS", "Windows"])
def command(request: pytest.FixtureRequest) -> list[str]:
    return [sys.executable, "-S", "-c", request.param + MAIN]


@pytest.fixture
def server(media_environment: dict[str, str], command: list[str]) -> Iterator[str]:
    with serving(command, media_environment) as url:
        yield url


def test_a_call_is_served_and_placed_and_the_server_stops_when_told(
    media_environment: dict[str, str], command: list[str], server: str, recording: Path
) -> None:
    """Nothing could be imported: recvmmsg was looked up in the C library at once."""
    ran = subprocess.run(
        [*command, "call", server, "--audio", str(recording), "--json"],
        env=media_environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    messages = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [message["label"] for message in messages if message.get("type") == "segment"] == ["male"]


def test_files_are_classified(media_environment: dict[str, str], command: list[str], recording: Path) -> None:
    ran = subprocess.run(
        [*command, "classify", "--json", str(recording)],
        env=media_environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["label"] == "male"


def test_workers_are_refused_where_there_are_no_unix_sockets(media_environment: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-S", "-c", WINDOWS + MAIN, "serve", "--workers", "2", "--port", "0"],
        env={**media_environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr == "voxgender: --workers needs Unix sockets, which this system has not: start it without\n"

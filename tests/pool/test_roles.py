"""Roles with ``--inference``, as processes of their own; the pool answers over real HTTP, without Ray."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.engine.models import Pitch
from tests.options import given
from tests.pool.pools import HOST, HttpPool, Marks, a_client, a_pool
from tests.roles.processes import a_role, metrics
from tests.rtc import LOOPBACK
from voxgender.cli import main
from voxgender.engine import Engine
from voxgender.errors import ModelError
from voxgender.http.models import ModelRequest
from voxgender.roles.modelswap import ModelSwap
from voxgender.roles.workers import worker_configs
from voxgender.settings import ModelOptions, ServeSettings


@pytest.fixture
def pool() -> Iterator[HttpPool]:
    with a_pool(Pitch()) as pool:
        yield pool


def at(pool: HttpPool) -> str:
    return f"ray://{HOST}:{pool.port}"


async def test_workers_share_a_pool_and_metrics_say_how_many_reach_it(pool: HttpPool) -> None:
    options = ("serve", "--workers", "2", "--inference", at(pool), "--ice-address", LOOPBACK)
    async with a_role(*options) as front, ClientSession(front.url) as http:
        assert (await metrics(http))["voxgender_pool_up"] == 2
        assert await front.stop(signal.SIGTERM) == 0


async def test_a_media_node_takes_its_model_from_a_pool(pool: HttpPool) -> None:
    options = ("media", "--inference", at(pool), "--ice-address", LOOPBACK)
    async with a_role(*options) as node, ClientSession(node.url) as http:
        assert (await metrics(http))["voxgender_pool_up"] == 1
        assert await node.stop(signal.SIGTERM) == 0


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status of a command, and its one line."""
    status = main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    return status, line


@pytest.mark.parametrize("role", ["serve", "media"])
def test_a_wrong_address_is_one_line(
    role: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOXGENDER_SECRET", "shared")
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr("voxgender.commands._run", asyncio.run)
    monkeypatch.setattr("voxgender.logs.start", lambda *_: None)
    status, line = told(capsys, role, "--port", "0", "--ice-address", LOOPBACK, "--inference", f"ray://{HOST}:{port}")
    assert status == 1
    assert line == (
        f"voxgender: the pool at ray://{HOST}:{port}: no answer (connection refused); start it by voxgender pool, or "
        "look at --inference"
    )


@pytest.mark.parametrize(
    ("options", "status", "line"),
    [
        (("--model", "/no/such/model"), 1, "voxgender: model /no/such/model: no such directory"),
        (("--labels", "female"), 2, "--labels"),
        (("--replicas", "4-2"), 2, "--replicas"),
        (("--inference", "ray"), 2, "no option --inference"),
    ],
)
def test_a_pools_own_options_are_checked_before_ray_is_started(
    options: tuple[str, ...],
    status: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voxgender.commands._run", asyncio.run)
    monkeypatch.setattr("voxgender.logs.start", lambda *_: None)
    ended, said = told(capsys, "pool", "--port", "0", *options)
    assert ended == status
    assert line in said


def test_signaling_has_no_model_and_takes_no_address_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    status, line = told(capsys, "signaling", "--inference", "ray")
    assert status == 2
    assert "voxgender signaling has no option --inference" in line


def test_a_model_beside_a_pool_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, line = told(capsys, "serve", "--inference", "ray", "--model", "owner/name")
    assert status == 2
    assert "the pool's model is used" in line


def test_workers_are_told_the_address_and_no_threads_of_a_model(tmp_path: Path) -> None:
    configs = worker_configs(given(ServeSettings, workers=2, inference="ray://pool:9000"), "key", tmp_path)
    assert {config.settings.model.pool for config in configs} == {("pool", 9000)}


async def test_the_pools_model_is_not_swapped_by_a_node(pool: HttpPool) -> None:
    options = given(ModelOptions, inference=at(pool))
    with a_client(pool) as client:
        swap = ModelSwap(options, lambda _: Marks())
        swap.engine = Engine(client)
        with pytest.raises(ModelError, match="is that of the pool at ray://"):
            await swap.swap(ModelRequest(model="another"))
        swap.reload_soon()
        await swap.close()
        assert swap.engine.model == "pitch"

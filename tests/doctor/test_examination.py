"""Findings of ``voxgender doctor``, with real servers of each kind, and its advice."""

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from tests.nodes import a_node
from tests.options import given
from tests.redisserver import a_free_port, a_redis
from tests.rtc import LOOPBACK, a_server
from tests.turn import SECRET, a_turn_server
from voxgender.doctor import machine
from voxgender.doctor.examination import examine
from voxgender.doctor.finding import Finding, as_json, has_failed
from voxgender.engine import Engine
from voxgender.roles.hosting import listen
from voxgender.settings import DoctorSettings


async def examined(**options: Any) -> dict[str, list[Finding]]:
    """The findings by check. Nothing that is slow is looked at unless it is asked for."""
    known = {"model": "off", "ice_address": (LOOPBACK,), "port": 0}
    found: dict[str, list[Finding]] = {}
    async for finding in examine(given(DoctorSettings, **known | options)):
        found.setdefault(finding.check, []).append(finding)
    return found


def only(found: dict[str, list[Finding]], check: str) -> Finding:
    (finding,) = found[check]
    return finding


async def test_a_machine_that_is_well_has_no_failure_and_each_finding_is_one_line() -> None:
    found = [finding for findings in (await examined()).values() for finding in findings]
    assert not has_failed(found)
    assert {"HTTP port", "UDP ports", "addresses", "descriptors", "socket buffers", "model"} <= {
        finding.check for finding in found
    }
    assert all("\n" not in str(finding) and bool(finding.advice) is (finding.state != "ok") for finding in found)
    told = json.loads(as_json(found))
    assert told["ok"] is True
    assert set(told["checks"][0]) == {"check", "state", "found", "advice"}


async def test_a_port_that_something_else_has_is_a_failure_and_one_that_voxgender_has_is_not(engine: Engine) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen(1)
        port = other.getsockname()[1]
        finding = await asyncio.to_thread(machine.tcp_port, "HTTP port", LOOPBACK, port, "--port")
    assert finding.state == "failed"
    assert "--port" in finding.advice
    async with a_server(engine) as server:
        own = only(await examined(port=int(server.url.rpartition(":")[2])), "HTTP port")
    assert (own.state, "already" in own.found) == ("ok", True)
    strange = only(await examined(host="192.0.2.77"), "HTTP port")
    assert strange.state == "failed"


async def test_udp_ports_that_are_taken_or_too_few_are_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((LOOPBACK, 0))
        port = taken.getsockname()[1]
        none = only(await examined(udp_ports=f"{port}-{port}"), "UDP ports")
    assert none.state == "failed"
    few = only(await examined(udp_ports="42000-42001", max_sessions=100), "UDP ports")
    assert few.state == "warning"
    assert "--udp-ports" in few.advice
    assert only(await examined(udp_ports="42000-42003"), "UDP ports").state == "ok"


async def test_addresses_that_nobody_reaches_are_told() -> None:
    assert only(await examined(), "addresses").state == "warning"
    assert only(await examined(advertise_address=("192.88.99.7",)), "addresses").state == "ok"
    wrong = only(await examined(ice_address=("192.0.2.77",)), "addresses")
    assert wrong.state == "failed"
    assert wrong.found.startswith("--ice-address 192.0.2.77")


async def test_turn_logins_are_tried_on_a_real_server(tmp_path: Path) -> None:
    """A login that the TURN server refuses was seen only by callers behind firewalls."""
    async with a_turn_server(tmp_path) as turn:
        for transport in ("udp", "tcp"):
            good = only(
                await examined(ice_server=(turn.uri(transport),), turn_secret=SECRET), f"TURN {turn.uri(transport)}"
            )
            assert good.state == "ok"
            assert LOOPBACK in good.found
        wrong = only(await examined(ice_server=(turn.uri("udp"),), turn_secret="south"), f"TURN {turn.uri('udp')}")
        assert wrong.state == "failed"
        assert "refuses the login (401)" in wrong.found
        untrusted = only(await examined(ice_server=(turn.uri("tls"),), turn_secret=SECRET), f"TURN {turn.uri('tls')}")
        assert untrusted.state == "failed"
        assert "certificate" in untrusted.found
        stun = only(await examined(ice_server=(f"stun:{LOOPBACK}:{turn.port}",)), f"STUN {LOOPBACK}")
        assert stun.state == "ok"
        assert f"sees {LOOPBACK} as {LOOPBACK}" in stun.found
    dead = only(await examined(ice_server=(turn.uri("tcp"),), turn_secret=SECRET), f"TURN {turn.uri('tcp')}")
    assert dead.state == "failed"
    assert SECRET not in str(dead)


async def test_a_registry_is_written_and_read_and_its_clock_compared() -> None:
    async with a_redis() as redis:
        well = await examined(role="signaling", registry=redis.url, secret="x" * 32)
        assert only(well, "registry").state == "ok"
        assert only(well, "clock").state == "ok"
        assert "model" not in well
        assert "UDP ports" not in well
        async with Redis.from_url(redis.url) as server:
            assert await server.keys("*") == []
            await server.config_set("maxmemory", "1")
        full = only(await examined(role="media", registry=redis.url, secret="x" * 32), "registry")
        assert full.state == "failed"
        assert "no memory left" in full.found
    gone = only(await examined(role="signaling", registry=redis.url, secret="x" * 32), "registry")
    assert gone.state == "failed"
    wrong = await examined(role="signaling", registry="redis://h?wrong_opt=1", secret="short")
    assert wrong["secret"][0].state == "warning"
    assert only(wrong, "fleet").state == "failed"
    assert only(await examined(role="media"), "secret").state == "failed"


async def test_nodes_are_asked_as_signaling_does(engine: Engine) -> None:
    async with a_node(engine) as node:
        check = f"node {node.url}"
        secret = "shared by signaling and nodes"
        assert only(await examined(role="signaling", nodes=(node.url,), secret=secret), check).state == "ok"
        stranger = only(await examined(role="signaling", nodes=(node.url,), secret="another one of 32 letters"), check)
        assert stranger.state == "failed"
        assert "VOXGENDER_SECRET" in stranger.advice
    gone = only(await examined(role="signaling", nodes=(node.url,), secret=secret), check)
    assert gone.state == "failed"


@pytest.fixture
async def late_server() -> AsyncIterator[str]:
    """An HTTP server whose clock is two minutes slow."""

    async def late(_: web.Request) -> web.Response:
        return web.Response(headers={"Date": formatdate(time.time() - 120, usegmt=True)})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", late)
    async with AsyncExitStack() as stack:
        yield f"http://{LOOPBACK}:{await listen(app, stack, host=LOOPBACK, port=0)}/keys"


async def test_a_clock_that_is_wrong_is_told(late_server: str) -> None:
    finding = only(await examined(jwt_keys=late_server), "clock")
    assert finding.state == "failed"
    assert "120" in finding.found or "119" in finding.found or "121" in finding.found
    nobody = only(await examined(jwt_keys=f"http://{LOOPBACK}:{a_free_port()}/keys"), "clock")
    assert nobody.state == "warning"


async def test_limits_permissions_and_models_are_told(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    keys.chmod(0o666)
    found = await examined(max_sessions=1_000_000, jwt_keys=str(keys), model="/no/such", host="0.0.0.0")
    assert only(found, "descriptors").state == "warning"
    assert "LimitNOFILE" in only(found, "descriptors").advice
    assert any("others may write" in finding.found for finding in found["permissions"])
    assert only(found, "model").state == "failed"
    assert only(found, "model").found == "model /no/such: no such directory"


async def test_the_embedded_model_hears_the_built_in_voices() -> None:
    loaded, heard, *_ = (await examined(model="embedded"))["model"]
    assert loaded.state == heard.state == "ok"
    assert "man as male and the woman as female" in heard.found


async def test_the_command_ends_with_a_status_and_speaks_json() -> None:
    command = (sys.executable, "-m", "voxgender.cli", "doctor", "--model", "off", "--port", "0", "--json")
    for options, status in (((), 0), (("--host", "192.0.2.77"), 1), (("--no-such",), 2)):
        process = await asyncio.create_subprocess_exec(
            *command, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, errors = await process.communicate()
        assert process.returncode == status
        if status == 2:
            assert errors.count(b"\n") == 1
        else:
            assert json.loads(out)["ok"] is (status == 0)
            assert errors == b""

"""One process serves calls over HTTP alone: without UDP, with instances that end and clients that resume."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import NamedTemporaryFile

import pytest
from aiohttp import ClientSession

from tests.deploy.artifacts import starts
from tests.http.test_listen import Socket, of, refusal, until_closed
from tests.rtc import LOOPBACK, SDP
from voxgender import protocol

TOKEN = "s3cr3t"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SECOND = bytes(32_000)


class Instance:
    """One process, with the environment of the manifest."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url


@asynccontextmanager
async def an_instance(**options: str) -> AsyncIterator[Instance]:
    (start,) = [start for start in starts() if start.where == "cloud-run-alone"]
    # Cloud Run's own choice of a port, and a token that is simpler to make.
    own = {"VOXGENDER_MODEL": "off", "VOXGENDER_HOST": LOOPBACK, "PORT": "0", "VOXGENDER_TOKEN": TOKEN} | options
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voxgender.cli", "serve",
        env=dict(os.environ) | start.environment | own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            said = (await process.stdout.readline()).decode()
        yield Instance(process, said.rpartition(" ")[2].strip())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def heard_to(http: ClientSession, url: str, from_ms: int) -> tuple[int, Socket]:
    """Stream a second; return where the last result ended, and the socket."""
    socket = await http.ws_connect(f"{url}listen?from_ms={from_ms}", headers=BEARER)
    await socket.send_bytes(SECOND)
    end_s = 0.0
    async with asyncio.timeout(10):
        while end_s < from_ms / 1_000 + 0.9:
            message = protocol.decode(await socket.receive_str())
            if isinstance(message, protocol.Result):
                assert message.start >= from_ms / 1_000
                end_s = message.end
    return round(end_s * 1_000), socket


async def test_a_stream_outlives_its_instances() -> None:
    async with ClientSession() as http:
        async with an_instance() as first:
            heard_ms, socket = await heard_to(http, first.url, 0)
            # As when an hour is over, or a machine is gone: no close comes.
            first.process.kill()
            _, code, _ = await until_closed(socket)
            assert code == 1006
        async with an_instance() as second:
            await refusal_of_webrtc(http, second.url)
            heard_ms, socket = await heard_to(http, second.url, heard_ms)
            assert heard_ms == pytest.approx(1_950, abs=150)
            second.process.send_signal(signal.SIGTERM)
            messages, code, reason = await until_closed(socket)
            assert code == 1001
            assert "from_ms" in reason
            assert [warning.code for warning in of(protocol.Warning, messages)] == ["draining"]
            assert of(protocol.Summary, messages)
            async with asyncio.timeout(10):
                assert await second.process.wait() == 0


async def test_a_ticket_is_taken_by_another_instance_than_the_one_that_made_it() -> None:
    """Cloud Run sends a request to any instance, so with two of them every other ticket was not found."""
    async with ClientSession() as http, an_instance() as one, an_instance() as other:
        async with http.post(f"{one.url}listen", headers=BEARER) as response:
            ticket = (await response.json())["url"].removeprefix("/")
        async with http.ws_connect(f"{other.url}{ticket}") as socket:
            await socket.send_bytes(SECOND)
            await socket.send_json({"type": "close"})
            messages, code, _ = await until_closed(socket)
            assert (len(of(protocol.Summary, messages)), code) == (1, 1000)
        await refusal(http, f"{other.url}{ticket}", 404, "ticket_not_found")


async def refusal_of_webrtc(http: ClientSession, url: str) -> None:
    async with http.post(f"{url}whip", data="v=0", headers=SDP | BEARER) as response:
        assert response.status == 501
        problem = await response.json(content_type="application/problem+json")
    assert problem["code"] == "no_udp"
    assert "/listen" in problem["detail"]
    async with http.options(f"{url}whip", headers=BEARER) as response:
        assert response.status == 204
        assert "Link" not in response.headers
    await refusal(http, f"{url}listen", 401, "unauthorized")


def test_a_network_without_udp_is_enough() -> None:
    """A network namespace of its own has no address but loopback, so nothing gets in or out but what stays inside."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespaces here")
    script = f"""
        ip link set lo up
        {sys.executable} -m voxgender.cli serve --no-udp --model off --port 8080 --log-level warning > "$OUT" &
        server=$!
        for _ in $(seq 300); do grep -q ready "$OUT" && break; sleep 0.1; done
        head -c 64000 /dev/zero | {sys.executable} -m voxgender.cli listen http://127.0.0.1:8080 - --json
        status=$?
        kill $server; wait $server
        exit $status
    """
    with NamedTemporaryFile() as out:
        done = subprocess.run(
            [unshare, "-rn", "bash", "-c", script],
            env=os.environ | {"OUT": out.name},
            capture_output=True,
            timeout=60,
            check=True,
        )
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["type"], last["duration"]) == ("summary", 2.0)

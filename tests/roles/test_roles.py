"""``voxgender signaling``, ``media`` and ``serve --workers``, as processes of their own."""

import asyncio
import signal
import sys
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession

from tests.redisserver import a_redis
from tests.roles.processes import ENVIRONMENT, a_role, metrics
from tests.rtc import LOOPBACK, SDP, Peer, ToneTrack, a_peer
from tests.waits import until
from voxgender import protocol
from voxgender.protocol import Warning


def media(*options: str) -> tuple[str, ...]:
    return ("media", "--model", "off", "--ice-address", LOOPBACK, *options)


def serve(*options: str) -> tuple[str, ...]:
    return ("serve", "--model", "off", "--ice-address", LOOPBACK, *options)


async def call(http: ClientSession, peer: Peer) -> str:
    peer.channels()
    path = await peer.call(http)
    await peer.until(protocol.Result)
    return path


async def all_gone(processes: list[psutil.Process]) -> None:
    """Wait for processes that are not this one's children; init, where there is one, reaps them."""

    def is_gone(process: psutil.Process) -> bool:
        try:
            return bool(process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    await until(lambda: all(map(is_gone, processes)))


async def test_signaling_and_a_node_that_drains() -> None:
    async with (
        a_redis() as redis,
        a_role(*media("--registry", redis.url)) as node,
        a_role("signaling", "--registry", redis.url) as front,
        ClientSession(front.url) as http,
    ):
        async with http.get("/health/ready") as response:
            assert response.status == 200
        async with a_peer(ToneTrack()) as peer:
            path = await call(http, peer)
            node.process.send_signal(signal.SIGTERM)
            warning = await peer.until(Warning)
            assert isinstance(warning, Warning)
            assert warning.code == "draining"
            await peer.until(protocol.Result)
            async with a_peer(ToneTrack()) as another:
                offer = await another.offer()
            async with http.post("/whip", data=offer, headers=SDP) as response:
                assert response.status == 503
                assert (await response.json())["code"] == "draining"
            async with http.delete(path) as response:
                assert response.status == 200
        assert await asyncio.wait_for(node.process.wait(), 20) == 0
        async with http.get(path) as response:
            assert response.status == 404
        assert await front.stop(signal.SIGTERM) == 0


async def test_signaling_is_light_and_knows_neither_torch_nor_webrtc() -> None:
    """It runs on Cloud Run, from zero."""
    heavy = ("torch", "transformers", "onnxruntime", "aiortc", "aioice", "av", "numpy", "uvloop", "scipy")
    async with a_role("signaling", "--nodes", "http://127.0.0.1:9") as front:
        process = psutil.Process(front.process.pid)
        assert process.memory_info().rss < 100e6
        loaded = {mapped.path for mapped in process.memory_maps()}
        assert not [path for path in loaded if any(f"/{name}/" in path for name in heavy if name != "uvloop")]
        assert await front.stop(signal.SIGTERM) == 0
    source = (
        "import sys; from voxgender import cli; import voxgender.roles.signaling; import voxgender.roles.workers; "
        "from redis import asyncio; import voxgender.fleet.registry; "
        f"sys.exit(' '.join(set({heavy!r}) & set(sys.modules)) or 0)"
    )
    process_ = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stderr=asyncio.subprocess.PIPE)
    _, errors = await process_.communicate()
    assert (process_.returncode, errors) == (0, b"")


LOADING_FOR_EVER = (
    "import sys, threading, voxgender.roles.serve; from voxgender import cli; "
    "voxgender.roles.serve.make_engine = lambda settings: (print('loading', flush=True), threading.Event().wait()); "
    "sys.exit(cli.main(sys.argv[1:]))"
)


@pytest.mark.parametrize("role", ["serve", "media"])
async def test_a_server_whose_model_is_still_being_loaded_ends_at_once(role: str) -> None:
    async with a_role(role, program=("-c", LOADING_FOR_EVER)) as server:
        assert server.url == "loading"
        assert await server.stop(signal.SIGTERM) == 0


async def test_ctrl_c_does_not_wait_for_calls_to_move() -> None:
    async with (
        a_role(*serve("--drain-timeout-s", "1000")) as server,
        ClientSession(server.url) as http,
        a_peer(ToneTrack()) as peer,
    ):
        await call(http, peer)
        assert await server.stop(signal.SIGINT) == 0


async def test_a_call_that_does_not_move_ends_when_time_is_up() -> None:
    async with (
        a_role(*serve("--drain-timeout-s", "0.5")) as server,
        ClientSession(server.url) as http,
        a_peer(ToneTrack()) as peer,
    ):
        await call(http, peer)
        assert await server.stop(signal.SIGTERM) == 0
        await peer.until(protocol.Summary)


async def test_workers_share_the_calls_are_replaced_when_they_die_and_drain_with_their_front() -> None:
    async with a_role(*serve("--workers", "2")) as server, ClientSession(server.url) as http:
        first, second = server.children
        async with a_peer(ToneTrack()) as one, a_peer(ToneTrack()) as two:
            paths = [await call(http, one), await call(http, two)]
            nodes = {path.split(".")[1] for path in paths}
            assert len(nodes) == 2
            seen = await metrics(http)
            assert seen["voxgender_sessions"] == 2
            assert seen["voxgender_sessions_started_total"] == 2
            assert seen["process_resident_memory_bytes"] > first.memory_info().rss
            first.kill()
            statuses: list[int] = []
            # The front learns of it by the end of a pipe.
            while sorted(statuses) != [200, 404]:
                statuses = []
                for path in paths:
                    async with http.get(path) as response:
                        statuses.append(response.status)

            async def both_are_known() -> bool:
                return (await metrics(http))["voxgender_nodes"] == 2

            await until(both_are_known, within_s=60)
            async with a_peer(ToneTrack()) as again:
                paths.append(await call(http, again))
                assert paths[-1].split(".")[1] not in nodes
                assert second in server.children
                children = server.children
                server.process.send_signal(signal.SIGTERM)
                warning = await again.until(Warning)
                assert isinstance(warning, Warning)
                assert warning.code == "draining"
                async with a_peer(ToneTrack()) as late:
                    late.channels()
                    async with http.post("/whip", data=await late.offer(), headers=SDP) as response:
                        assert (await response.json())["code"] == "draining"
                for path in paths:
                    async with http.delete(path) as response:
                        assert response.status in (200, 404)
        assert await asyncio.wait_for(server.process.wait(), 20) == 0
        await all_gone(children)


async def test_workers_do_not_outlive_a_front_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "TMPDIR", str(tmp_path))
    async with a_role(*serve("--workers", "2")) as server, ClientSession(server.url) as http:
        children = server.children
        async with a_peer(ToneTrack()) as peer:
            await call(http, peer)
            server.process.kill()
            await peer.until(protocol.Summary)
        await all_gone(children)
    assert list(tmp_path.glob("voxgender-*")) == []  # noqa: ASYNC240 - a look at one folder


async def test_a_model_that_cannot_be_loaded_is_said_once_by_the_front() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voxgender.cli", "serve", "--workers", "2", "--model", "/no/such", "--port", "0"),
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode() == "voxgender: model /no/such: no such directory\n"

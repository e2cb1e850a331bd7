"""A pool on a real Ray, started as users start it; nodes in this process, and real calls on them.

Each start of Ray takes ten seconds, so that one pool serves all tests but the last ones, which end it.
"""

import asyncio
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

import grpc
import numpy as np
import psutil
import pytest

from tests.pool.pools import HOST
from tests.rtc import Peer, Server, a_peer, a_server
from tests.support import Samples, TimedTrack, in_real_time
from tests.waits import block_until
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.inference import loading
from voxgender.peer.vocaltract import Speaker
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.pool.client import PoolClassifier
from voxgender.protocol import Result, Warning

START_S = 100.0
"""Time for Ray to start on a machine that does much else."""
STARTS = 3

pytestmark = pytest.mark.timeout(START_S * STARTS + 60)


class PoolProcess:
    """``voxgender pool`` as a process of its own."""

    def __init__(self, log: IO[bytes], port: int, *options: str, **environment: str) -> None:
        self.port = port
        self._log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "voxgender.cli", "pool", "--port", str(port), *options],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        self.said = ""

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()

    def wait(self) -> None:
        """Wait until it is ready, or has ended."""
        assert self.process.stdout is not None
        timer = threading.Timer(START_S, self.process.kill)
        timer.start()
        self.said = self.process.stdout.readline().decode()
        timer.cancel()

    def stop(self) -> int:
        self.process.terminate()
        status = self.process.wait(40)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def started(self) -> list[psutil.Process]:
        """Return all processes that it has started, and their own."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def joined(self) -> dict[str, str]:
        """The environment of another program that joins this pool's Ray."""
        (raylet,) = (each for each in self.started() if each.name() == "raylet")
        (address,) = (part for part in raylet.cmdline() if part.startswith("--gcs-address="))
        token = raylet.environ()["RAY_AUTH_TOKEN"]
        here = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        return {"RAY_ADDRESS": address.partition("=")[2], **here}

    def replicas(self) -> list[psutil.Process]:
        return [each for each in psutil.process_iter(["name", "cmdline"]) if is_replica(each)]


def is_replica(process: psutil.Process) -> bool:
    return any("ServeReplica:voxgender" in part for part in process.info["cmdline"] or ())


@contextmanager
def a_pool_process(*options: str, port: int = 0) -> Iterator[PoolProcess]:
    with socket.create_server((HOST, port)) as taken:
        port = taken.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        pool = started_pool(log, port, *options)
        try:
            assert f"ray://{HOST}:{port}" in pool.said, pool.log
            yield pool
        finally:
            if pool.process.poll() is None:
                assert pool.stop() == 0, pool.log


def started_pool(log: IO[bytes], port: int, *options: str) -> PoolProcess:
    """Start a pool; again, if the machine does so much else that Ray's processes take more than Ray's 15 s."""
    for _ in range(STARTS):
        pool = PoolProcess(log, port, *options)
        pool.wait()
        if pool.said or "Ray has not started" not in pool.log:
            break
        pool.stop()
    return pool


@pytest.fixture(scope="module")
def pool() -> Iterator[PoolProcess]:
    with a_pool_process("--replicas", "2") as pool:
        yield pool


@asynccontextmanager
async def a_node(pool: PoolProcess) -> AsyncIterator[Server]:
    engine = await asyncio.to_thread(lambda: Engine(PoolClassifier(HOST, pool.port)))
    try:
        async with a_server(engine) as server:
            yield server
    finally:
        await asyncio.to_thread(engine.close)


@asynccontextmanager
async def a_call(node: Server, speaker: Speaker, seconds: float = 60.0) -> AsyncIterator[Peer]:
    voice = np.tile(speak(speaker, 4.0), int(seconds / 4))
    async with a_peer(TimedTrack(in_real_time(voice))) as peer:
        peer.channels()
        await peer.call(node.http)
        yield peer


async def labelled(peer: Peer, label: str) -> Result:
    """Wait for a result that says so, and was classified."""
    async with asyncio.timeout(20):
        while True:
            result = await peer.until(Result)
            assert isinstance(result, Result)
            if result.label == label and result.scores:
                return result


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_sighup_leaves_a_pool_its_model_and_says_so(pool: PoolProcess) -> None:
    pool.process.send_signal(signal.SIGHUP)
    block_until(lambda: "a pool keeps its model" in pool.log)
    client = PoolClassifier(HOST, pool.port)
    assert client.name == "embedded"
    client.close()


async def test_two_nodes_share_a_pool_and_each_caller_gets_the_right_label(pool: PoolProcess) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(a_node(pool)) for _ in range(2)]
        man, woman = [await stack.enter_async_context(a_call(*who)) for who in zip(nodes, (MAN, WOMAN), strict=True)]
        hello = await man.until(protocol.Hello)
        assert isinstance(hello, protocol.Hello)
        assert (hello.model, hello.labels[:2]) == ("embedded", ("male", "female"))
        await asyncio.gather(labelled(man, "male"), labelled(woman, "female"))


def test_nobody_else_in_the_network_reaches_its_ray(pool: PoolProcess) -> None:
    """Ray runs code for whoever reaches its ports and knows its token; all of it listened on all addresses.

    A port of each replica still does, which Serve has for calls between deployments: the token is asked for there.
    """
    block_until(lambda: len(pool.replicas()) == 2)
    ports: dict[bool, set[int]] = {True: set(), False: set()}
    for process in (psutil.Process(pool.process.pid), *pool.started()):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                ports[ipaddress.ip_address(connection.laddr.ip.removeprefix("::ffff:")).is_loopback].add(
                    connection.laddr.port
                )
    assert len(ports[True]) > 4
    assert len(ports[False]) <= len(pool.replicas())
    for port in ports[False]:
        with grpc.insecure_channel(f"{HOST}:{port}") as channel:
            for method in ("HandleRequest", "HandleRequestStreaming"):
                ask = channel.unary_unary(f"/ray.serve.ASGIService/{method}")
                with pytest.raises(grpc.RpcError) as refused:
                    ask(b"", timeout=10)
                assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def windows_of(speakers: tuple[Speaker, ...], count: int) -> list[Samples]:
    voices = [speak(speaker, 6.0, seed=seed) for speaker in speakers for seed in range(2)]
    rng = np.random.default_rng(0)
    cut = []
    for number in range(count):
        voice = voices[number % len(voices)]
        size = (16_000, 8_000)[number % 2]
        at = int(rng.integers(0, voice.size - size))
        cut.append(voice[at : at + size])
    return cut


def test_many_calls_of_two_nodes_get_their_own_results(pool: PoolProcess) -> None:
    """Each of 400 windows has its own probabilities, by the model in this process."""
    windows = windows_of((MAN, WOMAN), 400)
    local = loading.load("embedded")
    expected = np.concatenate([local(window[np.newaxis]) for window in windows])
    nodes = [PoolClassifier(HOST, pool.port, deadline_s=30.0) for _ in range(2)]
    try:
        rows = [
            nodes[turn % 2].submit(windows[start : start + 8]) for turn, start in enumerate(range(0, len(windows), 8))
        ]
        found = np.stack([row.result(60) for of_turn in rows for row in of_turn])
    finally:
        for node in nodes:
            node.close()
    assert np.abs(found - expected).max() < 0.02
    spread = np.abs(expected[:, np.newaxis] - expected[np.newaxis]).max(axis=2)
    # Crossed results would be seen.
    assert (spread > 0.05).sum() > len(windows)


async def test_a_replica_that_is_killed_in_mid_call_costs_no_more_than_a_moment(pool: PoolProcess) -> None:
    async with a_node(pool) as node, a_call(node, WOMAN) as peer:
        await labelled(peer, "female")
        victim = pool.replicas()[0]
        victim.kill()
        before = await peer.until(Result)
        for _ in range(10):
            last = await labelled(peer, "female")
        assert isinstance(before, Result)
        assert last.end - before.end < 6.0


async def test_replicas_that_hang_cost_a_warning_and_no_queue_and_labels_come_back(pool: PoolProcess) -> None:
    block_until(lambda: len(pool.replicas()) == 2)
    async with a_node(pool) as node, a_call(node, MAN) as peer:
        await labelled(peer, "male")
        frozen = pool.replicas()
        for replica in frozen:
            replica.suspend()
        try:
            warning = await peer.until(Warning)
            assert isinstance(warning, Warning)
            assert warning.code == "overloaded"
            # Speech is still told from silence, and no result waits for the pool for long.
            result = await peer.until(Result)
            assert isinstance(result, Result)
            assert result.scores is None
            assert result.latency_ms < 3_000
        finally:
            for replica in frozen:
                replica.resume()
        await labelled(peer, "male")


async def test_audio_that_can_wait_waits_for_its_results(pool: PoolProcess) -> None:
    engine = await asyncio.to_thread(lambda: Engine(PoolClassifier(HOST, pool.port)))
    try:
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        messages: list[protocol.AnyMessage] = []
        call = engine.open(messages.extend, ended.set_result, live=False)
        voice = speak(WOMAN, 8.0)
        for at in range(0, voice.size, 320):
            await call.feed(voice[at : at + 320], 0.0)
        call.end()
        assert await asyncio.wait_for(ended, 30) is None
        assert not [message for message in messages if isinstance(message, Warning)]
        assert sum(m.speech for m in messages if isinstance(m, protocol.Summary)) > 5
    finally:
        await asyncio.to_thread(engine.close)


def test_a_node_with_a_pool_loads_no_model_and_no_ray(pool: PoolProcess) -> None:
    program = (
        "import sys; from tests.options import given; from voxgender.settings import ModelOptions;"
        "from voxgender.roles.serve import make_engine;"
        f"engine = make_engine(given(ModelOptions, inference='ray://{HOST}:{pool.port}')); print(engine.model);"
        "engine.close();"
        "print([name for name in ('ray', 'starlette', 'torch', 'transformers', 'onnx', 'safetensors',"
        " 'voxgender.inference.loading', 'voxgender.inference.conversion') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.split("\n")[:2] == ["embedded", "[]"]


def refuse_a_bad_model(pool: PoolProcess, tmp_path: Path) -> None:
    """Ray Serve tells of a replica that cannot start by pages of its own processes' traces."""
    (tmp_path / "config.json").write_text("{")
    with tempfile.TemporaryFile() as log:
        refused = PoolProcess(log, pool.port, "--model", str(tmp_path), "--replicas", "1", **pool.joined())
        refused.wait()
        assert refused.stop() == 1
        lines = [line for line in refused.log.splitlines() if line.startswith("voxgender:")]
        assert len(lines) == 1, refused.log
        assert "config.json" in lines[0]
        assert "Traceback" not in refused.log


async def test_a_pool_that_is_stopped_ends_all_its_processes_and_is_found_when_it_is_back(
    pool: PoolProcess, tmp_path: Path
) -> None:
    async with a_node(pool) as node, a_call(node, WOMAN, 240.0) as peer:
        await labelled(peer, "female")
        started = pool.started()
        assert len(started) > 4
        assert await asyncio.to_thread(pool.stop) == 0
        block_until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in started))
        async with asyncio.timeout(30):
            while "nothing is classified" not in (warning := await peer.until(Warning)).message:  # type: ignore[attr-defined]
                pass
        assert warning.to_dict()["windows_per_s"] == 0
        another = a_pool_process("--replicas", "1", port=pool.port)
        running = await asyncio.to_thread(another.__enter__)
        try:
            # Messages came all the while.
            while not peer.messages.empty():
                peer.messages.get_nowait()
            await labelled(peer, "female")
            await asyncio.to_thread(refuse_a_bad_model, running, tmp_path)
        finally:
            await asyncio.to_thread(another.__exit__, None, None, None)

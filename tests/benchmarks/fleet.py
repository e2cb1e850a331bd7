"""Measure what signaling and the registry cost: the constants of ``tools/capacity.py``.

    python -m tests.benchmarks.fleet

Signaling and Redis are real and in processes of their own; the media nodes are many and in this one, with real HTTP
faces, and answer each offer at once, so that nothing but signaling is measured. Costs are CPU time, which what else the
machine does moves little, and not the clock's.
"""

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from redis.asyncio import Redis

from tests.hosts.network import Network, why_not
from tests.hosts.processes import SECRET as FLEET_SECRET
from tests.hosts.processes import MediaNode as MediaNodeProcess
from tests.nodes import SECRET, a_node
from tests.redisserver import LOOPBACK, a_redis
from tests.rtc import SDP, Peer, ToneTrack
from voxgender import protocol
from voxgender.calloptions import DEFAULTS, CallOptions
from voxgender.engine import Engine
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.registry import RENEW_S, Registry
from voxgender.fleet.remote import RemoteNode
from voxgender.fleet.secret import Secret
from voxgender.fleet.wire import OfferRequest
from voxgender.media.node import MediaNode
from voxgender.roles.hosting import listen

PLACEMENTS = 3_000
AT_ONCE = 16
NODES = 8
IDLE_S = 12.0
MANY_NODES = 1_000
WRITERS = 10
ARTIFACT = Path(__file__).parents[2] / "artifacts" / "benchmarks" / "fleet.json"
# The lengths of a browser's offer and its answer.
OFFER = "v=0\r\n" + "a=candidate:1 1 udp 2122260223 192.0.2.1 40000 typ host\r\n" * 100
ANSWER = "v=0\r\n" + "a=candidate:1 1 udp 2122260223 192.0.2.2 20000 typ host\r\n" * 20


class Prompt(MediaNode):
    """Answers without WebRTC."""

    def __init__(self, **options: Any) -> None:
        self._make_id = options["new_session_id"]
        super().__init__(**options)

    async def open(
        self, offer: str, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        return self._make_id(), ANSWER

    async def end(self, session_id: str) -> None:
        return


class Signaling:
    """A real process of the role."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    def cpu_s(self) -> float:
        """proc(5): the 14th and 15th field of ``stat``, in clock ticks."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024 / 1e6


@asynccontextmanager
async def signaling(registry: str) -> AsyncIterator[Signaling]:
    command = ("-m", "voxgender.cli", "signaling", "--port", "0", "--registry", registry, "--log-level", "error")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "VOXGENDER_SECRET": SECRET_TEXT},
    )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().split()[-1].rstrip("/")
        yield Signaling(url, process.pid)
    finally:
        process.kill()
        await process.communicate()


SECRET_TEXT = "shared by signaling and nodes"
assert SECRET.sign("same", b"") == type(SECRET)(SECRET_TEXT).sign("same", b"")


async def commands(redis: "Redis") -> Counter[str]:
    """Return how often each command has been called."""
    stats: dict[str, dict[str, float]] = await redis.info("commandstats")
    own = ("info", "client", "hello")
    found = {name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()}
    return Counter({name: calls for name, calls in found.items() if not name.startswith(own)})


async def redis_cpu_s(redis: "Redis") -> float:
    used: dict[str, float] = await redis.info("cpu")
    return used["used_cpu_user"] + used["used_cpu_sys"]


async def placements(http: ClientSession, front: Signaling) -> dict[str, float]:
    """The cost of calls that come and of calls that end."""
    paths: list[str] = []
    left = iter(range(PLACEMENTS))

    async def place() -> None:
        for _ in left:
            async with http.post(f"{front.url}/whip", data=OFFER, headers=SDP) as response:
                assert response.status == 201, await response.text()
                await response.read()
                paths.append(response.headers["Location"])

    async def end() -> None:
        while paths:
            async with http.delete(front.url + paths.pop()) as response:
                assert response.status == 200

    figures = {}
    for name, work in (("placement", place), ("ending", end)):
        cpu_s, began = front.cpu_s(), time.monotonic()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        figures[f"{name}_cpu_ms"] = (front.cpu_s() - cpu_s) / PLACEMENTS * 1_000
        figures[f"{name}s_per_s"] = PLACEMENTS / (time.monotonic() - began)
    return figures


class Crowd:
    """Nodes that are their records alone: written by and by as real ones do, and told to whoever asks."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self._beats = [0] * MANY_NODES

    def record(self, number: int) -> NodeRecord:
        self._beats[number] += 1
        return NodeRecord(
            id=f"{number:012x}",
            url=f"{self.url}/{number}",
            capacity=100,
            sessions=50,
            load=0.5,
            version="0.1.0",
            region="europe-west1",
            beat=self._beats[number],
        )

    async def announce(self, registry: Registry, first: int, writers: int) -> None:
        """Every ``writers``-th node, all of them in turn within the time that a lease is renewed in."""
        pause_s = RENEW_S * writers / MANY_NODES
        while True:
            for number in range(first, MANY_NODES, writers):
                await asyncio.gather(registry.announce(self.record(number)), asyncio.sleep(pause_s))

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        record = self.record(int(request.match_info["number"]))
        return web.Response(body=record.to_json(), content_type="application/json")


async def many_nodes(registry: Registry, redis: "Redis", front: Signaling) -> dict[str, float]:
    """Measure what many nodes cost an instance and Redis."""
    crowd = Crowd()
    app = web.Application()
    app.router.add_get("/{number}/node", crowd.answer)
    async with AsyncExitStack() as stack:
        crowd.url = f"http://{LOOPBACK}:{await listen(app, stack, host=LOOPBACK, port=0)}"
        announcing = [asyncio.create_task(crowd.announce(registry, first, WRITERS)) for first in range(WRITERS)]
        await asyncio.sleep(3 * RENEW_S)
        before = (front.cpu_s(), await redis_cpu_s(redis), await commands(redis), crowd.asked, time.monotonic())
        await asyncio.sleep(IDLE_S)
        elapsed = time.monotonic() - before[4]
        figures = {
            "nodes": MANY_NODES,
            "signaling_cpu_share": (front.cpu_s() - before[0]) / elapsed,
            "redis_cpu_share": (await redis_cpu_s(redis) - before[1]) / elapsed,
            "redis_commands_per_s": (await commands(redis) - before[2]).total() / elapsed,
            "nodes_asked_per_s": (crowd.asked - before[3]) / elapsed,
            "signaling_mb": front.memory_mb(),
            "record_bytes": await redis.strlen("{voxgender}:node:000000000001"),
        }
        for task in announcing:
            task.cancel()
        await asyncio.gather(*announcing, return_exceptions=True)
        return figures


async def wire() -> dict[str, float]:
    """Measure what a call sends and receives, IP headers included, on the cable of a node's own host. Needs root."""
    if reason := why_not():
        print(f"not measured: {reason}", file=sys.stderr)
        return {}
    with Network("media") as network:
        (host,) = network.hosts
        node = MediaNodeProcess(host, "")
        node.start()
        try:
            async with AsyncExitStack() as stack:
                peer = Peer(ToneTrack(), address=network.public)
                stack.push_async_callback(peer.close)
                peer.channels()
                remote = RemoteNode(node.url, Secret(FLEET_SECRET))
                stack.push_async_callback(remote.close)
                placed = await remote.offer("wire", OfferRequest(await peer.offer()))
                await peer.accept(placed.answer)
                await peer.until(protocol.Result)
                before, began = host.bytes_on("public"), time.monotonic()
                await asyncio.sleep(IDLE_S)
                elapsed = time.monotonic() - began
                received, sent = (now - then for now, then in zip(host.bytes_on("public"), before, strict=True))
                return {"sent_kbit_per_s": sent * 8e-3 / elapsed, "received_kbit_per_s": received * 8e-3 / elapsed}
        finally:
            node.kill()


async def measure() -> dict[str, Any]:
    engine = Engine(None)
    async with AsyncExitStack() as stack:
        stack.callback(engine.close)
        server = await stack.enter_async_context(a_redis())
        redis = Redis.from_url(server.url)
        stack.push_async_callback(redis.aclose)
        registry = Registry(server.url, SECRET)
        stack.push_async_callback(registry.close)
        for _ in range(NODES):
            await stack.enter_async_context(a_node(engine, registry=registry, make=Prompt, max_sessions=10**6))
        http = await stack.enter_async_context(ClientSession())
        alone, began = await commands(redis), time.monotonic()
        await asyncio.sleep(IDLE_S)
        of_nodes = await commands(redis) - alone
        elapsed = time.monotonic() - began
        front = await stack.enter_async_context(signaling(server.url))
        await asyncio.sleep(3)
        before, began = await commands(redis), time.monotonic()
        placed = await placements(http, front)
        both = await commands(redis) - before
        busy_s = time.monotonic() - began
        node_rate = of_nodes.total() / elapsed / NODES
        return {
            "redis_commands_per_node_and_s": node_rate,
            "redis_commands_per_instance_and_s": both.total() / busy_s - node_rate * NODES,
            "redis_commands": dict(both),
            **placed,
            "many_nodes": await many_nodes(registry, redis, front),
            "call": await wire(),
        }


def main() -> None:
    figures = asyncio.run(measure())
    ARTIFACT.parent.mkdir(parents=True, exist_ok=True)
    ARTIFACT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

"""A fleet as it will run, and what goes wrong with one: a call lives or gets a clear answer, and none is left over."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from tests.hosts.caller import Call, Refused, callers
from tests.hosts.conftest import Hosts
from tests.hosts.processes import UDP_PORTS, MediaNode
from tests.hosts.streaming import streaming
from tests.rtc import ToneTrack
from tests.waits import until
from voxgender import protocol
from voxgender.fleet.registry import LEASE_S
from voxgender.peer.caller import Caller as PeerCaller
from voxgender.peer.speech import Speech

OPUS_SILENCE = bytes([0xF8, 0xFF, 0xFE])
"""20 ms of it (RFC 6716 section 3.1)."""

pytestmark = pytest.mark.timeout(120)


class Desk:
    """Calls from here, each ended when its test is over."""

    def __init__(self, fleet: Hosts, http: ClientSession, stack: AsyncExitStack) -> None:
        self._fleet = fleet
        self._http = http
        self._stack = stack

    async def call(self, signaling: int = 0, *, speaking: bool = False) -> Call:
        track = ToneTrack() if speaking else None
        call = await Call.place(self._http, self._fleet.signaling[signaling].url, self._fleet.lab.public, track)
        self._stack.push_async_callback(call.peer.close)
        await call.is_up()
        return call

    async def call_on(self, node: MediaNode, *, speaking: bool = False) -> Call:
        """A call that this very node has; those that other nodes got are ended."""
        while True:
            call = await self.call(speaking=speaking)
            if call.node == node.host.public:
                return call
            assert await call.end() == 200


@pytest.fixture
async def desk(fleet: Hosts, http: ClientSession) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        await known_nodes(fleet, http)
        yield Desk(fleet, http, stack)


async def test_calls_are_spread_by_load(fleet: Hosts, desk: Desk, http: ClientSession) -> None:
    calls = [await desk.call(index % 2) for index in range(12)]
    spread = Counter(call.node for call in calls)
    assert len(spread) == 3
    assert max(spread.values()) <= 7
    assert await live_sessions(fleet, http) == spread
    assert all(call.port in UDP_PORTS for call in calls)
    assert [await call.end(fleet.signaling[index % 2].url) for index, call in enumerate(calls)] == [200] * 12
    await nothing_is_left(fleet, http)


async def test_a_session_belongs_to_no_instance_of_signaling(fleet: Hosts, desk: Desk, http: ClientSession) -> None:
    first, second = await desk.call(), await desk.call()
    fleet.signaling[0].kill()
    assert await second.end(fleet.signaling[1].url) == 200
    fleet.signaling[0].start()
    assert await first.ask("GET") == 200
    assert await first.end() == 200
    await nothing_is_left(fleet, http)


async def test_the_calls_of_a_killed_node_are_gone_at_once(fleet: Hosts, desk: Desk, http: ClientSession) -> None:
    node = fleet.nodes[0]
    call = await desk.call_on(node)
    node.kill()
    for signaling in fleet.signaling:
        assert await call.ask("GET", signaling.url) == 404
        assert await call.ask("DELETE", signaling.url) == 404
    others = [await desk.call(index % 2) for index in range(4)]
    assert node.host.public not in {call.node for call in others}
    # The same address, and another node: what was there before stays gone.
    node.start()
    assert await call.ask("DELETE") == 404
    assert {await call.end() for call in others} == {200}
    await nothing_is_left(fleet, http)


async def test_known_nodes_go_on_without_redis(fleet: Hosts, desk: Desk, http: ClientSession) -> None:
    before = await desk.call()
    fleet.redis.kill()
    during = await desk.call()
    # By now every lease has run out. There is nothing to wait for but time.
    await asyncio.sleep(LEASE_S + 1)
    late = [await desk.call(index % 2) for index in range(6)]
    assert {await call.end() for call in (before, during, *late[:5])} == {200}
    fleet.redis.start()
    # An instance that knows nothing finds all nodes again, and the calls that they have.
    fleet.signaling[0].kill()
    fleet.signaling[0].start()
    await known_nodes(fleet, http)
    assert await late[5].end(fleet.signaling[0].url) == 200
    await nothing_is_left(fleet, http)


async def test_a_node_that_signaling_cannot_reach_keeps_its_calls(
    fleet: Hosts, desk: Desk, http: ClientSession
) -> None:
    node = fleet.nodes[0]
    call = await desk.call_on(node, speaking=True)
    node.host.unplug("private")
    assert await call.ask("GET") == 503
    # Media has a way of its own.
    while not call.peer.messages.empty():
        call.peer.messages.get_nowait()
    await call.peer.until(protocol.Result)
    others = await asyncio.gather(*(desk.call(index % 2) for index in range(6)))
    assert node.host.public not in {call.node for call in others}
    node.host.plug("private")

    async def can_be_asked() -> bool:
        return await call.ask("GET") == 200

    await until(can_be_asked)
    assert await call.end() == 200
    assert {await call.end() for call in others} == {200}
    await nothing_is_left(fleet, http)


async def test_results_follow_a_caller_whose_address_changes(
    fleet: Hosts, http: ClientSession, record_property: Callable[[str, object], None]
) -> None:
    """Between two Wi-Fi networks, the application's sockets are bound to no address and live on.

    They never came again. How long it takes is recorded, not asserted: 0.8 s on a machine that has nothing else to do.
    """
    await known_nodes(fleet, http)
    call = await Call.place(http, fleet.signaling[0].url, "0.0.0.0", ToneTrack())
    try:
        await call.is_up()
        for number in (2, 1):
            fleet.lab.move_callers(number)
            while not call.peer.messages.empty():
                call.peer.messages.get_nowait()
            began = asyncio.get_running_loop().time()
            await call.peer.until(protocol.Result)
            gap_s = asyncio.get_running_loop().time() - began
            print(f"without results for {gap_s:.2f} s")
            record_property(f"gap_{number}_s", gap_s)
        assert await call.ask("GET") == 200
    finally:
        fleet.lab.move_callers(1)
        assert await call.end() == 200
    await nothing_is_left(fleet, http)


async def test_a_stream_whose_network_drops_goes_on_where_it_was(fleet: Hosts, http: ClientSession) -> None:
    """Nothing closes its WebSocket: the client notices the silence, and comes again with ``from_ms``."""
    await known_nodes(fleet, http)
    async with streaming(fleet.caller, [signaling.url for signaling in fleet.signaling]) as stream:
        for heard in (1, 2):
            await stream.heard(6)
            fleet.caller.unplug("private")
            await stream.noticed(heard)
            fleet.caller.plug("private")
        await stream.heard(6)
        told = await stream.finish()
    assert len(stream.sessions) == 3
    # Each session begins where the results of the one before ended, so they are one line without gap or overlap.
    assert [round(one.start, 3) for one in told[1:]] == [round(one.end, 3) for one in told[:-1]]
    assert told[0].start == 0
    for session in stream.sessions:
        async with http.delete(f"{fleet.signaling[0].url}/whip/{session}") as response:
            assert response.status in (200, 404)
    await nothing_is_left(fleet, http)


async def test_a_caller_behind_a_firewall_calls_by_turn(fleet: Hosts, http: ClientSession) -> None:
    await known_nodes(fleet, http)
    before = fleet.turn.host.bytes_on("public")
    speech = Speech([OPUS_SILENCE] * 75, ())
    report = await PeerCaller(fleet.signaling[0].url, speech, route="relay").run()
    assert report.ended == "played"
    received, sent = (now - then for now, then in zip(fleet.turn.host.bytes_on("public"), before, strict=True))
    # Each packet goes in and out again.
    assert min(received, sent) > 75 * 60
    await nothing_is_left(fleet, http)


async def test_a_rolling_update_loses_no_call(
    fleet: Hosts, http: ClientSession, record_property: Callable[[str, object], None]
) -> None:
    *updated, spare = fleet.nodes
    spare.stop()
    await known_nodes(fleet, http)
    urls = [signaling.url for signaling in fleet.signaling]
    async with callers(4, http, urls, fleet.lab.public) as speaking:
        await until(lambda: all_speak(fleet, http, 4))
        for node in updated:
            assert await asyncio.to_thread(node.stop) == 0
            assert node.host.public not in {caller.nodes[-1] for caller in speaking}
            await node.restart()
            await known_nodes(fleet, http)
    assert sum(len(caller.nodes) - 1 for caller in speaking) >= 4
    # The new call speaks before the old one falls silent.
    assert [caller.lost for caller in speaking] == [0] * 4
    record_property("longest_gap_s", max(caller.gap_s for caller in speaking))
    print(f"longest time without a result: {max(caller.gap_s for caller in speaking):.2f} s")
    await nothing_is_left(fleet, http)


async def test_with_nodes_that_come_and_go_each_call_gets_a_clear_answer(fleet: Hosts, http: ClientSession) -> None:
    placed: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    left = iter(range(200))
    over = asyncio.Event()

    async def place_calls() -> None:
        for number in left:
            try:
                call = await Call.place(http, fleet.signaling[number % 2].url, fleet.lab.public)
            except Refused as refused:
                placed[str(refused)] += 1
                await asyncio.sleep(refused.retry_after_s or 0)
                continue
            placed["answered"] += 1
            lived = "lived"
            # One in four is looked at closely: a connection costs the caller far more than a session.
            if number % 4 == 0:
                try:
                    await call.is_up()
                except TimeoutError:
                    lived = "did not live"
            ended[f"{lived}, {await call.end()}"] += 1

    async def come_and_go(chance: random.Random) -> None:
        while not over.is_set():
            node = chance.choice(fleet.nodes)
            match chance.choice(["kill", "stop", "unplug"]):
                case "kill":
                    node.kill()
                    await node.restart()
                case "stop":
                    await asyncio.to_thread(node.stop)
                    await node.restart()
                case "unplug":
                    node.host.unplug("private")
                    await asyncio.sleep(0.5)
                    node.host.plug("private")

    async with asyncio.TaskGroup() as group:
        group.create_task(come_and_go(random.Random(7)))
        async with asyncio.TaskGroup() as placing:
            for _ in range(8):
                placing.create_task(place_calls())
        over.set()
    print(dict(placed), dict(ended))
    assert placed.total() == 200
    assert placed.keys() <= {"answered", "503 no_node", "503 draining"}
    assert ended["lived, 200"] > 100
    # Answered calls live, unless their node was killed; then requests say so.
    assert ended.keys() <= {"lived, 200", "lived, 404", "lived, 503", "did not live, 404", "did not live, 503"}
    await nothing_is_left(fleet, http)


async def all_speak(fleet: Hosts, http: ClientSession, count: int) -> bool:
    return (await live_sessions(fleet, http)).total() == count


async def live_sessions(fleet: Hosts, http: ClientSession) -> Counter[str]:
    """Return how many sessions each running node says it has."""
    sessions: Counter[str] = Counter()
    for node in fleet.nodes:
        if node.runs:
            async with http.get(f"{node.url}/metrics") as response:
                found = re.search(r"^voxgender_sessions (\S+)$", await response.text(), re.MULTILINE)
            assert found is not None
            if count := round(float(found[1])):
                sessions[node.host.public] = count
    return sessions


async def nothing_is_left(fleet: Hosts, http: ClientSession) -> None:
    async def is_so() -> bool:
        return not await live_sessions(fleet, http)

    # A call may connect at the end of its 15 s, and be given up 15 s after its last packet.
    await until(is_so, within_s=45)


async def known_nodes(fleet: Hosts, http: ClientSession) -> None:
    """Wait until both instances know the nodes that run, and no others."""
    running = sum(node.runs for node in fleet.nodes)

    async def is_so() -> bool:
        for signaling in fleet.signaling:
            async with http.get(f"{signaling.url}/metrics") as response:
                found = re.search(r"^voxgender_nodes (\S+)$", await response.text(), re.MULTILINE)
            if found is None or float(found[1]) != running:
                return False
        return True

    await until(is_so)

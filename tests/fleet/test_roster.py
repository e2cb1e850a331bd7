"""The calls of all nodes, watched by signaling only while somebody follows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.nodes import SECRET, FacedNode, a_front, a_node
from tests.rtc import SDP, Peer, ToneTrack, a_peer
from voxgender.engine import Engine
from voxgender.fleet.directory import Directory
from voxgender.fleet.roster import FleetRoster
from voxgender.fleet.sources import StaticNodes
from voxgender.http.follower import Follower
from voxgender.roster import MAX_CHANGES, Change, Gone, LiveCall, Roster
from voxgender.sessionids import call_hash


@asynccontextmanager
async def a_roster(*nodes: FacedNode, **timings: Any) -> AsyncIterator[tuple[FleetRoster, Directory, StaticNodes]]:
    source = StaticNodes([node.url for node in nodes])
    directory = Directory(source, SECRET)
    await directory.refresh(force=True)
    roster = FleetRoster(directory, look_s=0.02, retry_s=0.02, **timings)
    try:
        yield roster, directory, source
    finally:
        await roster.close()
        await directory.close()


async def call_of(peer: Peer, node: FacedNode, name: str) -> str:
    async with (
        a_front(node) as front,
        front.http.post(f"/whip?name={name}", data=await peer.offer(), headers=SDP) as response,
    ):
        await peer.accept(await response.text())
        return response.headers["Location"].rpartition("/")[2]


async def test_a_watcher_is_told_the_calls_of_nodes_that_come_later(engine: Engine) -> None:
    async with (
        a_node(engine) as one,
        a_node(engine) as two,
        a_peer(ToneTrack()) as a,
        a_peer(ToneTrack()) as b,
        a_roster(one) as (roster, directory, source),
        asyncio.timeout(10),
    ):
        first = await call_of(a, one, "a")
        watch = await roster.watch()
        calls: list[Change] = [*watch.calls]
        assert [call.session for call in calls or [await anext(watch)]] == [first]
        second = await call_of(b, two, "b")
        source.add(two.url)
        await directory.refresh(force=True)
        told = await anext(watch)
        assert isinstance(told, LiveCall)
        assert (told.session, told.name) == (second, "b")
        await two.kill()
        assert await anext(watch) == Gone(session=second)
        watch.close()


async def test_nodes_are_left_alone_once_nobody_watches(engine: Engine) -> None:
    async with a_node(engine) as node, a_roster(node, idle_s=0.05) as (roster, _, _), asyncio.timeout(10):
        (await roster.watch()).close()
        assert roster._looking is not None
        await roster._looking
        assert not roster._nodes
        async with a_peer(ToneTrack()) as peer:
            session = await call_of(peer, node, "a")
            again = await roster.watch()
            calls: list[Change] = [*again.calls]
            assert [call.session for call in calls or [await anext(again)]] == [session]
            again.close()


async def test_a_call_whose_node_dies_has_ended_for_its_followers(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front, a_peer(ToneTrack()) as peer, asyncio.timeout(20):
        follower = Follower(front.fleet, lambda call: call.name == "a", newest=True, positions={}, retry_s=0.05)
        told = follower.events()
        session = await call_of(peer, node, "a")
        assert "event: start" in await anext(told)
        assert '"type":"hello"' in await anext(told)
        await node.kill()
        ends = [text async for text in _until_end(told)]
        assert f'{{"call":"{call_hash(session)}","type":"end"' in ends[-1]
        await told.aclose()


async def _until_end(told: AsyncIterator[str]) -> AsyncIterator[str]:
    async for text in told:
        yield text
        if "event: end" in text:
            return


async def test_a_watcher_that_is_too_slow_is_cut_off() -> None:
    """It would keep every change since it last looked."""
    roster = Roster()
    watch = roster.watch()
    for number in range(MAX_CHANGES + 1):
        roster.add(LiveCall(session=str(number), started_at=0.0, name="a"))
    assert [change async for change in watch] == []
    assert not roster.watched
    assert len(roster.watch().calls) == MAX_CHANGES + 1


def test_a_call_that_nobody_can_find_is_not_kept() -> None:
    roster = Roster()
    roster.add(LiveCall(session="a", started_at=0.0))
    assert roster.watch().calls == ()


async def test_a_watcher_of_a_roster_that_is_closed_is_cut_off() -> None:
    """Signaling asked a stopping node again, and held its end up."""
    roster = Roster()
    roster.close()
    assert [change async for change in roster.watch()] == []


async def test_a_node_that_was_lost_and_found_is_watched_again(engine: Engine) -> None:
    """Its calls were not found any more as long as anybody followed anything."""
    async with (
        a_node(engine) as node,
        a_peer(ToneTrack()) as peer,
        a_roster(node) as (roster, directory, _),
        asyncio.timeout(10),
    ):
        watch = await roster.watch()
        (member,) = directory.members()
        directory.remove(member)
        await directory.refresh(force=True)
        assert directory.members()[0] is not member
        session = await call_of(peer, node, "a")
        told = await anext(watch)
        assert isinstance(told, LiveCall)
        assert told.session == session
        watch.close()

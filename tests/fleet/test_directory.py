"""Nodes are known as long as they should be, and calls go to the right ones."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace

from tests.clock import StillClock
from tests.nodes import SECRET, a_front, a_node
from tests.redisserver import a_redis, a_slow_way_to
from tests.waits import until
from voxgender.engine import Engine
from voxgender.errors import NotReady
from voxgender.fleet.directory import Directory
from voxgender.fleet.member import PENALTY_S, choose
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.registry import LEASE_S, Registry
from voxgender.fleet.sources import RedisNodes, Snapshot, StaticNodes

beats = count()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def directory(clock: StillClock) -> AsyncIterator[Directory]:
    directory = Directory(StaticNodes([]), SECRET, clock=clock)
    yield directory
    await directory.close()


def learn(directory: Directory, node_id: str, **known: Any) -> None:
    url = f"http://{node_id}.example:1"
    record = NodeRecord(id=node_id, url=url, capacity=100, sessions=0, load=0.0, version="1", beat=next(beats))
    directory._update(replace(record, **known), url)


class TestChoice:
    async def test_a_burst_is_spread_though_nothing_is_heard_of_it_yet(self, directory: Directory) -> None:
        for node_id in "abc":
            learn(directory, node_id)
        given: Counter[str] = Counter()
        with ExitStack() as placing:
            for _ in range(240):
                member = choose(directory.members())
                assert member is not None
                placing.enter_context(member.reserve())
                given[member.record.id] += 1
            assert max(given.values()) - min(given.values()) <= 20
            assert {member.record.id: member.reserved for member in directory.members()} == given
        assert all(member.reserved == 0 for member in directory.members())

    async def test_a_node_of_twice_the_capacity_gets_twice_the_calls(self, directory: Directory) -> None:
        learn(directory, "small", capacity=50)
        learn(directory, "large", capacity=100)
        given: Counter[str] = Counter()
        with ExitStack() as placing:
            for _ in range(120):
                member = choose(directory.members())
                assert member is not None
                placing.enter_context(member.reserve())
                given[member.record.id] += 1
        assert given["large"] == pytest.approx(80, abs=2)

    async def test_no_place_is_given_twice(self, directory: Directory) -> None:
        learn(directory, "a", capacity=2, sessions=1)
        member = choose(directory.members())
        assert member is not None
        with member.reserve():
            assert choose(directory.members()) is None

    async def test_whoever_drains_is_full_or_was_asked_already_is_left_out(self, directory: Directory) -> None:
        learn(directory, "drains", draining=True)
        learn(directory, "full", sessions=100)
        learn(directory, "asked")
        assert choose(directory.members(), passed_over={"asked"}) is None

    async def test_ones_own_region_comes_first_and_another_when_it_is_full(self, directory: Directory) -> None:
        learn(directory, "far", region="us")
        learn(directory, "near", region="eu", sessions=99)
        member = choose(directory.members(), region="eu")
        assert member is not None
        assert member.record.id == "near"
        learn(directory, "near", region="eu", sessions=100)
        member = choose(directory.members(), region="eu")
        assert member is not None
        assert member.record.id == "far"

    async def test_a_subject_s_calls_go_to_one_node_as_long_as_that_has_room(self, directory: Directory) -> None:
        for name in ("a", "b", "c"):
            learn(directory, name)

        def home(subject: str) -> str:
            member = choose(directory.members(), subject=subject)
            assert member is not None
            return member.record.id

        homes = {subject: home(subject) for subject in map(str, range(60))}
        assert set(homes.values()) == {"a", "b", "c"}
        assert homes == {subject: home(subject) for subject in homes}
        learn(directory, "a", sessions=100)
        for subject, before in homes.items():
            assert home(subject) == before or before == "a", "nobody else has to move"

    async def test_a_node_whose_cores_are_all_used_comes_last(self, directory: Directory) -> None:
        learn(directory, "busy", load=0.99)
        learn(directory, "calm", sessions=60)
        member = choose(directory.members())
        assert member is not None
        assert member.record.id == "calm"

    async def test_a_node_that_was_slow_is_the_last_choice_for_a_while(
        self, directory: Directory, clock: StillClock
    ) -> None:
        learn(directory, "slow")
        learn(directory, "well", sessions=90)
        slow, well = directory.get("slow"), directory.get("well")
        assert slow is not None
        slow.penalise()
        assert choose(directory.members()) is well
        assert choose(directory.members(), passed_over={"well"}) is slow
        clock.now += PENALTY_S + 1
        assert choose(directory.members()) is slow

    async def test_a_refusal_is_believed_until_the_node_says_otherwise(self, directory: Directory) -> None:
        learn(directory, "a")
        for code in ("draining", "at_capacity"):
            member = directory.get("a")
            assert member is not None
            member.note_refusal(NotReady("", code=code, retry_after_s=1))
            assert choose(directory.members()) is None
            learn(directory, "a")
            assert choose(directory.members()) is member


async def test_an_old_record_is_not_believed(directory: Directory) -> None:
    learn(directory, "a", beat=5, sessions=5)
    learn(directory, "a", beat=4, sessions=4)
    (member,) = directory.members()
    assert member.record.sessions == 5
    directory.remove(member)
    learn(directory, "a", beat=5)
    assert directory.members() == []
    learn(directory, "a", beat=6)
    assert len(directory.members()) == 1


async def test_listed_nodes_are_found_and_one_that_has_started_again_is_another(engine: Engine) -> None:
    async with a_node(engine) as here, a_node(engine) as restarting, a_front(here, restarting) as front:
        assert {member.record.id for member in front.directory.members()} == {here.id, restarting.id}
        port, before = restarting.port, restarting.id
        await restarting.kill()
        async with a_node(engine, port=port) as again:
            for member in front.directory.members():
                await front.directory.query([member])
            await front.directory.refresh(force=True)
            assert {member.record.id for member in front.directory.members()} == {here.id, again.id}
        assert before != again.id


async def test_a_name_stands_for_all_its_addresses(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(source=StaticNodes([], [("localhost", node.port)])) as front:
        assert [member.record.id for member in front.directory.members()] == [node.id]


async def test_a_name_that_is_none_is_said_once_and_tried_again(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_front(source=StaticNodes([], [("nowhere.invalid", 1)])) as front:
        assert front.directory.source_lost
        await front.directory.refresh(force=True)
    assert sum("nowhere.invalid" in message for message in caplog.messages) == 1


async def test_several_nodes_at_one_address_are_told_in_the_log(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    """Say what is wrong where a balancer stands in front of several nodes.

    ``--nodes`` named a service of Kubernetes with an address of its own, or ``--node-address`` did. Calls went to the
    one node and were asked for at the other: 404, 503, places that nobody used, and not a word in the log.
    """
    url = "http://media.example:8091"

    def tell(node_id: str) -> None:
        record = NodeRecord(id=node_id, url=url, capacity=9, sessions=0, load=0.0, version="1", beat=next(beats))
        directory._update(record, url)

    for node_id in ("a", "a", "b", "b"):
        tell(node_id)
    # So far it may be one that has started again.
    assert caplog.messages == []
    tell("a")
    (said,) = caplog.messages
    assert url in said
    assert "--node-address" in said
    assert "dns:HOST:PORT" in said


async def test_a_listed_node_with_another_secret_is_no_node_and_that_is_said(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    from voxgender.fleet.secret import Secret

    async with a_node(engine, secret=Secret("another")) as node, a_front(node) as front:
        await front.directory.refresh(force=True)
        assert front.directory.members() == []
    assert sum("VOXGENDER_SECRET" in message for message in caplog.messages) == 1


class StuckSource:
    """Tells some records once, and then never answers again, as a Redis whose replies come a byte at a time."""

    def __init__(self, *records: NodeRecord) -> None:
        self.records = list(records)

    async def read(self) -> Snapshot:
        if not self.records:
            await asyncio.Event().wait()
        records, self.records = self.records, []
        return Snapshot(records=records)

    async def close(self) -> None:
        return


async def test_a_source_that_does_not_answer_holds_up_neither_requests_nor_the_watch_over_nodes(engine: Engine) -> None:
    """Everything waited for it: requests for calls of nodes that are gone, offers to a full fleet, leases."""
    timings = {"refresh_s": 0.02, "source_s": 0.02, "query_after_s": 0.02}
    async with a_node(engine) as node:
        source = StuckSource(node.status.record())
        async with a_front(source=source, timings=timings) as front, asyncio.timeout(10):
            (member,) = front.directory.members()
            confirmed_at = member.confirmed_at
            await until(lambda: member.confirmed_at > confirmed_at + 0.2)
            gone = f"/whip/{SECRET.new_session_id('0123456789ab')}"
            async with front.http.delete(gone) as response:
                assert (response.status, (await response.json())["code"]) == (503, "no_node")
            await node.kill()
            await until(lambda: front.directory.members() == [])


class TestRegistry:
    async def test_a_registry_that_is_slow_keeps_no_new_node_out(self, engine: Engine) -> None:
        """A reply after more than a second was none: nodes and signaling that started then never met."""
        async with a_redis() as redis, a_slow_way_to(redis) as way:
            reader, registry = Registry(way.url, SECRET), Registry(way.url, SECRET)
            for connected in (reader, registry):
                await connected.probe()
            way.delay_s = 1.2
            async with a_node(engine) as node:
                await registry.announce(node.status.record())
                async with a_front(source=RedisNodes(reader)) as front:
                    await until(lambda: [member.record.id for member in front.directory.members()] == [node.id])
            await registry.close()

    async def test_nodes_come_and_go_as_they_announce_themselves(self, engine: Engine) -> None:
        async with a_redis() as redis:
            source, registry = RedisNodes(Registry(redis.url, SECRET)), Registry(redis.url, SECRET)
            async with a_front(source=source) as front:
                async with a_node(engine, registry=registry, region="eu") as node:
                    await front.directory.refresh(force=True)
                    (member,) = front.directory.members()
                    assert (member.record.id, member.record.region) == (node.id, "eu")
                await front.directory.query(front.directory.members())
                assert front.directory.members() == []
            await registry.close()

    async def test_a_registry_that_is_lost_or_starts_empty_takes_no_node_along(
        self, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Nodes that are known are asked themselves; what they say keeps them known for longer than any lease."""
        timings = {"refresh_s": 0.02, "max_backoff_s": 0.05, "query_after_s": 0.05, "lease_s": 0.5}
        async with a_redis() as redis:
            source, registry = RedisNodes(Registry(redis.url, SECRET)), Registry(redis.url, SECRET)
            async with a_node(engine, registry=registry), a_front(source=source, timings=timings) as front:
                (member,) = front.directory.members()
                await redis.stop()
                await until(lambda: front.directory.source_lost)
                confirmed_at = member.confirmed_at
                await until(lambda: member.confirmed_at > confirmed_at + 2 * timings["lease_s"])
                await redis.start()
                await until(lambda: not front.directory.source_lost)
                confirmed_at = member.confirmed_at
                await until(lambda: member.confirmed_at > confirmed_at + 2 * timings["lease_s"])
                assert front.directory.members() == [member]
            await registry.close()
        assert sum("cannot be used" in message for message in caplog.messages) == 1

    async def test_a_node_that_died_is_forgotten_while_its_lease_still_stands(self, engine: Engine) -> None:
        async with a_redis() as redis:
            source, registry = RedisNodes(Registry(redis.url, SECRET)), Registry(redis.url, SECRET)
            async with a_node(engine) as node, a_front(source=source) as front:
                await registry.announce(node.status.record())
                await front.directory.refresh(force=True)
                (member,) = front.directory.members()
                await node.kill()
                await front.directory.query([member])
                await front.directory.refresh(force=True)
                assert len(await registry.read()) == 1
                assert front.directory.members() == []
            await registry.close()

    async def test_a_silent_node_is_forgotten_when_its_lease_would_be_over(self, clock: StillClock) -> None:
        # An address that swallows packets would take a second to say nothing.
        directory = Directory(StaticNodes([]), SECRET, query_after_s=1e9, clock=clock)
        learn(directory, "silent")
        await directory.refresh(force=True)
        assert len(directory.members()) == 1
        clock.now += LEASE_S + 1
        await directory.refresh(force=True)
        assert directory.members() == []
        await directory.close()

"""A node announces itself, and renews the announcement."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio.client import Pipeline

from tests.redisserver import a_redis
from tests.waits import until
from voxgender.fleet.announcer import PROMPT_S, Announcer, NodeStatus
from voxgender.fleet.registry import Registry
from voxgender.fleet.secret import Secret
from voxgender.media.node import MediaNode


def test_the_load_is_the_share_of_its_cores_that_it_used() -> None:
    clock = SimpleNamespace(now=100.0, cpu=10.0)
    status = NodeStatus(MediaNode(), "a", cores=2, clock=lambda: clock.now, cpu_clock=lambda: clock.cpu)
    assert status.record().load == 0.0
    clock.now, clock.cpu = 104.0, 16.0
    assert status.record().load == 0.75
    # Too short a time says little: the last figure stands.
    clock.now, clock.cpu = 104.1, 16.2
    assert status.record().load == 0.75
    assert [status.record().beat for _ in range(2)] == [4, 5]


async def test_a_node_is_announced_again_as_soon_as_the_registry_is_back(caplog: pytest.LogCaptureFixture) -> None:
    node = MediaNode()
    async with a_redis() as redis:
        registry = Registry(redis.url, Secret("shared"))
        await redis.stop()
        announcer = Announcer(registry, NodeStatus(node, "a"), renew_s=0.02)
        await announcer.start()
        await redis.start()
        (record,) = await until(registry.read)
        assert not record.draining
        node.drain()
        await announcer.announce()
        (record,) = await registry.read()
        assert record.draining
        await announcer.close()
        assert await registry.read() == []
        await registry.close()
    assert sum("cannot be used" in message for message in caplog.messages) == 1


async def test_a_node_that_ends_while_the_registry_is_away_ends_all_the_same() -> None:
    async with a_redis() as redis:
        registry = Registry(redis.url, Secret("shared"))
        announcer = Announcer(registry, NodeStatus(MediaNode(), "a"))
        await announcer.start()
        await redis.stop()
        await announcer.close()
        await registry.close()


async def test_a_node_starts_and_ends_in_time_though_the_registry_answers_nothing() -> None:
    async with a_redis() as redis:
        registry = Registry(redis.url, Secret("shared"))
        redis.freeze()
        announcer = Announcer(registry, NodeStatus(MediaNode(), "a"))
        # Both wait for it, but not for each of its replies.
        async with asyncio.timeout(2 * PROMPT_S + 1):
            await announcer.start()
            await announcer.close()
        await registry.close()


async def test_a_node_ends_though_a_cancellation_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was to end announced itself for ever: Redis' client had lost the cancellation."""
    waits = asyncio.Event()
    execute = Pipeline.execute

    async def lose(pipeline: Pipeline) -> list[Any]:
        if waits.is_set():
            return await execute(pipeline)
        waits.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return []

    async with a_redis() as redis:
        registry = Registry(redis.url, Secret("shared"))
        announcer = Announcer(registry, NodeStatus(MediaNode(), "a"), renew_s=0.01)
        await announcer.start()
        monkeypatch.setattr(Pipeline, "execute", lose)
        await waits.wait()
        async with asyncio.timeout(20):
            await announcer.close()
        assert await registry.read() == []
        await registry.close()

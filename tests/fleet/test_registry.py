"""Announcing nodes in a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from tests.redisserver import RedisServer, a_redis
from voxgender.errors import SettingsError
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.registry import Registry, RegistryLost
from voxgender.fleet.secret import Secret

SECRET = Secret("shared")


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with a_redis() as server:
        yield server


@pytest.fixture
async def registry(redis: RedisServer) -> AsyncIterator[Registry]:
    registry = Registry(redis.url, SECRET)
    yield registry
    await registry.close()


def a_record(node_id: str, **known: Any) -> NodeRecord:
    record = NodeRecord(id=node_id, url="http://10.0.0.1:1", capacity=10, sessions=0, load=0.0, version="1")
    return replace(record, **known)


async def test_what_nodes_announce_is_read(registry: Registry) -> None:
    assert await registry.read() == []
    one, two = a_record("one", region="eu", sessions=3), a_record("two", draining=True)
    await registry.announce(one)
    await registry.announce(two)
    assert sorted(await registry.read(), key=lambda record: record.id) == [one, two]
    later = a_record("one", beat=1)
    await registry.announce(later)
    await registry.withdraw("two")
    assert await registry.read() == [later]


async def test_a_record_that_is_not_renewed_goes_with_its_lease(redis: RedisServer, registry: Registry) -> None:
    brief = Registry(redis.url, SECRET, lease_s=0.05)
    await brief.announce(a_record("gone"))
    await brief.close()
    await registry.announce(a_record("here"))
    while len(records := await registry.read()) > 1:  # noqa: ASYNC110 - the clock that it waits for is another's
        await asyncio.sleep(0.01)
    assert [record.id for record in records] == ["here"]
    async with Redis.from_url(redis.url) as client:
        assert await client.smembers("voxgender:nodes") == {b"here"}


async def test_who_can_write_to_redis_and_has_no_secret_announces_nothing(
    redis: RedisServer, registry: Registry
) -> None:
    stranger = Registry(redis.url, Secret("another"))
    await stranger.announce(a_record("stranger", url="http://evil.example:1"))
    await stranger.close()
    await registry.announce(a_record("ours"))
    async with Redis.from_url(redis.url) as client:
        signed = await client.get("voxgender:node:ours")
        assert isinstance(signed, bytes)
        await client.set("voxgender:node:changed", signed.replace(b"10.0.0.1", b"10.0.0.9"))
        await client.set("voxgender:node:noise", b"\xff\x00")
        await client.sadd("voxgender:nodes", "changed", "noise")
    assert [record.id for record in await registry.read()] == ["ours"]


async def test_a_record_of_another_form_is_passed_over(redis: RedisServer, registry: Registry) -> None:
    text = b'{"id":"later","sessions":"some"}'
    async with Redis.from_url(redis.url) as client:
        await client.set("voxgender:node:later", SECRET.sign("record", text).encode() + b" " + text)
        await client.sadd("voxgender:nodes", "later")
    assert await registry.read() == []


async def test_a_redis_that_is_gone_is_said_so_and_used_again_once_it_is_back(
    redis: RedisServer, registry: Registry
) -> None:
    await registry.announce(a_record("one"))
    await redis.stop()
    for attempt in (registry.read(), registry.announce(a_record("one")), registry.withdraw("one")):
        with pytest.raises(RegistryLost, match=r"127\.0\.0\.1"):
            await attempt
    await redis.start()
    assert await registry.read() == []
    await registry.announce(a_record("one"))
    assert len(await registry.read()) == 1


async def test_its_password_is_in_no_message(redis: RedisServer) -> None:
    registry = Registry(redis.url.replace("://", "://user:hunter2@"), SECRET)
    with pytest.raises(RegistryLost) as caught:
        await registry.read()
    assert "hunter2" not in str(caught.value)
    await registry.close()


@pytest.mark.parametrize(
    "url", ["http://cache", "cache:6379", "redis://cache:port", "redis://[::1", "redis://:hunter2@]cache"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^--registry") as caught:
        Registry(url, SECRET)
    assert "hunter2" not in str(caught.value)

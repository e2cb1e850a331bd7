"""Announcing nodes in a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from tests.redisserver import RedisServer, a_free_port, a_redis
from tests.waits import until
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

    async def one_is_left() -> bool:
        return len(await registry.read()) == 1

    await until(one_is_left)
    assert [record.id for record in await registry.read()] == ["here"]
    async with Redis.from_url(redis.url) as client:
        assert await client.smembers("{voxgender}:nodes") == {b"here"}


async def test_nodes_of_another_secret_are_told_in_the_log(
    redis: RedisServer, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """Signaling said that no media node takes calls, and nothing said why."""
    other = Registry(redis.url, Secret("another"))
    await other.announce(a_record("one"))
    await other.close()
    await registry.announce(a_record("two"))
    await registry.read()
    (record,) = caplog.records
    assert "1 of 2 records" in record.getMessage()
    assert "VOXGENDER_SECRET has to be the same everywhere" in record.getMessage()
    # Once a minute, whoever writes to Redis.
    assert record.__dict__["kind"] == "unread"
    caplog.clear()
    await registry.withdraw("one")
    await registry.read()
    assert not caplog.records


async def test_who_can_write_to_redis_and_has_no_secret_announces_nothing(
    redis: RedisServer, registry: Registry
) -> None:
    stranger = Registry(redis.url, Secret("another"))
    await stranger.announce(a_record("stranger", url="http://evil.example:1"))
    await stranger.close()
    await registry.announce(a_record("ours"))
    async with Redis.from_url(redis.url) as client:
        signed = await client.get("{voxgender}:node:ours")
        assert isinstance(signed, bytes)
        await client.set("{voxgender}:node:changed", signed.replace(b"10.0.0.1", b"10.0.0.9"))
        await client.set("{voxgender}:node:noise", b"\xff\x00")
        await client.sadd("{voxgender}:nodes", "changed", "noise")
    assert [record.id for record in await registry.read()] == ["ours"]


async def test_a_record_of_another_form_is_passed_over(redis: RedisServer, registry: Registry) -> None:
    text = b'{"id":"later","sessions":"some"}'
    async with Redis.from_url(redis.url) as client:
        await client.set("{voxgender}:node:later", SECRET.sign("record", text).encode() + b" " + text)
        await client.sadd("{voxgender}:nodes", "later")
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


async def command(redis: "Redis", *words: object) -> bytes:
    """Give a server a command that the client has no method for."""
    answer: bytes = await redis.execute_command(*words)  # type: ignore[no-untyped-call]
    return answer


async def is_in_a_cluster(redis: Redis) -> bool:
    return b"cluster_state:ok" in await command(redis, "CLUSTER", "INFO")


@asynccontextmanager
async def a_cluster(folder: Path) -> AsyncIterator[list[RedisServer]]:
    """Two servers of one Redis cluster, each with half of the slots."""
    async with AsyncExitStack() as stack:
        servers = []
        for number in range(2):
            server = RedisServer(
                *("--cluster-enabled", "yes", "--cluster-port", str(a_free_port())),
                *("--dir", str(folder), "--cluster-config-file", f"{number}.conf"),
            )
            await server.start()
            stack.push_async_callback(server.stop)
            servers.append(server)
        first, second = servers
        async with Redis.from_url(first.url) as one, Redis.from_url(second.url) as two:
            bus = second.options[second.options.index("--cluster-port") + 1]
            await command(one, "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            await command(two, "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
            await command(one, "CLUSTER", "MEET", "127.0.0.1", second.port, bus)
            for each in (one, two):
                await until(partial(is_in_a_cluster, each))
        yield servers


async def test_a_redis_in_cluster_mode_is_served_by_any_of_its_servers(tmp_path: Path) -> None:
    """Keys of several slots were read with one command: CROSSSLOT, and no node was ever found.

    MemoryDB, Memorystore Cluster and ElastiCache Serverless are such.
    """
    async with a_cluster(tmp_path) as servers:
        registries = [Registry(server.url, SECRET) for server in servers]
        for registry, node in zip(registries, ("one", "two"), strict=True):
            await registry.announce(a_record(node))
        for registry in registries:
            assert {record.id for record in await registry.read()} == {"one", "two"}
        await registries[0].withdraw("two")
        assert [record.id for record in await registries[1].read()] == ["one"]
        for registry in registries:
            await registry.close()


async def test_a_database_that_a_cluster_does_not_have_is_said(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as servers:
        registry = Registry(f"redis://127.0.0.1:{servers[0].port}/1", SECRET)
        with pytest.raises(RegistryLost, match="cluster"):
            await registry.read()
        await registry.close()


class Front:
    """A TCP address that leads to one server, and after a failover to another one, as those of clouds do."""

    def __init__(self, port: int) -> None:
        self.leads_to = port

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.leads_to)
        await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


async def test_after_a_failover_the_address_is_connected_to_anew(redis: RedisServer) -> None:
    """The connection of before leads to what is a replica now: READONLY with each record, until a restart."""
    async with a_redis() as successor:
        front = Front(redis.port)
        listener = await asyncio.start_server(front.connect, "127.0.0.1", 0)
        registry = Registry(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}", SECRET)
        await registry.announce(a_record("before"))
        front.leads_to = successor.port
        async with Redis.from_url(redis.url) as old:
            await command(old, "REPLICAOF", "127.0.0.1", successor.port)
        await registry.announce(a_record("after"))
        assert [record.id for record in await registry.read()] == ["after"]
        async with Redis.from_url(successor.url) as new:
            assert await new.exists("{voxgender}:node:after")
        await registry.close()
        listener.close()


async def test_a_replica_without_a_primary_is_said_in_words(redis: RedisServer, registry: Registry) -> None:
    async with Redis.from_url(redis.url) as server:
        await command(server, "REPLICAOF", "127.0.0.1", a_free_port())
    with pytest.raises(RegistryLost, match=r"\(it is a replica, which takes no writes\)$"):
        await registry.announce(a_record("one"))


async def test_a_password_that_is_wrong_is_said_in_words() -> None:
    async with a_redis("--requirepass", "right") as server:
        registry = Registry(server.url.replace("://", "://:wrong@"), SECRET)
        with pytest.raises(RegistryLost, match=r"\(it refuses the user or the password\)$"):
            await registry.read()
        await registry.close()


async def test_a_full_redis_is_said_in_words_that_quote_no_record(redis: RedisServer, registry: Registry) -> None:
    async with Redis.from_url(redis.url) as server:
        await server.config_set("maxmemory", "1")
    with pytest.raises(RegistryLost, match=r"\(it has no memory left\)$"):
        await registry.announce(a_record("one"))


async def test_records_are_read_though_nothing_can_be_written(redis: RedisServer) -> None:
    """A signaling server that started during a failover knew no node: it could not remove one that was gone."""
    writer = Registry(redis.url, SECRET)
    await writer.announce(a_record("gone"))
    await writer.announce(a_record("one"))
    await writer.close()
    async with Redis.from_url(redis.url) as server:
        await server.delete("{voxgender}:node:gone")
        await command(server, "ACL", "SETUSER", "reader", "on", ">word", "~{voxgender}:*", "+@read", "+@connection")
        await command(server, "REPLICAOF", "127.0.0.1", a_free_port())
    for url in (redis.url, redis.url.replace("://", "://reader:word@")):
        registry = Registry(url, SECRET)
        assert [record.id for record in await registry.read()] == ["one"]
        await registry.close()


@pytest.mark.parametrize(
    "reply", [b"*none\r\n", b"$none\r\n", b"-MOVED 1\r\n", b"*1\r\n*1\r\n:1\r\n", b"*1\r\n" * 5_000]
)
async def test_replies_that_are_not_those_of_redis_are_said_so(reply: bytes) -> None:
    """They were a traceback at the start, and later a node announced itself no more, without a word."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(reply)
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    registry = Registry(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}", SECRET)
    with pytest.raises(RegistryLost, match=r"\(its replies are not those of Redis\)$"):
        await registry.read()
    await registry.close()
    listener.close()

"""Keep media nodes' records in Redis, where signaling finds them.

A node's record is a key with a lease; a set names all keys. Records are signed, so that write access to Redis is not
enough to divert calls. Redis holds no data of sessions, and all that it holds is rewritten within seconds.

All keys have one hash tag, so a Redis in cluster mode keeps them in one slot, on one server. That server is found by
the ``MOVED`` of any other one, so no client for clusters is needed.
"""

import asyncio
import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from voxgender.errors import SettingsError
from voxgender.fleet import redisurl
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

logger = logging.getLogger(__name__)

RENEW_S = 2.0
"""Time between two renewals of a node's lease."""
LEASE_S = 6.0
"""Time after which a silent node is taken to be gone."""
_CONNECT_S = 1.0
"""Time to connect."""
_REPLY_S = 4.0
"""Time for each reply, of which a new connection takes some, too. Nobody but the refresh itself waits for it."""

_NODES = "{voxgender}:nodes"
"""In braces: the hash tag of all keys (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/)."""
_NODE = "{voxgender}:node:"
_PROBE = "{voxgender}:probe"
_MAX_MOVES = 3
"""Servers of a cluster that are asked in a row; an address that has failed over is asked twice."""
_PIPELINE_WORDS = re.compile(r"^Command # .* of pipeline caused error: ", re.DOTALL)

T = TypeVar("T")


class RegistryLost(Exception):
    """The registry cannot be reached, or refuses a command; the message says why."""


class Registry:
    """Reads and writes nodes' records in Redis.

    A command is tried again at once in three cases: on a new connection where the old one was closed, or leads to a
    replica since a failover; and at the server that a cluster names.

    Args:
        url: see :mod:`voxgender.fleet.redisurl`.
        secret: signs the records.
        lease_s: time for which a record is kept without renewal.

    Raises:
        SettingsError: the URL is malformed, or Redis' client is not installed.
    """

    def __init__(self, url: str, secret: Secret, *, lease_s: float = LEASE_S) -> None:
        self._secret = secret
        self._lease_ms = int(lease_s * 1_000)
        self._home = redisurl.parse(url)
        self._at = self._home
        self._redis = _connect(self._home)

    async def announce(self, record: NodeRecord) -> None:
        """Write a node's record, with a lease.

        Raises:
            RegistryLost
        """
        text = record.to_json()
        signed = self._secret.sign("record", text).encode() + b" " + text

        async def write(redis: "Redis") -> None:
            pipeline = redis.pipeline(transaction=False)
            pipeline.set(_NODE + record.id, signed, px=self._lease_ms)
            pipeline.sadd(_NODES, record.id)
            await pipeline.execute()

        await self._execute(write)

    async def withdraw(self, node_id: str) -> None:
        """Delete a node's record.

        Raises:
            RegistryLost
        """

        async def delete(redis: "Redis") -> None:
            pipeline = redis.pipeline(transaction=False)
            pipeline.delete(_NODE + node_id)
            pipeline.srem(_NODES, node_id)
            await pipeline.execute()

        await self._execute(delete)

    async def read(self) -> list[NodeRecord]:
        """Return all records that have a lease and are signed with our secret.

        Raises:
            RegistryLost
        """

        async def read(redis: "Redis") -> dict[bytes, Any]:
            ids = [node_id for node_id in await redis.smembers(_NODES) if isinstance(node_id, bytes)]
            if not ids:
                return {}
            return dict(zip(ids, await redis.mget([_NODE.encode() + node_id for node_id in ids]), strict=True))

        found = await self._execute(read)
        if expired := [node_id for node_id, text in found.items() if text is None]:

            async def forget(redis: "Redis") -> None:
                # A node that is only late adds itself again with its next record.
                await redis.srem(_NODES, *expired)

            # The records are good though Redis takes no writes, as a replica or with a full disk, or none of this user.
            with suppress(RegistryLost):
                await self._execute(forget)
        texts = [text for text in found.values() if isinstance(text, bytes)]
        records = [record for record in map(self._record, texts) if record is not None]
        if unread := len(texts) - len(records):
            # It is the only trace of secrets that differ: nodes that nobody asks cannot refuse.
            logger.warning(
                "%d of %d records in the registry at %s are not signed with this secret, or are of another version; "
                "VOXGENDER_SECRET has to be the same everywhere",
                *(unread, len(texts), self._home.name),
                extra={"kind": "unread"},
            )
        return records

    async def probe(self) -> tuple[float, bool]:
        """Write, read and delete a key of no meaning, as a check of the login and its permissions.

        Returns:
            The server's time in seconds since 1970, and whether it is in cluster mode.

        Raises:
            RegistryLost
        """

        async def probe(redis: "Redis") -> tuple[float, bool]:
            await redis.set(_PROBE, "1", px=1_000)
            await redis.get(_PROBE)
            await redis.delete(_PROBE)
            seconds, microseconds = await redis.time()
            return float(seconds) + float(microseconds) / 1e6, await _is_cluster(redis)

        return await self._execute(probe)

    async def close(self) -> None:
        await self._redis.aclose()

    def _record(self, signed: bytes) -> NodeRecord | None:
        signature, _, text = signed.partition(b" ")
        if not self._secret.is_signature(signature.decode(errors="replace"), "record", text):
            return None
        try:
            return NodeRecord.from_json(text)
        except ValueError:
            # A record of another version of voxgender.
            return None

    async def _execute(self, command: "Callable[[Redis], Awaitable[T]]") -> T:
        from redis.exceptions import MovedError, ReadOnlyError, RedisError

        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        moves = 0
        while True:
            try:
                result = await command(self._redis)
                if task and task.cancelling() > asked:
                    # Redis' client loses a cancellation now and then, as it gives a connection back.
                    raise asyncio.CancelledError
                return result
            except (RedisError, OSError, ValueError, TypeError, RecursionError) as error:
                # The client raises the last three for replies that are not as Redis gives them.
                if task and task.cancelling() > asked:
                    raise asyncio.CancelledError from None
                moves += 1
                if isinstance(error, MovedError) and moves <= _MAX_MOVES:
                    await self._connect_to(self._home.at(error.host, error.port))
                elif isinstance(error, ReadOnlyError) and moves == 1:
                    # The address leads to another server since, which a connection of before does not.
                    await self._connect_to(self._home)
                else:
                    if self._at != self._home:
                        await self._connect_to(self._home)
                    raise RegistryLost(f"the registry at {self._home.name} cannot be used ({_reason(error)})") from None

    async def _connect_to(self, address: redisurl.RedisAddress) -> None:
        before, self._redis, self._at = self._redis, _connect(address), address
        await before.aclose()


def _connect(address: redisurl.RedisAddress) -> "Redis":
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError
    except ImportError:
        raise SettingsError("--registry needs Redis' client: pip install 'voxgender[registry]'") from None
    return Redis(
        **address.arguments(),
        socket_connect_timeout=_CONNECT_S,
        socket_timeout=_REPLY_S,
        # One retry, for a connection that Redis had closed; one that is slow would be as slow again.
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
    )


async def _is_cluster(redis: "Redis") -> bool:
    from redis.exceptions import ResponseError

    try:
        told: Any = await redis.info("cluster")
    except ResponseError:
        # Its user may not ask, or the cloud does not tell.
        return False
    return bool(told.get("cluster_enabled"))


def _reason(error: Exception) -> str:
    from redis import exceptions

    words = {
        exceptions.AuthenticationError: "it refuses the user or the password",
        exceptions.NoPermissionError: "its user may not use the keys {voxgender}:*",
        exceptions.ReadOnlyError: "it is a replica, which takes no writes",
        exceptions.OutOfMemoryError: "it has no memory left",
        exceptions.BusyLoadingError: "it is loading its data",
        exceptions.ClusterDownError: "its cluster is down",
    }
    for kind, reason in words.items():
        if isinstance(error, kind):
            return reason
    if not isinstance(error, (exceptions.RedisError, OSError)):
        return "its replies are not those of Redis"
    # Messages of the client may span lines and quote the command; they hold no password.
    return _PIPELINE_WORDS.sub("", str(error)).partition("\n")[0] or type(error).__name__

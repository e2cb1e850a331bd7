"""Keep media nodes' records in Redis, where signaling finds them.

A node's record is a key with a lease; a set names all keys. Records are signed, so that write access to Redis is not
enough to divert calls. Redis holds no data of sessions, and all that it holds is rewritten within seconds.
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from voxgender.errors import SettingsError
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.secret import Secret

if TYPE_CHECKING:
    from redis.asyncio import Redis

RENEW_S = 2.0
"""Time between two renewals of a node's lease."""
LEASE_S = 6.0
"""Time after which a silent node is taken to be gone."""
_TIMEOUT_S = 1.0

_NODES = "voxgender:nodes"
_NODE = "voxgender:node:"


class RegistryLost(Exception):
    """The registry cannot be reached, or refuses a command; the message says why."""


class Registry:
    """Reads and writes nodes' records in Redis. It retries only a connection that was closed meanwhile.

    Args:
        url: ``redis://[USER:PASSWORD@]HOST[:PORT][/DB]``, ``rediss://…`` with TLS, or ``unix://PATH``.
        secret: signs the records.
        lease_s: time for which a record is kept without renewal.

    Raises:
        SettingsError: the URL is malformed, or Redis' client is not installed.
    """

    def __init__(self, url: str, secret: Secret, *, lease_s: float = LEASE_S) -> None:
        self._secret = secret
        self._lease_ms = int(lease_s * 1_000)
        self._redis = _connect(url)
        self._where = urlsplit(url).hostname or urlsplit(url).path

    async def announce(self, record: NodeRecord) -> None:
        """Write a node's record, with a lease.

        Raises:
            RegistryLost
        """
        text = record.to_json()
        signed = self._secret.sign("record", text).encode() + b" " + text
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(_NODE + record.id, signed, px=self._lease_ms)
        pipeline.sadd(_NODES, record.id)
        await self._execute(pipeline.execute())

    async def withdraw(self, node_id: str) -> None:
        """Delete a node's record.

        Raises:
            RegistryLost
        """
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.delete(_NODE + node_id)
        pipeline.srem(_NODES, node_id)
        await self._execute(pipeline.execute())

    async def read(self) -> list[NodeRecord]:
        """Return all records that have a lease and are signed with our secret.

        Raises:
            RegistryLost
        """
        ids: list[bytes] = list(await self._execute(self._redis.smembers(_NODES)))
        if not ids:
            return []
        texts: list[bytes | None] = await self._execute(self._redis.mget([_NODE.encode() + node_id for node_id in ids]))
        expired = [node_id for node_id, text in zip(ids, texts, strict=True) if text is None]
        if expired:
            # A node that is only late adds itself again with its next record.
            await self._execute(self._redis.srem(_NODES, *expired))
        records = (self._record(text) for text in texts if text is not None)
        return [record for record in records if record is not None]

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

    async def _execute(self, command: Any) -> Any:
        from redis.exceptions import RedisError

        try:
            return await command
        except (RedisError, OSError) as error:
            # Messages of the client may span lines; they hold no password.
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise RegistryLost(f"the registry at {self._where} cannot be used ({reason})") from None


def _connect(url: str) -> "Redis":
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise SettingsError("--registry needs Redis' client: pip install 'voxgender[registry]'") from None
    try:
        # Checks the brackets of an IPv6 address, which the client does not.
        urlsplit(url)
        return Redis.from_url(
            url,
            socket_connect_timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            # One retry, for a connection that Redis had closed.
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError:
        raise SettingsError(
            "--registry (VOXGENDER_REGISTRY) takes redis://[USER:PASSWORD@]HOST[:PORT][/DB] or rediss://…"
        ) from None

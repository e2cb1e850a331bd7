"""Keep the list of media nodes, and each node's record, up to date."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic

from voxgender import metrics
from voxgender.errors import NotReady
from voxgender.fleet.member import Member
from voxgender.fleet.nodehttp import NoAnswer, Unreachable
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.registry import LEASE_S, RENEW_S, RegistryLost
from voxgender.fleet.remote import ANSWER_TIMEOUT_S, RemoteNode
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import Source

logger = logging.getLogger(__name__)

REFRESH_S = 1.0
"""Time between two reads of the source."""
SOURCE_S = 1.0
"""Time for which a refresh waits for the source; a reading that takes longer goes on beside it."""
MAX_BACKOFF_S = 4.0
"""Longest time between two reads while the source is lost."""
_MIN_REFRESH_S = 0.25
"""Least time between two refreshes on demand."""
_QUERIES_AT_ONCE = 64
_MOST_IDS = 8
"""Nodes of one address that are remembered."""


class Directory:
    """Keeps the known nodes up to date: by a source, by querying them, and by the record in each of their answers.

    A node stays known while its last record, from the source or from itself, is younger than ``lease_s``. So nodes
    stay known while the source is away, or after it has lost its data, and a node that is gone is removed even if the
    source still has its record.

    Args:
        source: finds nodes.
        secret: the secret shared with the nodes.
        refresh_s: time between two reads of the source.
        source_s: time for which a refresh waits for the source.
        max_backoff_s: longest time between two reads while the source is lost.
        lease_s: time after which a silent node is taken to be gone.
        query_after_s: age of a node's record from which the node itself is queried.
        answer_timeout_s: time for a node's answer.
        clock: returns seconds, as ``time.monotonic``.
    """

    def __init__(
        self,
        source: Source,
        secret: Secret,
        *,
        refresh_s: float = REFRESH_S,
        source_s: float = SOURCE_S,
        max_backoff_s: float = MAX_BACKOFF_S,
        lease_s: float = LEASE_S,
        query_after_s: float = RENEW_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._source = source
        self._secret = secret
        self._refresh_s = refresh_s
        self._source_s = source_s
        self._max_backoff_s = max_backoff_s
        self._lease_s = lease_s
        self._query_after_s = query_after_s
        self._answer_timeout_s = answer_timeout_s
        self._clock = clock
        self._members: dict[str, Member] = {}
        self._by_url: dict[str, RemoteNode] = {}
        """Clients of addresses that belong to no member yet, or no longer."""
        self._beats: dict[str, int] = {}
        """Number of the newest record of each node; older records are ignored."""
        self._ids_at: dict[str, list[str]] = {}
        """Ids of the nodes that told records of each address, the latest last."""
        self._urls: Sequence[str] = ()
        self._reading: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = -math.inf
        self._background: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._warned: set[str] = set()
        self.refreshed = asyncio.Event()
        """Set after the first read of the source, successful or not."""

    @property
    def source_lost(self) -> bool:
        """Return whether the last attempt to read the source failed, or takes long."""
        return self._failures > 0 or self._reading is not None

    def members(self) -> list[Member]:
        return list(self._members.values())

    def get(self, node_id: str) -> Member | None:
        return self._members.get(node_id)

    async def start(self) -> None:
        self._background = asyncio.create_task(self._keep_refreshing(), name="directory")

    async def close(self) -> None:
        tasks = [task for task in (self._background, self._refreshing, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for member in self.members():
            self.remove(member)
        for node in self._by_url.values():
            self._release(node)
        await asyncio.gather(*self._closing)
        await self._source.close()

    async def refresh(self, *, force: bool = False) -> None:
        """Read the source and query silent nodes now; concurrent callers share one refresh.

        Args:
            force: refresh even if the last refresh was a moment ago.
        """
        if self._refreshing is not None and force:
            await asyncio.wait((self._refreshing,))
        if self._refreshing is None:
            if not force and self._clock() - self._refreshed_at < _MIN_REFRESH_S:
                return
            self._refreshing = asyncio.create_task(self._refresh(), name="refresh")
            self._refreshing.add_done_callback(self._on_refreshed)
        await asyncio.shield(self._refreshing)

    async def query(self, members: Iterable[Member]) -> None:
        """Ask these nodes for their records."""
        await self._in_parallel([partial(self._query_member, member) for member in members])

    def note_unreachable(self, member: Member, error: Unreachable) -> None:
        """Remove a node whose port is closed, since its process has ended; choose any other one last for a while."""
        if error.refused:
            self.remove(member)
        else:
            member.penalise()

    def remove(self, member: Member) -> None:
        """Remove a node at once, unless it has been replaced."""
        if self._members.get(member.record.id) is member:
            del self._members[member.record.id]
            metrics.NODES.set(len(self._members))
            self._release(member.node)

    def remove_by_url(self, url: str) -> None:
        """Remove the node at this URL at once."""
        for member in self.members():
            if member.node.url == url:
                self.remove(member)

    async def _keep_refreshing(self) -> None:
        while True:
            # An error is logged where the refresh ends; the next one may go well.
            with suppress(Exception):
                await self.refresh()
            # With exponential back-off after a failure, and jitter between instances.
            pause = min(self._refresh_s * 2 ** min(self._failures, 3), self._max_backoff_s)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    def _on_refreshed(self, task: "asyncio.Task[None]") -> None:
        self._refreshing = None
        self._refreshed_at = self._clock()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the nodes could not be refreshed", exc_info=error)

    async def _refresh(self) -> None:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="read-nodes")
        # Neither a request nor the nodes that are known wait for a source that is slow.
        await asyncio.wait((self._reading,), timeout=self._source_s)
        await self._query_silent()
        for member in self.members():
            if member.age_s > self._lease_s:
                logger.warning("node %s is gone: nothing was heard of it for %.0f s", member.record.id, self._lease_s)
                self.remove(member)

    async def _read(self) -> None:
        """Read the source, and update the members by it."""
        try:
            listing = await self._source.read()
        except RegistryLost as error:
            if not self._failures:
                logger.warning("%s; the nodes that are known go on being used", error)
            self._failures += 1
        except Exception as error:
            logger.error("the nodes could not be read", exc_info=error)
            self._failures += 1
        else:
            if self._failures:
                logger.info("the registry is back")
            self._failures = 0
            self._urls = listing.urls
            for record in listing.records:
                self._update(record, record.url)
            remembered = self._members.keys() | {record.id for record in listing.records}
            self._beats = {node_id: beat for node_id, beat in self._beats.items() if node_id in remembered}
            known = {member.node.url for member in self._members.values()} | self._by_url.keys()
            self._ids_at = {url: ids for url, ids in self._ids_at.items() if url in known}
        finally:
            self._reading = None
        self.refreshed.set()

    async def _query_silent(self) -> None:
        known = {member.node.url: member for member in self._members.values()}
        silent = [member for member in known.values() if member.age_s > self._query_after_s]
        new = [url for url in self._urls if url not in known]
        for url in self._by_url.keys() - set(self._urls):
            self._release(self._by_url.pop(url))
        queries: list[Callable[[], Awaitable[None]]] = [partial(self._query_member, member) for member in silent]
        queries += [partial(self._query_new, url) for url in new]
        await self._in_parallel(queries)

    async def _in_parallel(self, queries: Sequence[Callable[[], Awaitable[None]]]) -> None:
        places = asyncio.Semaphore(_QUERIES_AT_ONCE)

        async def run_one(query: Callable[[], Awaitable[None]]) -> None:
            async with places:
                await query()

        await asyncio.gather(*map(run_one, queries))

    async def _query_member(self, member: Member) -> None:
        try:
            record = await member.node.record()
        except Unreachable as error:
            self.note_unreachable(member, error)
        except (NoAnswer, NotReady):
            member.penalise()
        else:
            if record.id != member.record.id:
                # The node has started again, without its old sessions.
                self.remove(member)
            self._update(record, member.node.url)

    async def _query_new(self, url: str) -> None:
        node = self._by_url.get(url)
        if node is None:
            node = self._by_url[url] = self._remote(url)
        try:
            record = await node.record()
        except NoAnswer as error:
            if url not in self._warned:
                self._warned.add(url)
                logger.warning("no node at %s: %s", url, error)
        except (Unreachable, NotReady):
            return
        else:
            self._warned.discard(url)
            self._update(record, url)

    def _update(self, record: NodeRecord, url: str) -> None:
        """Add or update a member by a record that is that of ``url``, unless a newer one is known."""
        member = self._members.get(record.id)
        if member is not None and member.node.url != url:
            # Another node tells it, which could take this one's calls away; or the same one has two addresses.
            return
        if record.beat <= self._beats.get(record.id, -1):
            return
        self._beats[record.id] = record.beat
        self._note_address(record.id, url)
        if member is None:
            node = self._by_url.pop(url, None) or self._remote(url)
            self._members[record.id] = Member(record, node, self._clock)
            metrics.NODES.set(len(self._members))
            logger.info("node %s is at %s", record.id, url)
            return
        member.update(record)

    def _note_address(self, node_id: str, url: str) -> None:
        """Note that a node has told a new record of an address; warn if another one did so in between.

        A node that has started again has a new id, and the old one never comes again.
        """
        ids = self._ids_at.setdefault(url, [])
        if ids and ids[-1] != node_id and node_id in ids:
            logger.warning(
                "several nodes are at %s, so calls go astray: give each an address of its own by --node-address, "
                "and name all addresses of a service by --nodes dns:HOST:PORT",
                url,
                extra={"kind": f"several nodes at {url}"},
            )
        self._ids_at[url] = [*(one for one in ids if one != node_id), node_id][-_MOST_IDS:]

    def _remote(self, url: str) -> RemoteNode:
        on_record = partial(self._update_member, url)
        return RemoteNode(url, self._secret, on_record=on_record, answer_timeout_s=self._answer_timeout_s)

    def _update_member(self, url: str, record: NodeRecord) -> None:
        """Update a member by the record in its answer. Ignore records of unknown nodes."""
        if record.id in self._members:
            self._update(record, url)

    def _release(self, node: RemoteNode) -> None:
        task = asyncio.create_task(node.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

"""Know the media nodes there are, and how full each is."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from time import monotonic

import msgspec

from voxgender import metrics
from voxgender.errors import NotReady
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.registry import LEASE_S, RENEW_S, RegistryLost
from voxgender.fleet.remote import ANSWER_TIMEOUT_S, NoAnswer, RemoteNode, Unreachable
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import Source

logger = logging.getLogger(__name__)

REFRESH_S = 1.0
"""How often the source is read."""
MAX_BACKOFF_S = 4.0
"""The longest pause after losses of the source."""
_LOOK_AGAIN_S = 0.25
"""A look on demand is not repeated sooner."""
SHUN_S = 3.0
"""A node that was too slow, or could not be reached, is the last choice for so long."""
_BUSY = 0.9
"""Share of its cores above which a node is the last choice but for that."""
_ASKED_AT_ONCE = 64


class Member:
    """A node that is known."""

    def __init__(self, record: NodeRecord, node: RemoteNode, confirmed_at: float) -> None:
        self.record = record
        self.node = node
        self.confirmed_at = confirmed_at
        self.placing = 0
        """Offers that it was handed since that record: the record has those before, answered or not."""
        self.shunned_until = 0.0

    def learn(self, record: NodeRecord, confirmed_at: float) -> None:
        """Take a newer record for its own."""
        self.record = record
        self.confirmed_at = confirmed_at
        self.placing = 0

    @property
    def has_room(self) -> bool:
        return not self.record.draining and self.record.sessions + self.placing < self.record.capacity

    @property
    def occupancy(self) -> float:
        """Share of its places that are taken, those just being given away included."""
        return (self.record.sessions + self.placing) / self.record.capacity


class Directory:
    """Learns of nodes from a source, from themselves, and from every answer they give.

    A node is known for as long as either its lease in the source or its own word is younger than ``lease_s``. So
    nodes that are known go on being known while the source is away, or after it has lost everything; and one that
    is gone is forgotten wherever its old record still stands.

    Args:
        source: tells of nodes.
        secret: shared with them.
        refresh_s: how often the source is read.
        max_backoff_s: how rarely at most, while it is lost.
        lease_s: how long a node that is silent is still believed to be there.
        ask_after_s: a node that nothing was heard of for so long is asked itself.
        answer_timeout_s: how long a node's answer is waited for.
        clock: tells the time in seconds, as ``time.monotonic``.
    """

    def __init__(
        self,
        source: Source,
        secret: Secret,
        *,
        refresh_s: float = REFRESH_S,
        max_backoff_s: float = MAX_BACKOFF_S,
        lease_s: float = LEASE_S,
        ask_after_s: float = RENEW_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._source = source
        self._secret = secret
        self._refresh_s = refresh_s
        self._max_backoff_s = max_backoff_s
        self._lease_s = lease_s
        self._ask_after_s = ask_after_s
        self._answer_timeout_s = answer_timeout_s
        self._clock = clock
        self._members: dict[str, Member] = {}
        self._by_url: dict[str, RemoteNode] = {}
        """Of addresses that are not yet, or no longer, those of a member."""
        self._beats: dict[str, int] = {}
        """The newest record seen of each node, members or not: an older one says nothing any more."""
        self._urls: Sequence[str] = ()
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = -math.inf
        self._background: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._lost = 0
        self._refused: set[str] = set()
        self.looked = asyncio.Event()
        """Set once the source was asked for the first time, whatever it said."""

    @property
    def source_lost(self) -> bool:
        """Return whether the last attempt to read the source failed."""
        return self._lost > 0

    def members(self) -> list[Member]:
        return list(self._members.values())

    def get(self, node_id: str) -> Member | None:
        return self._members.get(node_id)

    async def start(self) -> None:
        self._background = asyncio.create_task(self._keep_looking(), name="directory")

    async def close(self) -> None:
        tasks = [task for task in (self._background, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for member in list(self._members.values()):
            self._forget(member)
        for node in self._by_url.values():
            self._release(node)
        await asyncio.gather(*self._closing)
        await self._source.close()

    async def look(self, *, surely: bool = False) -> None:
        """Look again now; many who ask for it at once share one look.

        Args:
            surely: however short ago the last look was.
        """
        if self._looking is not None and surely:
            await asyncio.wait((self._looking,))
        if self._looking is None:
            if not surely and self._clock() - self._looked_at < _LOOK_AGAIN_S:
                return
            self._looking = asyncio.create_task(self._look(), name="look")
            self._looking.add_done_callback(self._has_looked)
        await asyncio.shield(self._looking)

    async def ask(self, members: Iterable[Member]) -> None:
        """Have these nodes say themselves how they are."""
        await self._in_parallel([partial(self._ask_member, member) for member in members])

    def choose(self, passed_over: set[str], region: str, subject: str | None = None) -> Member | None:
        """Choose the node for the next call: the less occupied of two drawn at random, out of the best that have room.

        Two at random, and not the best of all: many signaling instances that each know a little too late would all
        choose the same one (M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 1996).

        With a subject it is the same node for all of its calls, as long as that has room (D. Thaler and C. Ravishankar,
        Using Name-Based Mappings to Increase Hit Rates, 1998): the node can count them then.
        """
        now = self._clock()
        candidates = [
            member for node_id, member in self._members.items() if node_id not in passed_over and member.has_room
        ]
        if not candidates:
            return None

        def rank(member: Member) -> tuple[bool, bool, bool]:
            return (
                member.shunned_until > now,
                bool(region) and member.record.region != region,
                subject is None and member.record.load > _BUSY,
            )

        best = min(map(rank, candidates))
        equals = [member for member in candidates if rank(member) == best]
        if subject is not None:
            return max(equals, key=lambda member: sha256(f"{member.record.id}/{subject}".encode()).digest())
        drawn = random.sample(equals, min(2, len(equals)))
        return min(drawn, key=lambda member: member.occupancy)

    @contextmanager
    def placing(self, member: Member) -> Iterator[None]:
        """While an offer is on its way to a node, its place is taken; then the node's own record has it."""
        before = member.record
        member.placing += 1
        try:
            yield
        finally:
            if member.record is before:
                member.placing -= 1

    def penalise(self, member: Member) -> None:
        """Pass a node over for a while: it is slow, or cannot be reached."""
        member.shunned_until = self._clock() + SHUN_S

    def lose(self, member: Member) -> None:
        """Forget a node at once: nothing listens where it was."""
        self._forget(member)

    def remove_by_url(self, url: str) -> None:
        """Remove the node at this URL, as :meth:`lose` does."""
        for member in self.members():
            if member.node.url == url:
                self._forget(member)

    def mark(self, member: Member, refusal: NotReady) -> None:
        """Note that a node refused a call: it is not asked again before its record says otherwise."""
        if refusal.code == "draining":
            member.record = msgspec.structs.replace(member.record, draining=True)
        elif refusal.code == "at_capacity":
            member.record = msgspec.structs.replace(member.record, sessions=member.record.capacity)
        else:
            self.penalise(member)

    async def _keep_looking(self) -> None:
        while True:
            await self.look()
            # After a loss less and less often, and not all instances at once.
            pause = min(self._refresh_s * 2 ** min(self._lost, 3), self._max_backoff_s)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    def _has_looked(self, task: "asyncio.Task[None]") -> None:
        self._looking = None
        self._looked_at = self._clock()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the nodes could not be looked at", exc_info=error)

    async def _look(self) -> None:
        try:
            listing = await self._source.read()
        except RegistryLost as error:
            if not self._lost:
                logger.warning("%s; the nodes that are known go on being used", error)
            self._lost += 1
        else:
            if self._lost:
                logger.info("the registry is back")
            self._lost = 0
            self._urls = listing.urls
            for record in listing.records:
                self._learn(record, record.url)
            remembered = self._members.keys() | {record.id for record in listing.records}
            self._beats = {node_id: beat for node_id, beat in self._beats.items() if node_id in remembered}
        self.looked.set()
        await self._ask_the_silent()
        for member in list(self._members.values()):
            if self._clock() - member.confirmed_at > self._lease_s:
                logger.warning("node %s is gone: nothing was heard of it for %.0f s", member.record.id, self._lease_s)
                self._forget(member)

    async def _ask_the_silent(self) -> None:
        now = self._clock()
        known = {member.node.url: member for member in self._members.values()}
        silent = [member for member in known.values() if now - member.confirmed_at > self._ask_after_s]
        new = [url for url in self._urls if url not in known]
        for url in self._by_url.keys() - set(self._urls):
            self._release(self._by_url.pop(url))
        asks: list[Callable[[], Awaitable[None]]] = [partial(self._ask_member, member) for member in silent]
        asks += [partial(self._ask_new, url) for url in new]
        await self._in_parallel(asks)

    async def _in_parallel(self, asks: Sequence[Callable[[], Awaitable[None]]]) -> None:
        places = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask_in_turn(ask: Callable[[], Awaitable[None]]) -> None:
            async with places:
                await ask()

        await asyncio.gather(*map(ask_in_turn, asks))

    async def _ask_member(self, member: Member) -> None:
        try:
            record = await member.node.record()
        except Unreachable as error:
            if error.refused:
                self._forget(member)
            else:
                self.penalise(member)
        except (NoAnswer, NotReady):
            self.penalise(member)
        else:
            if record.id != member.record.id:
                # It has started again, and knows nothing of what it was.
                self._forget(member)
            self._learn(record, member.node.url)

    async def _ask_new(self, url: str) -> None:
        node = self._by_url.get(url)
        if node is None:
            node = self._by_url[url] = self._remote(url)
        try:
            record = await node.record()
        except NoAnswer as error:
            if url not in self._refused:
                self._refused.add(url)
                logger.warning("no node at %s: %s", url, error)
        except (Unreachable, NotReady):
            return
        else:
            self._refused.discard(url)
            self._learn(record, url)

    def _learn(self, record: NodeRecord, url: str) -> None:
        """Believe a record, if it is newer than what is known."""
        if record.beat <= self._beats.get(record.id, -1):
            return
        self._beats[record.id] = record.beat
        member = self._members.get(record.id)
        if member is None:
            node = self._by_url.pop(url, None) or self._remote(url)
            self._members[record.id] = Member(record, node, self._clock())
            metrics.NODES.set(len(self._members))
            logger.info("node %s is at %s", record.id, url)
            return
        member.learn(record, self._clock())

    def _remote(self, url: str) -> RemoteNode:
        return RemoteNode(url, self._secret, learn=self._hear, answer_timeout_s=self._answer_timeout_s)

    def _hear(self, record: NodeRecord) -> None:
        """Update a member by the record that came with its answer. Records of unknown nodes are ignored."""
        if record.id in self._members:
            self._learn(record, "")

    def _forget(self, member: Member) -> None:
        if self._members.get(member.record.id) is member:
            del self._members[member.record.id]
            metrics.NODES.set(len(self._members))
            self._release(member.node)

    def _release(self, node: RemoteNode) -> None:
        task = asyncio.create_task(node.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

"""Keep the list of all nodes' calls that can be followed, while somebody follows any."""

import asyncio
from contextlib import aclosing

from voxgender.errors import RequestRefused
from voxgender.fleet.directory import Directory
from voxgender.fleet.member import Member
from voxgender.fleet.nodehttp import NoAnswer, Unreachable
from voxgender.roster import Gone, LiveCall, Roster, Watch

LOOK_S = 0.5
"""Time between two looks for nodes that have come or gone."""
RETRY_S = 1.0
"""Time after which a node is asked again that did not answer."""
FIRST_S = 2.0
"""Time for the nodes to tell their calls to the first watcher."""
MAX_CALLS = 20_000
"""Calls of one node that are kept; of more, the later ones cannot be followed."""
IDLE_S = 30.0
"""Time without a watcher after which the nodes are watched no longer."""


class FleetRoster:
    """Watches each node over one connection for all watchers here, and no node while nobody watches.

    Args:
        directory: the known nodes.
        look_s: time between two looks for nodes that have come or gone.
        retry_s: time after which a node is asked again that did not answer.
        idle_s: time without a watcher after which the nodes are watched no longer.
        max_calls: calls of one node that are kept.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        look_s: float = LOOK_S,
        retry_s: float = RETRY_S,
        idle_s: float = IDLE_S,
        max_calls: int = MAX_CALLS,
    ) -> None:
        self._directory = directory
        self._look_s = look_s
        self._retry_s = retry_s
        self._idle_s = idle_s
        self._max_calls = max_calls
        self._roster = Roster()
        self._nodes: dict[str, tuple[Member, asyncio.Task[None]]] = {}
        self._told: set[str] = set()
        """Nodes that have told all of their calls."""
        self._complete = asyncio.Event()
        """Set once all nodes that were known have told their calls."""
        self._looking: asyncio.Task[None] | None = None
        self._coming = 0
        """Watchers that wait for the nodes to tell their calls."""

    async def watch(self) -> Watch:
        """Return all nodes' calls, and all changes from now on; begin to watch the nodes, if nobody does."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="fleet-roster")
        self._coming += 1
        try:
            async with asyncio.timeout(FIRST_S):
                await self._complete.wait()
        except TimeoutError:
            # The calls of the nodes that have answered are better than none.
            pass
        finally:
            self._coming -= 1
        return self._roster.watch()

    async def close(self) -> None:
        """Stop watching the nodes."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self) -> None:
        """Watch the nodes that there are, until nobody watches here."""
        loop = asyncio.get_running_loop()
        watched_at = loop.time()
        try:
            while loop.time() - watched_at < self._idle_s:
                if self._roster.watched or self._coming:
                    watched_at = loop.time()
                members = {member.record.id: member for member in self._directory.members()}
                for node_id, (member, _) in tuple(self._nodes.items()):
                    # A node that was lost and found has another client.
                    if members.get(node_id) is not member:
                        await self._leave(node_id)
                for node_id in members.keys() - self._nodes.keys():
                    member = members[node_id]
                    self._nodes[node_id] = member, asyncio.create_task(self._watch_node(member))
                if self._directory.refreshed.is_set() and members.keys() <= self._told:
                    self._complete.set()
                await asyncio.sleep(self._look_s if self._complete.is_set() else self._look_s / 20)
        finally:
            for node_id in tuple(self._nodes):
                await self._leave(node_id)
            self._complete.clear()
            self._looking = None
            task = asyncio.current_task()
            # Somebody may have come to watch meanwhile.
            if (self._roster.watched or self._coming) and task is not None and not task.cancelling():
                self._looking = asyncio.create_task(self._look(), name="fleet-roster")

    async def _leave(self, node_id: str) -> None:
        _, task = self._nodes.pop(node_id)
        self._told.discard(node_id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _watch_node(self, member: Member) -> None:
        """Keep a node's calls in the roster."""
        known: set[str] = set()
        try:
            while True:
                try:
                    changes = await member.node.watch()
                except (Unreachable, NoAnswer, RequestRefused, RuntimeError):
                    # Its calls go on, as far as is known here. A client that was closed raises RuntimeError.
                    await asyncio.sleep(self._retry_s)
                    continue
                seen: set[str] = set()
                async with aclosing(changes):
                    async for change in changes:
                        match change:
                            case LiveCall() if _is_of(member, change.session):
                                if change.session not in known and len(known) >= self._max_calls:
                                    continue
                                seen.add(change.session)
                                known.add(change.session)
                                self._roster.add(change)
                            case Gone() if change.session in known:
                                known.discard(change.session)
                                seen.discard(change.session)
                                self._roster.remove(change.session)
                            case None:
                                # Those that have ended meanwhile.
                                for session in known - seen:
                                    self._roster.remove(session)
                                known &= seen
                                self._told.add(member.record.id)
                await asyncio.sleep(self._retry_s)
        finally:
            for session in known:
                self._roster.remove(session)


def _is_of(member: Member, session_id: str) -> bool:
    """Tell whether a session's id names this node, so that a lying node cannot take another's calls away."""
    return session_id.split(".")[1:2] == [member.record.id]

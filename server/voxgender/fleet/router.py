"""Route calls to many media nodes: place each new call on one, and find that node again by the session's id."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from voxgender.audiostream import StreamFormat
from voxgender.calloptions import DEFAULTS, CallOptions
from voxgender.errors import (
    CallNotFound,
    Draining,
    NodeNotFound,
    NotReady,
    OtherInstance,
    SessionNotFound,
    Starting,
)
from voxgender.fleet.directory import Directory
from voxgender.fleet.nodehttp import NoAnswer, Unreachable
from voxgender.fleet.placement import Placement, PlacementTimes
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.remote import RemoteNode
from voxgender.fleet.roster import FleetRoster
from voxgender.fleet.secret import Secret
from voxgender.fleet.wire import OfferRequest
from voxgender.http.calls import ClientStream
from voxgender.roster import Followed, Watch
from voxgender.sdp import Fragment, Offer
from voxgender.sessionids import is_session_id
from voxgender.usage import UsageReport, add_up

T = TypeVar("T")


class Router:
    """Implements ``voxgender.http.calls.Calls`` by media nodes in other processes.

    There is no table of sessions, because a session's id names its node, signed. So any instance of signaling serves
    any session, after restarts too.

    Args:
        directory: the known nodes.
        secret: checks the signature of sessions' ids.
        region: nodes of this region are preferred.
        keep_together: place one subject's calls on one node, so that their number can be limited there.
        needs_node: be ready only while a node takes calls. Otherwise signaling is ready after the first refresh: it
            can answer every call then, and a load balancer must not remove all instances when nodes are missing.
        is_one_of_many: say where an id is another instance's, whose nodes are not known here.
        times: times that nodes are given to answer an offer.
        roster: the calls of all nodes; None for one of its own.
    """

    def __init__(
        self,
        directory: Directory,
        secret: Secret,
        *,
        region: str = "",
        keep_together: bool = False,
        needs_node: bool = False,
        is_one_of_many: bool = False,
        times: PlacementTimes = PlacementTimes(),  # noqa: B008 - it cannot change
        roster: FleetRoster | None = None,
    ) -> None:
        self._directory = directory
        self._secret = secret
        self._placement = Placement(directory, secret, region=region, keep_together=keep_together, times=times)
        self._needs_node = needs_node
        self._is_one_of_many = is_one_of_many
        self._draining = False
        self._roster = roster or FleetRoster(directory)

    def drain(self) -> None:
        """Take no more calls."""
        self._draining = True

    async def close(self) -> None:
        """Stop watching nodes and withdrawing offers; the nodes end those sessions themselves."""
        await self._roster.close()
        await self._placement.close()

    def check_ready(self) -> None:
        """Raise ``NotReady`` while no calls are taken."""
        if self._draining:
            raise Draining
        if not self._directory.refreshed.is_set():
            raise NotReady("The server is starting: it looks for media nodes.", code="starting", retry_after_s=1)
        if self._needs_node and all(member.record.draining for member in self._directory.members()):
            raise Starting

    async def open(
        self, offer: str, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        """Open a call on a node. Returns the session's id and the SDP answer.

        Raises:
            NotReady: no node is there, or none has free places.
            TooManySessions, SdpRejected, OptionRefused
        """
        # An invalid offer is refused here, and sent to no node.
        places = len(Offer.parse(offer).voices)
        self.check_ready()
        placed = await self._placement.place(OfferRequest(offer, subject, address, options), places)
        return placed.session, placed.answer

    async def reserve(
        self, form: StreamFormat, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        """Reserve a place for a stream on a node, as :meth:`open` does for a call; return session id and ticket.

        Raises:
            NotReady, TooManySessions, OptionRefused
        """
        self.check_ready()
        placed = await self._placement.place(OfferRequest(form, subject, address, options), form.channels)
        return placed.session, placed.answer

    async def listen(
        self, form: StreamFormat, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> ClientStream:
        """Begin a stream on a node, and carry it there.

        Raises:
            NotReady, TooManySessions, OptionRefused
        """
        session_id, ticket = await self.reserve(form, subject, address, options)
        try:
            return await self.redeem(ticket)
        except SessionNotFound:
            # The node has started again in between.
            raise NotReady("The call's media node is gone.", code="no_node", retry_after_s=2) from None
        except asyncio.CancelledError:
            with suppress(SessionNotFound, NotReady):
                await self.end(session_id)
            raise

    async def redeem(self, ticket: str) -> ClientStream:
        """Carry the stream of a ticket to the node that has given it.

        Raises:
            SessionNotFound: the ticket was used, has expired, or never was.
            NotReady: its node cannot be reached now.
        """
        return await self._forward(ticket, lambda node: node.redeem(ticket))

    async def trickle(self, session_id: str, fragment: str) -> None:
        Fragment.parse(fragment)
        await self._forward(session_id, lambda node: node.trickle(session_id, fragment))

    async def update(self, session_id: str, offer: str) -> str:
        return await self._forward(session_id, lambda node: node.update(session_id, offer))

    async def end(self, session_id: str) -> None:
        await self._forward(session_id, lambda node: node.end(session_id))

    async def watch(self) -> Watch:
        """Return the calls of all nodes that have a name or a subject, and all changes from now on."""
        return await self._roster.watch()

    async def follow(
        self, session_id: str, after: int | None = None, messages: tuple[str, ...] | None = None
    ) -> AsyncGenerator[Followed, None]:
        return await self._forward(session_id, lambda node: node.follow(session_id, after, messages))

    async def describe(self, session_id: str) -> dict[str, Any]:
        return await self._forward(session_id, lambda node: node.describe(session_id))

    async def describe_all(self) -> list[dict[str, Any]]:
        """Return the sessions of all nodes that answer."""
        members = self._directory.members()
        answers = await asyncio.gather(*(member.node.describe_all() for member in members), return_exceptions=True)
        return [session for answer in answers if isinstance(answer, list) for session in answer]

    async def overview(self) -> dict[str, list[dict[str, Any]]]:
        """Return all nodes that are known, and the calls of those that answer."""
        members = self._directory.members()
        answers = await asyncio.gather(*(member.node.overview() for member in members), return_exceptions=True)
        calls = [
            call | {"node": member.record.id}
            for member, answer in zip(members, answers, strict=True)
            if not isinstance(answer, BaseException)
            for call in answer.get("calls", ())
        ]
        return {"calls": calls, "nodes": [_node_row(member.record) for member in members]}

    async def usage(self) -> UsageReport:
        """Return the usage of all nodes that answer, added up, and the names of the others."""
        members = self._directory.members()
        answers = await asyncio.gather(*(member.node.usage() for member in members), return_exceptions=True)
        told = [(member.record.id, one) for member, one in zip(members, answers, strict=True)]
        reports = [(node, one) for node, one in told if isinstance(one, UsageReport)]
        silent = [node for node, one in told if not isinstance(one, UsageReport)]
        # Each may have ten thousand subjects.
        return await asyncio.to_thread(add_up, reports, silent)

    async def end_by_hash(self, wanted: str) -> None:
        """End a call on whichever node has it."""
        ends = (member.node.end_by_hash(wanted) for member in self._directory.members())
        outcomes = await asyncio.gather(*ends, return_exceptions=True)
        if None in outcomes:
            return
        if any(not isinstance(outcome, SessionNotFound) for outcome in outcomes):
            raise NotReady("Not all media nodes can be reached now.", code="node_unreachable", retry_after_s=2)
        if self._is_one_of_many:
            raise OtherInstance
        raise CallNotFound

    async def drain_node(self, node: str) -> None:
        member = self._directory.get(node)
        if member is None:
            if self._is_one_of_many:
                raise OtherInstance
            raise NodeNotFound
        try:
            await member.node.drain()
        except (Unreachable, NoAnswer):
            raise NotReady("The node cannot be reached now.", code="node_unreachable", retry_after_s=2) from None

    async def _forward(self, session_id: str, request: Callable[[RemoteNode], Awaitable[T]]) -> T:
        """Send a request to the node that has a session.

        Raises:
            SessionNotFound: the id is not signed by a node, or its node is gone.
            OtherInstance: its node is another instance's.
            NotReady: the node cannot be reached now.
        """
        node_id = self._secret.node_of(session_id)
        if node_id is None:
            if self._is_one_of_many and is_session_id(session_id):
                raise OtherInstance
            raise SessionNotFound
        member = self._directory.get(node_id)
        if member is None:
            # The node may have started since the last refresh.
            await self._directory.refresh()
            member = self._directory.get(node_id)
        if member is None:
            if self._directory.source_lost:
                raise NotReady(
                    "The call's media node cannot be found now: the registry is away.", code="no_node", retry_after_s=2
                )
            raise SessionNotFound
        try:
            return await request(member.node)
        except Unreachable as error:
            self._directory.note_unreachable(member, error)
            if error.refused:
                raise SessionNotFound from None
        except NoAnswer:
            member.penalise()
        raise NotReady("The call's media node cannot be reached now.", code="node_unreachable", retry_after_s=2)


def _node_row(record: NodeRecord) -> dict[str, Any]:
    return {
        "node": record.id,
        "sessions": record.sessions,
        "capacity": record.capacity,
        "load": record.load,
        "draining": record.draining,
        "region": record.region,
        "version": record.version,
    }

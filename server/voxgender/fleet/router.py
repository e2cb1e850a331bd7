"""Route calls to many media nodes: choose a node for each new call, and find it again by the session's id."""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, Literal, TypeVar

from voxgender import metrics
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
from voxgender.fleet.directory import Directory, Member
from voxgender.fleet.nodehttp import NoAnswer, Unreachable
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.remote import RemoteNode
from voxgender.fleet.roster import FleetRoster
from voxgender.fleet.secret import Secret
from voxgender.fleet.wire import OfferResponse
from voxgender.http.calls import ClientStream
from voxgender.roster import Followed, Watch
from voxgender.sdp import Fragment, Offer
from voxgender.sessionids import is_session_id
from voxgender.usage import UsageReport, add_up

logger = logging.getLogger(__name__)

T = TypeVar("T")

PLACE_TIMEOUT_S = 6.0
"""Time after which no further node is tried for a call; clients wait for about ten seconds."""
FIRST_ANSWER_S = 1.0
"""Time for the answer of the node that is asked first, where another one has room."""
PROMPT_ANSWER_S = 0.08
"""Time after which that node is asked whether it moves at all; a healthy one takes some ten milliseconds."""
STANDSTILL_S = 0.12
"""Time for any answer to that question, for each offer that the node has to answer. A node that stands still must not
keep its callers, one that is busy may."""
_STEPS = 4
"""Parts in which this time is waited for: as long as signaling itself stands still, it cannot hear a node."""
MAX_UNANSWERED = 2
"""Nodes that may leave an offer unanswered before it is refused."""
_WITHDRAWALS = 4
"""Attempts to withdraw an offer. After that the node ends the session itself, since nobody connects to it."""
_ASKED_FOR_ROOM = 16
"""Full nodes that are asked for a newer record before a call is refused."""


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
    ) -> None:
        self._directory = directory
        self._secret = secret
        self._region = region
        self._keep_together = keep_together
        self._needs_node = needs_node
        self._is_one_of_many = is_one_of_many
        self._draining = False
        self._withdrawing: set[asyncio.Task[None]] = set()
        self._roster = FleetRoster(directory)

    def drain(self) -> None:
        """Take no more calls."""
        self._draining = True

    async def close(self) -> None:
        """Stop watching nodes and withdrawing offers; the nodes end those sessions themselves."""
        await self._roster.close()
        for task in self._withdrawing:
            task.cancel()
        await asyncio.gather(*self._withdrawing, return_exceptions=True)

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
        """Open a call on a node: offer it to one node after another until one answers.

        The offer is withdrawn from a node that gives no answer, and a node answers each offer only once. So an offer
        never has two sessions, and no session stays unknown. After two nodes without an answer no third is tried,
        because the offer itself may be the cause.

        Raises:
            NotReady: no node is there, or none has room.
            TooManySessions, SdpRejected, OptionRefused
        """
        # An invalid offer is refused here, and sent to no node.
        places = len(Offer.parse(offer).voices)
        placed = await self._place(offer, subject, address, options, places=places)
        return placed.session, placed.answer

    async def reserve(
        self, form: StreamFormat, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        """Reserve a place for a stream on a node, as :meth:`open` does for a call; return session id and ticket.

        Raises:
            NotReady, TooManySessions, OptionRefused
        """
        placed = await self._place(form, subject, address, options, places=form.channels)
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

    async def _place(
        self, offer: str | StreamFormat, subject: str | None, address: str, options: CallOptions, *, places: int
    ) -> OfferResponse:
        self.check_ready()
        offer_id = secrets.token_urlsafe(18)
        deadline = monotonic() + PLACE_TIMEOUT_S
        passed_over: set[str] = set()
        unanswered = 0
        refreshed = False
        while unanswered < MAX_UNANSWERED and monotonic() < deadline:
            member = self._directory.choose(
                passed_over, self._region, subject if self._keep_together else None, places=places
            )
            if member is None:
                if refreshed:
                    break
                refreshed = True
                await self._refresh_room(places)
                continue
            passed_over.add(member.record.id)
            has_others = not unanswered and self._has_others(passed_over, places)
            placed = await self._offer(
                member, offer_id, offer, subject, address, options, places=places, has_others=has_others
            )
            if isinstance(placed, OfferResponse):
                return placed
            unanswered += placed == "no_answer"
        if not unanswered and (full := self._full(passed_over, places)) is not None:
            # It ends a call that never connected, where it has one.
            placed = await self._offer(full, offer_id, offer, subject, address, options, places=places)
            if isinstance(placed, OfferResponse):
                return placed
        raise self._no_room(places)

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

    async def _offer(
        self,
        member: Member,
        offer_id: str,
        offer: str | StreamFormat,
        subject: str | None,
        address: str,
        options: CallOptions,
        *,
        places: int,
        has_others: bool = False,
    ) -> "OfferResponse | Literal['refused', 'unreachable', 'no_answer']":
        """Return a node's answer, or the reason to try another node."""
        outcome: Literal["refused", "unreachable", "no_answer"]
        try:
            with self._directory.reserve(member, places):
                within_s = FIRST_ANSWER_S if has_others else None
                asking = member.node.offer(offer_id, offer, subject, address, options, within_s=within_s)
                placed = await (_unless_it_stands_still(member, asking) if has_others else asking)
        except NotReady as refusal:
            self._directory.note_refusal(member, refusal, places)
            outcome = "refused"
        except Unreachable as error:
            self._note_unreachable(member, error)
            outcome = "unreachable"
        except NoAnswer as error:
            self._directory.penalise(member)
            logger.warning("%s; the call goes to another node", error, extra={"kind": member.record.id})
            self._withdraw(member, offer_id)
            outcome = "no_answer"
        except asyncio.CancelledError:
            self._withdraw(member, offer_id)
            raise
        else:
            if self._secret.node_of(placed.session) == member.record.id:
                metrics.PLACEMENTS.labels("placed").inc()
                return placed
            self._directory.penalise(member)
            outcome = "no_answer"
        metrics.PLACEMENTS.labels(outcome).inc()
        return outcome

    def _withdraw(self, member: Member, offer_id: str) -> None:
        task = asyncio.create_task(self._withdraw_until_done(member.node, offer_id), name="withdraw")
        self._withdrawing.add(task)
        task.add_done_callback(self._withdrawing.discard)

    async def _withdraw_until_done(self, node: RemoteNode, offer_id: str) -> None:
        for attempt in range(_WITHDRAWALS):
            try:
                await node.withdraw(offer_id)
            except (Unreachable, NoAnswer, NotReady, RuntimeError):
                # RuntimeError: the node was removed meanwhile, and its connections were closed.
                await asyncio.sleep(2**attempt)
            else:
                return

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
            self._note_unreachable(member, error)
            if error.refused:
                raise SessionNotFound from None
        except NoAnswer:
            self._directory.penalise(member)
        raise NotReady("The call's media node cannot be reached now.", code="node_unreachable", retry_after_s=2)

    def _note_unreachable(self, member: Member, error: Unreachable) -> None:
        if error.refused:
            self._directory.remove(member)
        else:
            self._directory.penalise(member)

    async def _refresh_room(self, places: int) -> None:
        await self._directory.refresh()
        full = [member for member in self._directory.members() if not member.has_room(places)]
        await self._directory.query(random.sample(full, min(_ASKED_FOR_ROOM, len(full))))

    def _has_others(self, passed_over: Collection[str], places: int) -> bool:
        """Tell whether a node that was not asked yet has room."""
        return any(
            member.has_room(places) and not member.record.draining and member.record.id not in passed_over
            for member in self._directory.members()
        )

    def _full(self, passed_over: Collection[str], places: int) -> Member | None:
        """Return any node that is full and was not asked yet, those of this region first."""
        full = [
            member
            for member in self._directory.members()
            if not member.record.draining and not member.has_room(places) and member.record.id not in passed_over
        ]
        near = [member for member in full if member.record.region == self._region]
        return random.choice(near or full) if full else None  # noqa: S311 - no secret

    def _no_room(self, places: int) -> NotReady:
        members = self._directory.members()
        if any(member.record.overloaded and member.has_room(places) for member in members):
            return NotReady(
                "The media nodes do not keep up with the calls that they have.", code="overloaded", retry_after_s=5
            )
        if any(not member.record.draining and not member.has_room(places) for member in members):
            return NotReady("All media nodes are full.", code="at_capacity", retry_after_s=10)
        if members and all(member.record.draining for member in members):
            return NotReady("All media nodes are shutting down.", code="draining", retry_after_s=5)
        return NotReady("No media node takes calls now.", code="no_node", retry_after_s=2)


async def _unless_it_stands_still(member: Member, asking: Coroutine[Any, Any, OfferResponse]) -> OfferResponse:
    """Return a node's answer to an offer; if it takes long, ask for the node's record, and wait only if that comes.

    Raises:
        NoAnswer: neither has come in time.
        Unreachable, NotReady, TooManySessions, SdpRejected, OptionRefused: as ``RemoteNode.offer`` does.
    """
    offer = asyncio.create_task(asking, name="offer")
    tasks: list[asyncio.Task[Any]] = [offer]
    try:
        await asyncio.wait(tasks, timeout=PROMPT_ANSWER_S)
        if not offer.done():
            tasks.append(asyncio.create_task(member.node.record(), name="record"))
            for _ in range(_STEPS * member.unanswered):
                await asyncio.wait(tasks, timeout=STANDSTILL_S / _STEPS, return_when=asyncio.FIRST_COMPLETED)
                # A refusal is a sign of life, too.
                if any(task.done() for task in tasks):
                    break
            else:
                raise NoAnswer(f"{member.node.url} stands still")
        return await offer
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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

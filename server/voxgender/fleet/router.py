"""Route calls to many media nodes: place each, and find its node by the session's id."""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from time import monotonic
from typing import Any, Literal, TypeVar

from voxgender import metrics
from voxgender.errors import NotReady, SessionNotFound
from voxgender.fleet.directory import Directory, Member
from voxgender.fleet.remote import NoAnswer, OfferResponse, RemoteNode, Unreachable
from voxgender.fleet.secret import Secret
from voxgender.sdp import Fragment, Offer

logger = logging.getLogger(__name__)

T = TypeVar("T")

PLACE_TIMEOUT_S = 6.0
"""After that no other node is asked to take a call; clients wait for about ten seconds."""
MAX_UNANSWERED = 2
"""Nodes that are shown an offer and give no answer, before it is refused."""
_WITHDRAWALS = 4
"""Attempts to withdraw an offer. After that the node ends the session itself, since nobody connects to it."""
_ASKED_FOR_ROOM = 16
"""Full nodes that are asked whether they still are, before a call is refused."""
_GONE = "There is no such session: it has ended, or never was."


class Router:
    """Implements ``voxgender.http.calls.Calls`` with nodes elsewhere.

    There is no table of sessions: a session's id names its node, under a signature. So any instance of signaling
    serves any session, after restarts too.

    Args:
        directory: the nodes.
        secret: signs sessions' ids.
        region: nodes of this one are taken first.
        keep_together: place one subject's calls on one node, so that their number can be limited there.
        needs_node: ready only while a node takes calls. Elsewhere signaling is ready as soon as it has looked for
            nodes: it has an answer for every call then, and no balancer is to take all its instances away at once.
    """

    def __init__(
        self,
        directory: Directory,
        secret: Secret,
        *,
        region: str = "",
        keep_together: bool = False,
        needs_node: bool = False,
    ) -> None:
        self._directory = directory
        self._secret = secret
        self._region = region
        self._keep_together = keep_together
        self._needs_node = needs_node
        self._draining = False
        self._withdrawing: set[asyncio.Task[None]] = set()

    def drain(self) -> None:
        """Place no more calls."""
        self._draining = True

    async def close(self) -> None:
        """Stop withdrawing offers: their nodes end those sessions by themselves."""
        for task in self._withdrawing:
            task.cancel()
        await asyncio.gather(*self._withdrawing, return_exceptions=True)

    def check_ready(self) -> None:
        """Raise ``NotReady`` while no calls can be placed."""
        if self._draining:
            raise NotReady("The server is shutting down.", code="draining", retry_after_s=5)
        if not self._directory.looked.is_set():
            raise NotReady("The server is starting: it looks for media nodes.", code="starting", retry_after_s=1)
        if self._needs_node and all(member.record.draining for member in self._directory.members()):
            raise NotReady("The server is starting: its model is being loaded.", code="starting", retry_after_s=2)

    async def open(self, offer: str, subject: str | None = None, address: str = "") -> tuple[str, str]:
        """Place a call on a node: one after another is asked until one answers.

        A node that gives no answer is told to drop the offer, and a node answers an offer's id once only. So no
        two sessions come of one offer, and none stays that nobody knows of. After two nodes that gave no answer no
        third is asked: it may be the offer that stops them.

        Raises:
            NotReady: no node is there, or none has room.
            TooManySessions, SdpRejected
        """
        self.check_ready()
        # What no node could answer is not sent to any.
        Offer.parse(offer)
        offer_id = secrets.token_urlsafe(18)
        deadline = monotonic() + PLACE_TIMEOUT_S
        passed_over: set[str] = set()
        unanswered = 0
        looked = False
        while unanswered < MAX_UNANSWERED and monotonic() < deadline:
            member = self._directory.choose(passed_over, self._region, subject if self._keep_together else None)
            if member is None:
                if looked:
                    break
                looked = True
                await self._look_for_room()
                continue
            passed_over.add(member.record.id)
            placed = await self._place(member, offer_id, offer, subject, address)
            if isinstance(placed, OfferResponse):
                return placed.session, placed.answer
            unanswered += placed == "no_answer"
        if not unanswered and (full := self._full(passed_over)) is not None:
            # It ends a call that never connected, where it has one.
            placed = await self._place(full, offer_id, offer, subject, address)
            if isinstance(placed, OfferResponse):
                return placed.session, placed.answer
        raise self._no_room()

    async def trickle(self, session_id: str, fragment: str) -> None:
        Fragment.parse(fragment)
        await self._ask(session_id, lambda node: node.trickle(session_id, fragment))

    async def end(self, session_id: str) -> None:
        await self._ask(session_id, lambda node: node.end(session_id))

    async def follow(self, session_id: str) -> AsyncGenerator[str, None]:
        return await self._ask(session_id, lambda node: node.follow(session_id))

    async def describe(self, session_id: str) -> dict[str, Any]:
        return await self._ask(session_id, lambda node: node.describe(session_id))

    async def describe_all(self) -> list[dict[str, Any]]:
        """Return the sessions of all nodes that answer."""
        members = self._directory.members()
        answers = await asyncio.gather(*(member.node.describe_all() for member in members), return_exceptions=True)
        return [session for answer in answers if isinstance(answer, list) for session in answer]

    async def _place(
        self, member: Member, offer_id: str, offer: str, subject: str | None, address: str
    ) -> "OfferResponse | Literal['refused', 'unreachable', 'no_answer']":
        """Return one node's answer, or why another node is to be asked."""
        outcome: Literal["refused", "unreachable", "no_answer"]
        try:
            with self._directory.placing(member):
                placed = await member.node.place(offer_id, offer, subject, address)
        except NotReady as refusal:
            self._directory.mark(member, refusal)
            outcome = "refused"
        except Unreachable as error:
            self._missed(member, error)
            outcome = "unreachable"
        except NoAnswer as error:
            self._directory.penalise(member)
            logger.warning("%s; the call goes to another node", error)
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
                # RuntimeError: the node was forgotten meanwhile, and its connections closed.
                await asyncio.sleep(2**attempt)
            else:
                return

    async def _ask(self, session_id: str, ask: Callable[[RemoteNode], Awaitable[T]]) -> T:
        """Ask the node that has a session.

        Raises:
            SessionNotFound: no node gave that id, or the node is gone, and its sessions with it.
            NotReady: the node may be there, and cannot be asked now.
        """
        node_id = self._secret.node_of(session_id)
        if node_id is None:
            raise SessionNotFound(_GONE)
        member = self._directory.get(node_id)
        if member is None:
            # It may have come since we looked last.
            await self._directory.look()
            member = self._directory.get(node_id)
        if member is None:
            if self._directory.source_lost:
                raise NotReady(
                    "The call's media node cannot be found now: the registry is away.", code="no_node", retry_after_s=2
                )
            raise SessionNotFound(_GONE)
        try:
            return await ask(member.node)
        except Unreachable as error:
            self._missed(member, error)
            if error.refused:
                raise SessionNotFound(_GONE) from None
        except NoAnswer:
            self._directory.penalise(member)
        raise NotReady("The call's media node cannot be reached now.", code="node_unreachable", retry_after_s=2)

    def _missed(self, member: Member, error: Unreachable) -> None:
        if error.refused:
            self._directory.lose(member)
        else:
            self._directory.penalise(member)

    async def _look_for_room(self) -> None:
        await self._directory.look()
        full = [member for member in self._directory.members() if not member.has_room]
        await self._directory.ask(random.sample(full, min(_ASKED_FOR_ROOM, len(full))))

    def _full(self, passed_over: Collection[str]) -> Member | None:
        """Return any node that is full and was not asked yet, those of this region first."""
        full = [
            member
            for member in self._directory.members()
            if not member.record.draining and not member.has_room and member.record.id not in passed_over
        ]
        near = [member for member in full if member.record.region == self._region]
        return random.choice(near or full) if full else None  # noqa: S311 - no secret

    def _no_room(self) -> NotReady:
        members = self._directory.members()
        if any(not member.record.draining and not member.has_room for member in members):
            return NotReady("All media nodes are full.", code="at_capacity", retry_after_s=10)
        if members and all(member.record.draining for member in members):
            return NotReady("All media nodes are shutting down.", code="draining", retry_after_s=5)
        return NotReady("No media node takes calls now.", code="no_node", retry_after_s=2)

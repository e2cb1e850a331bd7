"""Place a call on a media node: offer it to one node after another until one answers."""

import asyncio
import logging
import random
import secrets
from collections.abc import Collection, Coroutine
from time import monotonic
from typing import Any, Literal, NamedTuple

from voxgender import metrics
from voxgender.errors import NotReady
from voxgender.fleet.directory import Directory
from voxgender.fleet.member import Member, choose
from voxgender.fleet.nodehttp import NoAnswer, Unreachable
from voxgender.fleet.remote import RemoteNode
from voxgender.fleet.secret import Secret
from voxgender.fleet.wire import OfferRequest, OfferResponse

logger = logging.getLogger(__name__)

PLACE_TIMEOUT_S = 6.0
"""Time after which no further node is tried for a call; clients wait for about ten seconds."""
FIRST_ANSWER_S = 1.0
"""Time for the answer of the node that is asked first, where another one has free places."""
PROMPT_ANSWER_S = 0.08
"""Time after which that node is asked for its record; a healthy one answers an offer in some ten milliseconds."""
STANDSTILL_S = 0.12
"""Time for the record, for each offer that the node has to answer. A busy node sends its record in that time, one that
stands still does not."""
_STEPS = 4
"""Parts into which that time is divided, so that a stop of signaling itself does not use it up."""
MAX_UNANSWERED = 2
"""Nodes that may leave an offer unanswered before it is refused."""
_WITHDRAWALS = 4
"""Attempts to withdraw an offer. After that the node ends the session itself, since nobody connects to it."""
_ASKED_WHEN_FULL = 16
"""Full nodes that are asked for a newer record before a call is refused."""


class PlacementTimes(NamedTuple):
    """Times that nodes are given to answer an offer."""

    place_timeout_s: float = PLACE_TIMEOUT_S
    first_answer_s: float = FIRST_ANSWER_S
    prompt_answer_s: float = PROMPT_ANSWER_S
    standstill_s: float = STANDSTILL_S


class Placement:
    """Places calls on the nodes of a directory.

    Args:
        directory: the known nodes.
        secret: checks the signature of sessions' ids.
        region: nodes of this region are preferred.
        keep_together: place one subject's calls on one node, so that their number can be limited there.
        times: times that nodes are given to answer.
    """

    def __init__(
        self,
        directory: Directory,
        secret: Secret,
        *,
        region: str,
        keep_together: bool,
        times: PlacementTimes = PlacementTimes(),  # noqa: B008 - it cannot change
    ) -> None:
        self._directory = directory
        self._secret = secret
        self._region = region
        self._keep_together = keep_together
        self._times = times
        self._withdrawing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop withdrawing offers; the nodes end those sessions themselves."""
        for task in self._withdrawing:
            task.cancel()
        await asyncio.gather(*self._withdrawing, return_exceptions=True)

    async def place(self, request: OfferRequest, places: int) -> OfferResponse:
        """Offer a call of so many places to nodes, and return the first answer.

        The offer is withdrawn from a node that gives no answer, and a node answers each offer only once. So an offer
        never has two sessions, and no session stays unknown. After two nodes without an answer no third is tried,
        because the offer itself may be the cause.

        Raises:
            NotReady: no node is there, or none has free places.
            TooManySessions, SdpRejected, OptionRefused
        """
        offer_id = secrets.token_urlsafe(18)
        subject = request.subject if self._keep_together else None
        deadline = monotonic() + self._times.place_timeout_s
        passed_over: set[str] = set()
        unanswered = 0
        refreshed = False
        while unanswered < MAX_UNANSWERED and monotonic() < deadline:
            member = choose(
                self._directory.members(),
                passed_over=passed_over,
                region=self._region,
                subject=subject,
                places=places,
            )
            if member is None:
                if refreshed:
                    break
                refreshed = True
                await self._refresh_full(places)
                continue
            passed_over.add(member.record.id)
            has_others = not unanswered and self._has_others(passed_over, places)
            placed = await self._offer(member, offer_id, request, places, has_others=has_others)
            if isinstance(placed, OfferResponse):
                return placed
            unanswered += placed == "no_answer"
        if not unanswered and (full := self._full(passed_over, places)) is not None:
            # It ends a call that never connected, where it has one.
            placed = await self._offer(full, offer_id, request, places)
            if isinstance(placed, OfferResponse):
                return placed
        raise self._refusal(places)

    async def _offer(
        self, member: Member, offer_id: str, request: OfferRequest, places: int, *, has_others: bool = False
    ) -> OfferResponse | Literal["refused", "unreachable", "no_answer"]:
        """Return a node's answer, or the reason to try another node."""
        outcome: Literal["refused", "unreachable", "no_answer"]
        try:
            with member.reserve(places):
                asking = member.node.offer(
                    offer_id, request, within_s=self._times.first_answer_s if has_others else None
                )
                placed = await (_unless_it_stands_still(member, asking, self._times) if has_others else asking)
        except NotReady as refusal:
            member.note_refusal(refusal, places)
            outcome = "refused"
        except Unreachable as error:
            self._directory.note_unreachable(member, error)
            outcome = "unreachable"
        except NoAnswer as error:
            member.penalise()
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
            member.penalise()
            outcome = "no_answer"
        metrics.PLACEMENTS.labels(outcome).inc()
        return outcome

    def _withdraw(self, member: Member, offer_id: str) -> None:
        task = asyncio.create_task(_withdraw_until_done(member.node, offer_id), name="withdraw")
        self._withdrawing.add(task)
        task.add_done_callback(self._withdrawing.discard)

    async def _refresh_full(self, places: int) -> None:
        await self._directory.refresh()
        full = [member for member in self._directory.members() if not member.has_places(places)]
        await self._directory.query(random.sample(full, min(_ASKED_WHEN_FULL, len(full))))

    def _has_others(self, passed_over: Collection[str], places: int) -> bool:
        """Tell whether a node that was not asked yet has free places."""
        return any(
            member.has_places(places) and member.record.id not in passed_over for member in self._directory.members()
        )

    def _full(self, passed_over: Collection[str], places: int) -> Member | None:
        """Return any node that is full and was not asked yet, those of this region first."""
        full = [
            member
            for member in self._directory.members()
            if member.is_full(places) and member.record.id not in passed_over
        ]
        near = [member for member in full if member.record.region == self._region]
        return random.choice(near or full) if full else None  # noqa: S311 - no secret

    def _refusal(self, places: int) -> NotReady:
        """Return the error that says why no node takes a call."""
        members = self._directory.members()
        if any(member.record.overloaded and member.has_places(places) for member in members):
            return NotReady(
                "The media nodes do not keep up with the calls that they have.", code="overloaded", retry_after_s=5
            )
        if any(member.is_full(places) for member in members):
            return NotReady("All media nodes are full.", code="at_capacity", retry_after_s=10)
        if members and all(member.record.draining for member in members):
            return NotReady("All media nodes are shutting down.", code="draining", retry_after_s=5)
        return NotReady("No media node takes calls now.", code="no_node", retry_after_s=2)


async def _withdraw_until_done(node: RemoteNode, offer_id: str) -> None:
    for attempt in range(_WITHDRAWALS):
        try:
            await node.withdraw(offer_id)
        except (Unreachable, NoAnswer, NotReady, RuntimeError):
            # RuntimeError: the node was removed meanwhile, and its connections were closed.
            await asyncio.sleep(2**attempt)
        else:
            return


async def _unless_it_stands_still(
    member: Member, asking: Coroutine[Any, Any, OfferResponse], times: PlacementTimes
) -> OfferResponse:
    """Return a node's answer to an offer; if it takes long, ask for the node's record, and wait only if that comes.

    Raises:
        NoAnswer: neither has come in time.
        Unreachable, NotReady, TooManySessions, SdpRejected, OptionRefused: as ``RemoteNode.offer`` does.
    """
    offer = asyncio.create_task(asking, name="offer")
    tasks: list[asyncio.Task[Any]] = [offer]
    try:
        await asyncio.wait(tasks, timeout=times.prompt_answer_s)
        if not offer.done():
            tasks.append(asyncio.create_task(member.node.record(), name="record"))
            for _ in range(_STEPS * member.unanswered):
                await asyncio.wait(tasks, timeout=times.standstill_s / _STEPS, return_when=asyncio.FIRST_COMPLETED)
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

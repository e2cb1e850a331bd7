"""Answer offers from signaling, each once: an offer has an id, so that it can be repeated and withdrawn."""

import asyncio
from contextlib import suppress

from voxgender.audiostream import StreamFormat
from voxgender.calloptions import DEFAULTS, CallOptions
from voxgender.errors import SessionNotFound
from voxgender.http.calls import NodeCalls
from voxgender.http.problems import Problem

REMEMBERED_S = 60.0
"""Time for which an id is kept, far longer than signaling tries."""


class Offers:
    """Answers each offer once, even if requests or answers are lost on the way.

    Args:
        node: the node that answers.
        remembered_s: time for which an id is kept.
    """

    def __init__(self, node: NodeCalls, *, remembered_s: float = REMEMBERED_S) -> None:
        self._node = node
        self._remembered_s = remembered_s
        self._answers: dict[str, asyncio.Task[tuple[str, str]] | None] = {}
        """None for an offer that was withdrawn."""

    async def answer(
        self,
        offer_id: str,
        offer: str | StreamFormat,
        subject: str | None,
        address: str = "",
        options: CallOptions = DEFAULTS,
    ) -> tuple[str, str]:
        """Answer an offer; return session id and answer or ticket, the same ones if the offer is repeated.

        Raises:
            Problem: the offer was withdrawn.
            NotReady, TooManySessions, SdpRejected, OptionRefused
        """
        if offer_id not in self._answers:
            if isinstance(offer, str):
                answering_now = self._node.open(offer, subject, address, options)
            else:
                answering_now = self._node.reserve(offer, subject, address, options)
            task = asyncio.create_task(answering_now, name=f"offer-{offer_id[:8]}")
            self._remember(offer_id, task)
        answering = self._answers[offer_id]
        if answering is None:
            raise Problem(409, "offer_withdrawn", "This offer was withdrawn, since its answer was waited for too long.")
        try:
            return await asyncio.shield(answering)
        except asyncio.CancelledError:
            if answering.cancelled():
                raise Problem(409, "offer_withdrawn", "This offer was withdrawn while it was answered.") from None
            raise

    async def withdraw(self, offer_id: str) -> None:
        """Withdraw an offer, received already or not: it gets no session, or its session ends."""
        answering = self._answers.get(offer_id)
        self._remember(offer_id, None)
        if answering is None:
            return
        answering.cancel()
        # A complete answer cannot be cancelled, so its session ends instead.
        await asyncio.wait((answering,))
        if not answering.cancelled() and answering.exception() is None:
            session_id, _ = answering.result()
            with suppress(SessionNotFound):
                await self._node.end(session_id)

    def _remember(self, offer_id: str, answering: "asyncio.Task[tuple[str, str]] | None") -> None:
        if offer_id not in self._answers:
            asyncio.get_running_loop().call_later(self._remembered_s, self._answers.pop, offer_id, None)
        self._answers[offer_id] = answering

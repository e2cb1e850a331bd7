"""A media node: all live sessions of one process, and the limits they live under."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from voxgender import metrics
from voxgender.analysis import Analyzer
from voxgender.errors import NotReady, SessionNotFound
from voxgender.media.network import HostAddresses
from voxgender.media.session import Session
from voxgender.media.sockets import Sockets
from voxgender.protocol import Message

logger = logging.getLogger(__name__)

SWEEP_S = 1.0
"""How often deadlines are looked at: one task for all sessions."""


class MediaNode:
    """The session table. What signaling calls (``voxgender.signaling.node.Node``), in the same process.

    Args:
        analyzer: the process's analyzer; set later by :meth:`start` where its model is still being loaded.
        ice_addresses: local addresses for media; empty for all but loopback.
        advertise_addresses: public addresses that lead to them, told to peers in their place.
        udp_ports: the first and the last port for media; None lets the kernel choose.
        max_sessions: offers above that get :class:`NotReady`.
        connect_timeout_s: a session that is not connected by then ends.
        silence_timeout_s: a peer that sends neither packet nor message for so long is taken to be gone.
    """

    def __init__(
        self,
        *,
        ice_addresses: Sequence[str] = (),
        advertise_addresses: Sequence[str] = (),
        udp_ports: tuple[int, int] | None = None,
        max_sessions: int = 100,
        connect_timeout_s: float = 15.0,
        silence_timeout_s: float = 15.0,
    ) -> None:
        self._addresses = HostAddresses(tuple(ice_addresses), tuple(advertise_addresses))
        self._sockets = Sockets(udp_ports)
        self._max_sessions = max_sessions
        self._connect_timeout_s = connect_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._analyzer: Analyzer | None = None
        self._sessions: dict[str, Session] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = False

    def start(self, analyzer: Analyzer) -> None:
        """Take calls from now on."""
        self._analyzer = analyzer
        self._sweeper = asyncio.create_task(self._sweep(), name="sweep")

    async def close(self) -> None:
        """End every session and take no more."""
        self._closing = True
        await asyncio.gather(*(session.end("shutdown") for session in list(self._sessions.values())))
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper

    def check_ready(self) -> None:
        """Pass while calls are taken.

        Raises:
            NotReady: the model is still being loaded, or the node is shutting down.
        """
        self._ready_analyzer()

    async def open(self, offer: str) -> tuple[str, str]:
        """Answer an offer.

        Returns:
            The session's id and the SDP answer.

        Raises:
            NotReady: the model is still being loaded, the node is full, or it is shutting down.
            OfferRejected: the offer cannot be answered.
        """
        analyzer = self._ready_analyzer()
        if len(self._sessions) >= self._max_sessions:
            raise NotReady(
                f"The server is full: it holds {self._max_sessions} calls.", code="at_capacity", retry_after_s=10
            )
        session = Session(
            secrets.token_urlsafe(24),
            analyzer,
            sockets=self._sockets,
            addresses=self._addresses,
            on_ended=self._forget,
        )
        # In the table before the first await, so that the limit counts offers that are being answered too.
        self._sessions[session.id] = session
        try:
            answer = await session.answer(offer)
        except BaseException:
            self._sessions.pop(session.id, None)
            raise
        metrics.SESSIONS_STARTED.inc()
        metrics.SESSIONS.set(len(self._sessions))
        return session.id, answer

    async def trickle(self, session_id: str, fragment: str) -> None:
        """Add the peer's candidates.

        Raises:
            SessionNotFound, FragmentRejected
        """
        await self._find(session_id).trickle(fragment)

    async def end(self, session_id: str) -> None:
        """End a session as its client asked; returns when nothing is left of it.

        Raises:
            SessionNotFound: it is not there, or no longer.
        """
        await self._find(session_id).end("deleted")

    def follow(self, session_id: str) -> AsyncGenerator[Message, None]:
        """A session's messages.

        Raises:
            SessionNotFound
        """
        return self._find(session_id).follow()

    def status(self, session_id: str) -> dict[str, Any]:
        """One session's state.

        Raises:
            SessionNotFound
        """
        return self._find(session_id).status()

    def sessions(self) -> list[dict[str, Any]]:
        """All sessions' states. The id is a capability, so operators see only its beginning."""
        return [session.status() | {"session": session.id[:8]} for session in self._sessions.values()]

    def _ready_analyzer(self) -> Analyzer:
        if self._closing:
            raise NotReady("The server is shutting down.", code="draining", retry_after_s=5)
        if self._analyzer is None:
            raise NotReady("The server is starting: its model is being loaded.", code="starting", retry_after_s=2)
        return self._analyzer

    def _find(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise SessionNotFound("There is no such session: it has ended, or never was.")
        return session

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        metrics.SESSIONS.set(len(self._sessions))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._end_overdue(monotonic())

    def _end_overdue(self, now: float) -> None:
        for session in list(self._sessions.values()):
            if session.ended_for is not None:
                continue
            if session.state != "connected":
                if now - session.started_at > self._connect_timeout_s:
                    session.end_soon("connect_timeout")
            elif now - session.last_sign_of_life > self._silence_timeout_s:
                session.end_soon("silent_peer")

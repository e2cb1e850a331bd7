"""Define the parts that all sessions of a node share, however their audio arrives."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from time import monotonic, time
from typing import Any, Literal

import msgspec

from voxgender.calloptions import CallOptions
from voxgender.engine import Engine
from voxgender.errors import SdpRejected
from voxgender.media.callfigures import CallFigures
from voxgender.media.hops import Hops, longest_hop_ms
from voxgender.media.observers import CallObservers
from voxgender.media.outbox import MAX_FOLLOWERS, Outbox
from voxgender.protocol import Hello, Limits, Message, Summary, Usage, Warning
from voxgender.sessionids import call_hash

logger = logging.getLogger(__name__)

Reason = Literal[
    "deleted",
    "left",
    "track_ended",
    "connect_timeout",
    "gave_way",
    "connection_failed",
    "consent_expired",
    "silent_peer",
    "excessive_data",
    "unread_messages",
    "malformed_audio",
    "too_long",
    "analysis_failed",
    "shutdown",
]

FLUSH_TIMEOUT_S = 2.0
"""Time for the last windows of a call to be classified."""
DELIVERY_TIMEOUT_S = 1.0
"""Time for the last messages of a call to be acknowledged."""


class LiveSession(ABC):
    """One call: its id, its messages, and how it ends.

    Args:
        hello: the first message of the call; its session is the id, its hop that of the call.
        own_hop_ms: the hop of the engine.
        on_ended: called once, when nothing is left of the call.
    """

    def __init__(self, hello: Hello, own_hop_ms: int, on_ended: Callable[[Any], None]) -> None:
        self.id = hello.session
        self._hops = None if hello.hop_ms == own_hop_ms else Hops(hello.hop_ms, own_hop_ms)
        self.started_at = monotonic()
        self.ended_for: Reason | None = None
        self._outbox = Outbox(hello)
        self._figures = CallFigures()
        self._on_ended = on_ended
        self._ending: asyncio.Task[None] | None = None

    @property
    @abstractmethod
    def places(self) -> int:
        """Places that the call takes now of those that a node has: one for each of its voices or channels."""

    @property
    @abstractmethod
    def state(self) -> str:
        """The connection's state in W3C words: new, connecting, connected, failed, closed."""

    @property
    @abstractmethod
    def last_active_at(self) -> float:
        """Time of the peer's last packet or message, seconds of ``time.monotonic``."""

    @abstractmethod
    async def trickle(self, fragment: str) -> None:
        """Add the peer's candidates.

        Raises:
            SdpRejected: it cannot be applied.
        """

    async def update(self, sdp: str) -> str:
        """Answer a later offer of the client's, which adds or removes voices.

        Raises:
            SdpRejected: it cannot be answered.
            NotReady, TooManySessions: there is no place for another voice.
        """
        raise SdpRejected("This call comes over a WebSocket, which has no offers.", code="one_voice")

    @abstractmethod
    async def _end(self, reason: Reason) -> None:
        """Finish the analysis, send the summary, close everything, and call ``on_ended``."""

    def status(self) -> dict[str, Any]:
        """Return the session's state for operators; it tells nothing about voices."""
        return {
            "session": self.id,
            "state": self.state,
            "age_s": round(monotonic() - self.started_at, 1),
            "channels": self._outbox.channels,
            "packets_lost": 0,
            "transport": "webrtc",
        }

    def figures(self) -> dict[str, Any]:
        """Return how the call is going, for operators; its id is not in it."""
        told = self.status()
        del told["session"]
        return {"call": call_hash(self.id)} | told | {"voices": self.places} | self._figures.to_dict()

    def overdue(self, now: float, *, connect_timeout_s: float, silence_timeout_s: float) -> Reason | None:
        """Return why the call has to end now, if it has.

        Args:
            now: seconds of ``time.monotonic``.
            connect_timeout_s: time to connect.
            silence_timeout_s: time without packets and messages after which a peer is taken to be gone.
        """
        if self.state != "connected":
            return "connect_timeout" if now - self.started_at > connect_timeout_s else None
        return "silent_peer" if now - self.last_active_at > silence_timeout_s else None

    def observe(self, observers: CallObservers) -> None:
        """Report the call to observers from now on."""
        self._outbox.observers = observers

    def follow(
        self, after: int | None = None, messages: tuple[str, ...] | None = None
    ) -> AsyncGenerator[tuple[int, Message], None]:
        """Return the session's messages with their numbers. See :meth:`Outbox.follow`."""
        return self._outbox.follow(after, messages)

    def warn(self, code: str, message: str) -> None:
        """Send the client a warning; the call goes on."""
        self._post(Warning(code=code, message=message))

    def _note_start(self) -> None:
        """Note that the client is connected. May be called again."""
        self._outbox.observers.start(time())

    def _close_outbox(self, reason: Reason) -> None:
        """Tell followers and observers that nothing more comes. May be called again."""
        self._outbox.close(reason)
        self._outbox.observers.end(reason, self._figures.usage)

    def _fail(self, error: Exception) -> None:
        logger.error("analysis failed", exc_info=error)

    def _tell(self, messages: Sequence[Message]) -> None:
        """Count messages of the analysis, and send them as the call's options want them."""
        for message in messages:
            self._figures.observe(message)
            for told in (message,) if self._hops is None else self._hops.join(message):
                self._post(self._completed(told) if isinstance(told, Summary) else told)

    def _completed(self, summary: Summary) -> Summary:
        """Return a summary with the call's usage; those of a room's voices stay as they are."""
        if summary.mid is not None:
            return summary
        usage = self._figures.usage if summary.channel is None else Usage(summary.duration, summary.speech)
        call = self._outbox.observers.call
        return msgspec.structs.replace(summary, tags=call.tags or None, subject=call.subject, usage=usage)

    def _post(self, message: Message) -> None:
        """Send the client and all followers a message."""
        self._outbox.post(message)

    async def end(self, reason: Reason) -> None:
        """End the call: finish the analysis, send the summary, close everything. May be called again."""
        await asyncio.shield(self.end_soon(reason))

    def end_soon(self, reason: Reason) -> asyncio.Task[None]:
        """Begin to end the call; return the task that ends it."""
        if self._ending is None:
            self.ended_for = reason
            self._ending = asyncio.create_task(self._end(reason), name=f"end-{self.id[:8]}")
        return self._ending


def first_message(
    engine: Engine,
    session_id: str,
    options: CallOptions,
    *,
    max_voices: int,
    silence_s: float,
    messages_per_s: float,
    longest_s: float | None = None,
) -> Hello:
    """Return the first message of a call: the model, the call's options, and its limits.

    Args:
        engine: the engine of all calls.
        session_id: the id of the call.
        options: those of the call.
        max_voices, silence_s, messages_per_s, longest_s: bounds; see :class:`voxgender.protocol.Limits`.
    """
    limits = Limits(
        hop_step_ms=engine.hop_ms,
        max_hop_ms=longest_hop_ms(engine.hop_ms),
        max_voices=max_voices,
        max_followers=MAX_FOLLOWERS,
        silence_s=silence_s,
        messages_per_s=messages_per_s,
        longest_s=msgspec.UNSET if longest_s is None else longest_s,
    )
    return msgspec.structs.replace(
        engine.hello(session_id),
        hop_ms=options.hop_ms or engine.hop_ms,
        name=options.name or None,
        reference=options.reference or None,
        tags=options.tags or None,
        messages=options.messages or None,
        limits=limits,
    )

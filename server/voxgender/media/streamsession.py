"""Run one call whose audio comes as a stream of bytes: over a WebSocket, or whatever else keeps their order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

import msgspec

from voxgender import metrics
from voxgender.audio.frames import Packet
from voxgender.audiostream import StreamFormat
from voxgender.engine import Engine
from voxgender.errors import Ending, SdpRejected, StreamEnded
from voxgender.media.decoder import opus_duration
from voxgender.media.livesession import DELIVERY_TIMEOUT_S, FLUSH_TIMEOUT_S, LiveSession, Reason
from voxgender.media.streamdecoder import make_decode
from voxgender.protocol import Error, Message, Result

MAX_UNREAD = 256
"""Messages that may wait for the client of a stream; with more, the analysis pauses until it has read half of them."""
LONGEST_S = 86_400.0
"""Time after which a stream ends; its client may begin another one."""
TICKET_S = 60.0
"""Time in which a ticket has to be used."""
PIECE_S = 0.5
"""Longest audio that is handed to the engine at once."""

_OPUS_CLOCK_HZ = 48_000

_WHY: dict[Reason, tuple[Ending, str]] = {
    "deleted": ("done", "The call was ended by DELETE."),
    "left": ("done", "The client has left."),
    "track_ended": ("done", "The stream is finished."),
    "connect_timeout": ("policy", "No audio came in time: connect when there is some to send."),
    "gave_way": ("overloaded", "The server is full, and no audio had come: connect again later."),
    "silent_peer": ("policy", "Nothing came for too long: send audio or pings, or connect again later."),
    "excessive_data": ("flood", "Too many messages came that hold next to no audio: send larger ones."),
    "unread_messages": ("unread", "Messages were left unread for too long: read them while you send."),
    "malformed_audio": ("malformed", "A message is no Opus packet: send one packet in each message."),
    "too_long": ("policy", "The stream is as long as one may be: connect again, with from_ms."),
    "analysis_failed": ("fault", "The server failed to analyse the audio: connect again, with from_ms."),
    "shutdown": ("draining", "The server is shutting down: connect again, with from_ms."),
}


_BY_ENDING: dict[Ending, Reason] = {
    "flood": "excessive_data",
    "unread": "unread_messages",
    "malformed": "malformed_audio",
    "unsupported": "malformed_audio",
    "too_big": "malformed_audio",
}
"""Why a call ends whose client was sent away."""


class StreamSession(LiveSession):
    """One call over a stream. Faster than real time is welcome: its source is read no faster than it is analysed.

    The clock of a call is that of its samples, so neither a slow nor a fast source changes the times of its messages.

    Args:
        session_id: unguessable, since everybody who knows it may end the call.
        engine: the engine of all calls.
        form: the stream's format.
        ticket: key that lets one client connect later; empty if the client is here.
    """

    def __init__(
        self,
        session_id: str,
        engine: Engine,
        form: StreamFormat,
        *,
        ticket: str = "",
        on_ended: Callable[[LiveSession], None] = lambda _: None,
    ) -> None:
        several = form.channels > 1
        hello = msgspec.structs.replace(
            engine.hello(session_id), channels=form.channels if several else None, name=form.name or None
        )
        super().__init__(hello, on_ended, places=form.channels)
        self.ticket = ticket
        self.form = form
        self._clock = engine.clock
        self._calls = [
            engine.open(
                partial(self._on_messages, channel if several else None),
                self._on_analysed,
                decode=make_decode(form, channel),
                live=False,
            )
            for channel in range(form.channels)
        ]
        self._from_s = form.from_ms / 1_000
        self._rest = b""
        """Bytes of a sample whose end has not come."""
        self._ticks = 0
        self._has_audio = False
        self._active_at = self.started_at
        self._pushing = False
        self._unread: deque[str] = deque([hello.to_json()])
        self._news = asyncio.Event()
        self._held = False
        """True while the analysis pauses because messages are left unread."""
        self._analysed = asyncio.Event()
        self._over = False
        """True once no more messages are added."""
        self._left = asyncio.Event()

    @property
    def state(self) -> str:
        """``new`` before the client has connected, ``connecting`` before audio has come, ``connected``, ``closed``."""
        if self.ended_for is not None:
            return "closed"
        if self.ticket:
            return "new"
        return "connected" if self._has_audio else "connecting"

    @property
    def last_active_at(self) -> float:
        """Time of the client's last message, seconds of ``time.monotonic``; now, while it has to wait."""
        return monotonic() if self._pushing else self._active_at

    def status(self) -> dict[str, Any]:
        return super().status() | {"transport": "websocket"}

    def connect(self) -> None:
        """Let the client of a ticket in; its time begins anew."""
        self.ticket = ""
        self.started_at = self._active_at = monotonic()

    def overdue(self, now: float, *, connect_timeout_s: float, silence_timeout_s: float) -> Reason | None:
        if now - self.started_at > LONGEST_S:
            return "too_long"
        limit_s = TICKET_S if self.ticket else connect_timeout_s
        return super().overdue(now, connect_timeout_s=limit_s, silence_timeout_s=silence_timeout_s)

    async def trickle(self, fragment: str) -> None:
        raise SdpRejected("This call comes over a WebSocket, which has no candidates.")

    async def push(self, audio: bytes) -> None:
        """Add the next bytes of the stream; wait while as much audio waits as may.

        Args:
            audio: samples, which may be cut anywhere, or one Opus packet.

        Raises:
            StreamEnded: the stream is over, or these bytes end it.
        """
        self._touch()
        self._pushing = True
        try:
            if self.form.encoding == "opus":
                await self._push_opus(audio)
            else:
                await self._push_samples(audio)
        finally:
            self._pushing = False
            self._touch()

    async def ping(self) -> None:
        """Note that the client is there."""
        self._touch()

    async def finalize(self) -> None:
        """Analyse what has come, tell the present segment, and go on."""
        self._touch()
        for call in self._calls:
            call.flush()

    async def finish(self) -> None:
        """End the audio; the last messages and the end of :meth:`messages` follow."""
        for call in self._calls:
            call.end()

    async def leave(self, ending: Ending = "done") -> None:
        """End the call, whose client is gone: by itself, or because it was sent away."""
        self._left.set()
        await self.end(_BY_ENDING.get(ending, "left"))

    async def messages(self) -> AsyncGenerator[str, None]:
        """Yield the client's messages as JSON texts, ``hello`` first.

        Raises:
            StreamEnded: after the last message.
        """
        while True:
            while self._unread:
                text = self._unread.popleft()
                if self._held and len(self._unread) < MAX_UNREAD // 2:
                    self._held = False
                    for call in self._calls:
                        call.release()
                yield text
            if self._over:
                raise self._ended()
            self._news.clear()
            await self._news.wait()

    def _touch(self) -> None:
        self._active_at = monotonic()

    async def _push_samples(self, audio: bytes) -> None:
        frame = self.form.frame_bytes
        data = self._rest + audio if self._rest else audio
        whole = len(data) - len(data) % frame
        self._rest = data[whole:]
        step = round(PIECE_S * self.form.rate_hz) * frame
        for start in range(0, whole, step):
            piece = data[start : min(start + step, whole)]
            await self._push(piece, len(piece) / frame / self.form.rate_hz)

    async def _push_opus(self, packet: bytes) -> None:
        ticks = opus_duration(packet)
        if not ticks:
            self.end_soon("malformed_audio")
            raise self._ended()
        await self._push(packet, ticks / _OPUS_CLOCK_HZ)
        self._ticks += ticks

    async def _push(self, data: bytes, duration_s: float) -> None:
        if self.ended_for is not None:
            raise self._ended()
        self._has_audio = True
        packet, now = Packet(self._ticks, data), self._clock()
        for call in self._calls:
            call.push(packet, now, duration_s=duration_s)
        for call in self._calls:
            await call.room()

    def _ended(self) -> StreamEnded:
        return StreamEnded(*_WHY.get(self.ended_for or "track_ended", ("fault", "")))

    def _on_messages(self, channel: int | None, messages: Sequence[Message]) -> None:
        for message in messages:
            if self.form.interim or not isinstance(message, Result):
                self._post(self._placed(message, channel))

    def _placed(self, message: Message, channel: int | None) -> Message:
        """Return a message with its channel and with times of the stream's clock."""
        changes: dict[str, Any] = {} if channel is None else {"channel": channel}
        if self._from_s:
            for name in ("start", "end", "at"):
                if (seconds := getattr(message, name, None)) is not None:
                    changes[name] = self._from_s + seconds
        return msgspec.structs.replace(message, **changes) if changes else message

    def _post(self, message: Message) -> None:
        super()._post(message)
        if self._over or self._left.is_set():
            return
        self._unread.append(message.to_json())
        self._news.set()
        if len(self._unread) >= MAX_UNREAD and not self._held and self.ended_for is None:
            self._held = True
            for call in self._calls:
                call.hold()

    def _on_analysed(self, error: Exception | None) -> None:
        if error is not None:
            self._fail(error)
            self._post(Error(code="analysis_failed", message="The server failed to analyse the audio."))
            self.end_soon("analysis_failed")
        if all(call.closed for call in self._calls):
            self._analysed.set()
            self.end_soon("track_ended")

    async def _end(self, reason: Reason) -> None:
        try:
            if (told := self._told(reason)) is not None:
                self._post(told)
            for call in self._calls:
                call.release()
                call.end()
            if not all(call.closed for call in self._calls):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._analysed.wait(), FLUSH_TIMEOUT_S)
            self._outbox.close()
            self._over = True
            self._news.set()
            if not self.ticket:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._left.wait(), DELIVERY_TIMEOUT_S)
        finally:
            for call in self._calls:
                call.abandon()
            was_connected = not self.ticket
            self._on_ended(self)
            if was_connected:
                metrics.SESSIONS_ENDED.labels(reason).inc()

    def _told(self, reason: Reason) -> Error | None:
        """Return the message that tells why a call ends before its client has ended it."""
        if reason in ("deleted", "left", "track_ended", "analysis_failed"):
            return None
        _, why = _WHY[reason]
        return Error(code="shutting_down" if reason == "shutdown" else reason, message=why)

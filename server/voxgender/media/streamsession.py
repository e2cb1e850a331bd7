"""Run one call whose audio comes as a stream of bytes: over a WebSocket, or whatever else keeps their order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import msgspec

from voxgender import metrics
from voxgender.audio.frames import Packet
from voxgender.audio.pcm import PcmPackets
from voxgender.audiostream import MAX_CHANNELS, OTHERS_PER_S, StreamFormat
from voxgender.calloptions import DEFAULTS, NO_RESULTS, CallOptions
from voxgender.engine import Engine
from voxgender.engine.stream import Stream
from voxgender.errors import Ending, SdpRejected, StreamEnded
from voxgender.media.livesession import DELIVERY_TIMEOUT_S, FLUSH_TIMEOUT_S, LiveSession, Reason, first_message
from voxgender.media.streamdecoder import decoders, duration_s, pcm_format
from voxgender.protocol import Error, Message

MAX_UNREAD = 256
"""Messages that may wait for the client of a stream; with more, the analysis pauses until it has read half of them."""
LONGEST_S = 86_400.0
"""Time after which a stream ends; its client may begin another one."""
TICKET_S = 60.0
"""Time in which a ticket has to be used."""

_PACKETS_CLOCK_HZ = 48_000

_WHY: dict[Reason, tuple[Ending, str]] = {
    "deleted": ("done", "The call was ended by DELETE."),
    "left": ("done", "The client has left."),
    "track_ended": ("done", "The stream is finished."),
    "connect_timeout": ("policy", "No audio came in time: connect when there is some to send."),
    "gave_way": ("overloaded", "The server is full, and no audio had come: connect again later."),
    "silent_peer": ("policy", "Nothing came for too long: send audio or pings, or connect again later."),
    "excessive_data": ("flood", "Too many messages came that hold next to no audio: send larger ones."),
    "unread_messages": ("unread", "Messages were left unread for too long: read them while you send."),
    "malformed_audio": (
        "malformed",
        "A message is no packet of Opus or AMR-WB, as the encoding says: send one in each.",
    ),
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
"""Reason of a call's end by the kind of reason for which its client was sent away."""


class StreamSession(LiveSession):
    """One call over a stream. Its source may be faster than real time, and is read no faster than it is analysed.

    The clock of a call is that of its samples, so neither a slow nor a fast source changes the times of its messages.

    Args:
        session_id: unguessable, since everybody who knows it may end the call.
        engine: the engine of all calls.
        form: the stream's format.
        ticket: key that lets one client connect later; empty if the client is here.
        ticket_s: time for the ticket to be used.
        silence_timeout_s: time without messages after which the node ends the call; it is told the client.
        options: what the caller wants of this call.
    """

    def __init__(
        self,
        session_id: str,
        engine: Engine,
        form: StreamFormat,
        *,
        ticket: str = "",
        ticket_s: float = TICKET_S,
        silence_timeout_s: float = 15.0,
        options: CallOptions = DEFAULTS,
        on_ended: Callable[[LiveSession], None] = lambda _: None,
    ) -> None:
        if not (form.interim or options.messages):
            options = msgspec.structs.replace(options, messages=NO_RESULTS)
        hello = first_message(
            engine,
            session_id,
            options,
            max_voices=MAX_CHANNELS,
            silence_s=silence_timeout_s,
            messages_per_s=OTHERS_PER_S,
            longest_s=LONGEST_S,
        )
        hello = msgspec.structs.replace(
            hello,
            channels=form.channels if form.channels > 1 else None,
            # One that is shown may have characters that a name to follow by has not.
            name=options.name or form.name or None,
        )
        super().__init__(hello, engine.hop_ms, on_ended)
        self.ticket = ticket
        self._ticket_s = ticket_s
        self.form = form
        pcm = pcm_format(form)
        self._packets = None if pcm is None else PcmPackets(pcm)
        self._stream = Stream(engine, decoders(form), self._tell, self._on_analysed, start_s=form.from_ms / 1_000)
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
    def places(self) -> int:
        """Places that its channels take."""
        return self.form.channels

    @property
    def last_active_at(self) -> float:
        """Time of the client's last message, seconds of ``time.monotonic``; now, while it has to wait."""
        return monotonic() if self._pushing else self._active_at

    def status(self) -> dict[str, Any]:
        return super().status() | {"transport": "websocket"}

    def connect(self) -> None:
        """Note that the client of a ticket has connected; its time limits begin again."""
        self.ticket = ""
        self.started_at = self._active_at = monotonic()

    def overdue(self, now: float, *, connect_timeout_s: float, silence_timeout_s: float) -> Reason | None:
        if now - self.started_at > LONGEST_S:
            return "too_long"
        limit_s = self._ticket_s if self.ticket else connect_timeout_s
        return super().overdue(now, connect_timeout_s=limit_s, silence_timeout_s=silence_timeout_s)

    async def trickle(self, fragment: str) -> None:
        raise SdpRejected("This call comes over a WebSocket, which has no candidates.")

    async def push(self, audio: bytes) -> None:
        """Add the next bytes of the stream; wait while as much audio waits as may.

        Args:
            audio: samples, which may be cut anywhere, or one packet of AMR-WB or Opus.

        Raises:
            StreamEnded: the stream is over, or these bytes end it.
        """
        self._touch()
        self._pushing = True
        try:
            if self.ended_for is not None:
                raise self._ended()
            if not self._has_audio:
                self._has_audio = True
                self._note_start()
            await self._stream.feed(self._packet(audio) if self._packets is None else self._packets.cut(audio))
        finally:
            self._pushing = False
            self._touch()

    async def ping(self) -> None:
        """Note that the client is there."""
        self._touch()

    async def finalize(self) -> None:
        """Analyse what has come, tell the present segment, and go on."""
        self._touch()
        self._stream.finalize()

    async def finish(self) -> None:
        """End the audio; the last messages and the end of :meth:`messages` follow."""
        self._stream.end()

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
                    self._stream.release()
                yield text
            if self._over:
                raise self._ended()
            self._news.clear()
            await self._news.wait()

    def _touch(self) -> None:
        self._active_at = monotonic()

    def _packet(self, packet: bytes) -> list[tuple[Packet, float]]:
        lasts_s = duration_s(self.form, packet)
        if not lasts_s:
            self.end_soon("malformed_audio")
            raise self._ended()
        pts, self._ticks = self._ticks, self._ticks + round(lasts_s * _PACKETS_CLOCK_HZ)
        return [(Packet(pts, packet), lasts_s)]

    def _ended(self) -> StreamEnded:
        return StreamEnded(*_WHY.get(self.ended_for or "track_ended", ("fault", "")))

    def _post(self, message: Message) -> None:
        super()._post(message)
        if self._over or self._left.is_set() or message.type in self._outbox.left_out:
            return
        self._unread.append(message.to_json())
        self._news.set()
        if len(self._unread) >= MAX_UNREAD and not self._held and self.ended_for is None:
            self._held = True
            self._stream.hold()

    def _on_analysed(self, error: Exception | None) -> None:
        self._analysed.set()
        if error is None:
            self.end_soon("track_ended")
            return
        self._fail(error)
        self._post(Error(code="analysis_failed", message="The server failed to analyse the audio."))
        self.end_soon("analysis_failed")

    async def _end(self, reason: Reason) -> None:
        try:
            if (told := self._told(reason)) is not None:
                self._post(told)
            self._stream.release()
            self._stream.end()
            if not self._analysed.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_TIMEOUT_S):
                        await self._analysed.wait()
            self._close_outbox(reason)
            self._over = True
            self._news.set()
            if not self.ticket:
                with suppress(TimeoutError):
                    async with asyncio.timeout(DELIVERY_TIMEOUT_S):
                        await self._left.wait()
        finally:
            self._close_outbox(reason)
            self._stream.abandon()
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

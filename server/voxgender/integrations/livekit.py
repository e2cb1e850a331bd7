"""Label the participants of a LiveKit room (https://livekit.io)."""

import asyncio
from types import TracebackType
from typing import Any, NamedTuple, Self

from livekit import rtc

from voxgender.embedding.voice import Voice
from voxgender.errors import VoxgenderError
from voxgender.protocol import AnyMessage, Error


class Heard(NamedTuple):
    """A message about a participant's voice."""

    participant: str
    """The participant's identity."""
    message: AnyMessage
    track: str
    """Id of the track (its ``sid``); a participant may have several."""


class RoomVoices:
    """Analyses all audio tracks that a room subscribes to, each separately, and yields the messages about them.

    >>> room = rtc.Room()
    >>> async with RoomVoices(room) as voices:
    ...     await room.connect(url, token)
    ...     async for participant, message, _ in voices:
    ...         if message.type == "change":
    ...             print(participant, message.to)

    A muted participant is silent. The iterator ends when the room disconnects, or with :meth:`close`.

    Args:
        room: connected already, or later.
        model: as of :func:`voxgender.analyze`.
    """

    def __init__(self, room: rtc.Room, *, model: str = "embedded") -> None:
        self._room = room
        self._model = model
        self._heard: asyncio.Queue[Heard] = asyncio.Queue(1_000)
        self._listening: dict[str, tuple[asyncio.Task[None], rtc.AudioStream]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_disconnected = False
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._room.on("track_subscribed", self._on_subscribed)
        self._room.on("track_unsubscribed", self._on_unsubscribed)
        self._room.on("disconnected", self._on_disconnected)
        for participant in self._room.remote_participants.values():
            for publication in participant.track_publications.values():
                if publication.track is not None:
                    self._on_subscribed(publication.track, publication, participant)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        """Return the next message, about any participant."""
        if self._heard.empty():
            over, getting = asyncio.ensure_future(self._over.wait()), asyncio.ensure_future(self._heard.get())
            try:
                await asyncio.wait({over, getting}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    return getting.result()
                raise StopAsyncIteration
            finally:
                over.cancel()
                getting.cancel()
        return self._heard.get_nowait()

    async def close(self) -> None:
        """Stop listening to the room, at once; the room stays as it is."""
        self._room.off("track_subscribed", self._on_subscribed)
        self._room.off("track_unsubscribed", self._on_unsubscribed)
        self._room.off("disconnected", self._on_disconnected)
        tasks = [*(task for task, _ in self._listening.values()), *self._ending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._over.set()

    def _on_subscribed(self, track: Any, publication: Any, participant: Any) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO and track.sid not in self._listening:
            stream = rtc.AudioStream(track, sample_rate=16_000)
            listening = asyncio.create_task(self._listen(stream, participant.identity, track.sid))
            self._listening[track.sid] = listening, stream

    def _on_unsubscribed(self, track: Any, publication: Any, participant: Any) -> None:
        self._end(track.sid)

    def _on_disconnected(self, *_: Any) -> None:
        for sid in tuple(self._listening):
            self._end(sid)
        if not self._ending:
            self._over.set()
        self._is_disconnected = True

    def _end(self, sid: str) -> None:
        """End a track; its remaining messages still come."""
        if (listening := self._listening.pop(sid, None)) is not None:
            task, stream = listening
            self._ending.add(task)
            task.add_done_callback(self._on_task_done)
            closing = asyncio.create_task(stream.aclose())
            self._ending.add(closing)
            closing.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        self._ending.discard(task)
        if self._is_disconnected and not self._ending:
            self._over.set()

    async def _listen(self, stream: rtc.AudioStream, identity: str, sid: str) -> None:
        """Push a track's frames as they come, and pass on the messages, until the track ends."""
        voice = Voice(model=self._model)
        telling = asyncio.create_task(self._tell(voice, identity, sid))
        try:
            async for event in stream:
                voice.push(event.frame)
            await voice.close()
            await telling
        except VoxgenderError as error:
            await self._heard.put(Heard(identity, Error(code="voice_not_heard", message=str(error)), sid))
        finally:
            voice.abandon()
            telling.cancel()
            if sid in self._listening:
                del self._listening[sid]
                await stream.aclose()

    async def _tell(self, voice: Voice, identity: str, sid: str) -> None:
        async for message in voice:
            await self._heard.put(Heard(identity, message, sid))

"""Analyse a live track: push its frames as they come, and yield the messages."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from voxgender.engine.call import Call
from voxgender.engine.engine import Engine
from voxgender.errors import AudioError
from voxgender.protocol import Message

MAX_UNREAD = 250
"""Messages that may wait for a caller of :func:`analyze`; with more, the analysis pauses."""


async def analyze(engine: Engine, track: MediaStreamTrack) -> AsyncGenerator[Message, None]:
    """Analyse a live track until it ends: yield results and events as they come, the summary last.

    The track is read as fast as it delivers frames. If the model or the caller cannot keep up, the oldest audio is
    dropped, and a ``warning`` tells it.

    Raises:
        AudioError: the track carries no audio.
    """
    if track.kind != "audio":
        raise AudioError(f"an audio track is wanted, not a {track.kind} track")
    unread: deque[Message] = deque()
    news = asyncio.Event()
    errors: list[Exception | None] = []

    def on_messages(messages: Sequence[Message]) -> None:
        unread.extend(messages)
        if len(unread) > MAX_UNREAD:
            call.hold()
        news.set()

    def on_end(error: Exception | None) -> None:
        errors.append(error)
        news.set()

    call = engine.open(on_messages, on_end)
    reader = asyncio.create_task(_read(track, call, engine.clock, engine.schedule.hop_s))
    reader.add_done_callback(lambda _: news.set())
    try:
        while True:
            while unread:
                yield unread.popleft()
            call.release()
            if reader.done() and (failed := reader.exception()) is not None:
                raise failed
            if errors:
                break
            news.clear()
            await news.wait()
    finally:
        call.abandon()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    if errors[0] is not None:
        raise errors[0]


async def _read(track: MediaStreamTrack, call: Call, clock: Callable[[], float], hop_s: float) -> None:
    read_s = 0.0
    try:
        while True:
            frame = await track.recv()
            if not isinstance(frame, AudioFrame):
                raise AudioError(f"the track gave a {type(frame).__name__}, not an audio frame")
            call.push(frame, clock())
            read_s += frame.samples / frame.sample_rate
            if read_s >= hop_s:
                # A track that never waits must not keep others from their turn.
                read_s = 0.0
                await asyncio.sleep(0)
    except MediaStreamError:
        call.end()

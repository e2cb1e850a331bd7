"""What the audio path asks of a track.

Any aiortc ``MediaStreamTrack`` will do. One that can hand over many frames at once (:class:`BatchTrack`, as the
media server's own receiver) saves a wake-up a frame.
"""

import asyncio
import time
from typing import NamedTuple, Protocol, runtime_checkable

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from voxgender.errors import AudioError


class Batch(NamedTuple):
    """Frames that arrived together, in order."""

    frames: list[AudioFrame]
    arrived_at: float
    """When the last packet of it came, seconds of ``time.monotonic``."""


@runtime_checkable
class BatchTrack(Protocol):
    """A track that can be read by duration."""

    async def read_batch(self, duration_s: float) -> Batch:
        """At least ``duration_s`` of audio, for 0 whatever there is; raises ``MediaStreamError`` at the end.

        A read that is cancelled loses nothing.
        """
        ...


class TrackReader:
    """Reads any audio track in batches, and says when nothing came for a while.

    What came before a stall is handed over before the stall is told of: it is older than that silence.

    Raises:
        AudioError: the track carries no audio.
    """

    def __init__(self, track: MediaStreamTrack) -> None:
        if track.kind != "audio":
            raise AudioError(f"an audio track is wanted, not a {track.kind} track")
        self._track = track
        self._batched = track if isinstance(track, BatchTrack) else None
        self._frames: list[AudioFrame] = []
        self._gathered_s = 0.0
        self._arrived_at = 0.0
        self._pending: asyncio.Task[Batch | None] | None = None

    async def read(self, duration_s: float, timeout_s: float) -> Batch | None:
        """About ``duration_s`` of audio; after ``timeout_s`` what has come so far, None where that is nothing.

        Raises:
            MediaStreamError: the track has ended.
        """
        if self._pending is None:
            self._pending = asyncio.create_task(self._read(duration_s))
        done, _ = await asyncio.wait((self._pending,), timeout=timeout_s)
        if done:
            batch, self._pending = self._pending.result(), None
            return batch
        if self._batched is None:
            # The recv() that is under way goes on: one that is cancelled may lose its frame.
            return self._take()
        await self.aclose()
        try:
            async with asyncio.timeout(0):
                return await self._batched.read_batch(0.0)
        except TimeoutError:
            return None

    async def aclose(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
            self._pending = None

    async def _read(self, duration_s: float) -> Batch | None:
        if self._batched is not None:
            return await self._batched.read_batch(duration_s)
        while not self._frames or self._gathered_s < duration_s:
            try:
                frame = await self._track.recv()
            except MediaStreamError:
                if self._frames:
                    break
                raise
            if not isinstance(frame, AudioFrame):
                raise AudioError(f"the track gave a {type(frame).__name__}, not an audio frame")
            self._frames.append(frame)
            self._gathered_s += frame.samples / frame.sample_rate
            self._arrived_at = time.monotonic()
        return self._take()

    def _take(self) -> Batch | None:
        if not self._frames:
            return None
        batch = Batch(self._frames, self._arrived_at)
        self._frames, self._gathered_s = [], 0.0
        return batch

"""What the audio path asks of a track.

Any aiortc ``MediaStreamTrack`` will do. One that can hand over many packets at once, not yet decoded
(:class:`BatchTrack`, as the media server's own receiver), saves a wake-up a packet and the event loop's time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from voxgender.audio.frames import Frame
from voxgender.errors import AudioError


class Batch(NamedTuple):
    """Audio that was read at once."""

    decode: Callable[[], Sequence[Frame]]
    """Its frames. Batches of one track are decoded in order, each once, by one thread at a time."""
    duration_s: float
    """How much audio that will be, as far as its packets tell."""
    arrived_at: float
    """When the last packet of it came, seconds of ``time.monotonic``."""
    reordered_s: float = 0.0
    """How long that packet was held back for others to come before it."""


@runtime_checkable
class BatchTrack(Protocol):
    """A track that can be read by duration."""

    async def read_batch(self, duration_s: float, timeout_s: float) -> Batch | None:
        """At least ``duration_s`` of audio; after ``timeout_s`` whatever there is, None where that is nothing.

        A read that is cancelled loses nothing.

        Raises:
            MediaStreamError: the track has ended.
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
        if self._batched is not None:
            return await self._batched.read_batch(duration_s, timeout_s)
        if self._pending is None:
            self._pending = asyncio.create_task(self._read(duration_s))
        done, _ = await asyncio.wait((self._pending,), timeout=timeout_s)
        if done:
            batch, self._pending = self._pending.result(), None
            return batch
        # The recv() that is under way goes on: one that is cancelled may lose its frame.
        return self._take()

    async def aclose(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
            self._pending = None

    async def _read(self, duration_s: float) -> Batch | None:
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
        frames, duration_s = self._frames, self._gathered_s
        self._frames, self._gathered_s = [], 0.0
        return Batch(lambda: frames, duration_s, self._arrived_at)

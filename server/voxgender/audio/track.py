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

    async def read(self, duration_s: float) -> Batch:
        """At least ``duration_s`` of audio; raises ``MediaStreamError`` at the end of the track."""
        ...


class TrackReader:
    """Reads any audio track in batches, and says when nothing came for a while.

    Raises:
        AudioError: the track carries no audio.
    """

    def __init__(self, track: MediaStreamTrack) -> None:
        if track.kind != "audio":
            raise AudioError(f"an audio track is wanted, not a {track.kind} track")
        self._track = track
        self._pending: asyncio.Task[Batch] | None = None

    async def read(self, duration_s: float, timeout_s: float) -> Batch | None:
        """About ``duration_s`` of audio, or None when it has not come within ``timeout_s``.

        Raises:
            MediaStreamError: the track has ended.
        """
        if self._pending is None:
            self._pending = asyncio.create_task(self._read(duration_s))
        # A recv() that is cancelled may lose its frame, so the read goes on and is asked for again.
        done, _ = await asyncio.wait((self._pending,), timeout=timeout_s)
        if not done:
            return None
        batch, self._pending = self._pending.result(), None
        return batch

    async def aclose(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
            self._pending = None

    async def _read(self, duration_s: float) -> Batch:
        if isinstance(self._track, BatchTrack):
            return await self._track.read(duration_s)
        frames: list[AudioFrame] = []
        gathered_s = 0.0
        while gathered_s < duration_s:
            try:
                frame = await self._track.recv()
            except MediaStreamError:
                if frames:
                    break
                raise
            if not isinstance(frame, AudioFrame):
                raise AudioError(f"the track gave a {type(frame).__name__}, not an audio frame")
            frames.append(frame)
            gathered_s += frame.samples / frame.sample_rate
        return Batch(frames, time.monotonic())

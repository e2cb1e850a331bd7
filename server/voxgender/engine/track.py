"""Analyse a live track: feed its frames as they come, and yield the messages."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from voxgender.audio.timeline import TOLERANCE_S
from voxgender.engine.call import MAX_WAITING_S, Call
from voxgender.engine.engine import Engine
from voxgender.engine.following import follow
from voxgender.errors import AudioError
from voxgender.protocol import AnyMessage

MAX_AHEAD_S = 0.5
"""How far a track's timestamps may run ahead of time. If they run further, gaps between them are not believed."""
LINGER_S = 0.005
"""Time that ``recv`` of a track that has ended is given for what is left of it: less than a frame takes."""
MAX_LEFT_S = 60.0
"""Audio that is read of a track that has ended: one whose ``recv`` forgets the end may give more for ever."""
EMPTY_S = 0.001
"""Length that a frame without samples counts as: a track that gives nothing else still ends, and lets others run."""
_RATES_HZ = range(1_000, 768_001)


async def analyze(engine: Engine, track: MediaStreamTrack) -> AsyncGenerator[AnyMessage, None]:
    """Analyse a live track until it ends: yield results and events as they come, the summary last.

    A track that is faster than real time waits for the engine, and nothing of it is dropped. Of one in real time, the
    oldest audio is dropped if the model or the caller cannot keep up, and a ``warning`` tells it.

    Raises:
        AudioError: the track carries no audio, or its frames have no format.
    """
    if track.kind != "audio":
        raise AudioError(f"an audio track is wanted, not a {track.kind} track (a class of your own has kind = 'audio')")
    if getattr(track, "readyState", None) is None:
        raise AudioError(
            f"a {type(track).__name__} is no track of aiortc: derive its class from aiortc.MediaStreamTrack, and call "
            "super().__init__() in its __init__"
        )

    async def read(call: Call) -> None:
        await _Reader(track, call, engine.clock, engine.schedule.hop_s).read()

    async with aclosing(follow(engine.open, read)) as messages:
        async for message in messages:
            yield message


class _Reader:
    """Reads a track until it ends, even if its ``recv`` does not notice."""

    def __init__(self, track: MediaStreamTrack, call: Call, clock: Callable[[], float], hop_s: float) -> None:
        self._track = track
        self._call = call
        self._clock = clock
        self._hop_s = hop_s
        self._stamps = _Stamps()
        self._patience = asyncio.timeout(None)

    async def read(self) -> None:
        self._track.add_listener("ended", self._on_ended)
        try:
            await self._read()
        finally:
            self._track.remove_listener("ended", self._on_ended)
        self._call.end()

    async def _read(self) -> None:
        read_s, left_s = 0.0, MAX_LEFT_S
        while left_s > 0 and (frame := await self._next()) is not None:
            now = self._clock()
            await self._call.feed(self._stamps.believed(frame, now), now)
            duration_s = max(frame.samples / frame.sample_rate, EMPTY_S)
            if self._track.readyState == "ended":
                left_s -= duration_s
            read_s += duration_s
            if read_s >= self._hop_s:
                # A track that never waits must not keep others from their turn.
                read_s = 0.0
                await asyncio.sleep(0)

    async def _next(self) -> AudioFrame | None:
        self._patience = patience = asyncio.timeout(LINGER_S if self._track.readyState == "ended" else None)
        try:
            async with patience:
                frame = await self._track.recv()
        except (MediaStreamError, StopAsyncIteration):
            # The second is of a ``recv`` that hands on the frames of a generator.
            return None
        except TimeoutError:
            if patience.expired():
                return None
            raise
        if not isinstance(frame, AudioFrame):
            raise AudioError(f"the track gave a {type(frame).__name__}, not an audio frame")
        if frame.sample_rate not in _RATES_HZ:
            raise AudioError(
                f"the track gave a frame of {frame.sample_rate} samples a second: set sample_rate of each frame, in Hz"
            )
        return frame

    def _on_ended(self) -> None:
        with suppress(RuntimeError):
            # Refused where ``recv`` has just returned.
            self._patience.reschedule(asyncio.get_running_loop().time() + LINGER_S)


class _Stamps:
    """Finds gaps between timestamps that cannot be, because the time of the gap has not gone by.

    Frames of a home-made track may be stamped in ticks of another rate than their time base says. Each would seem to
    come seconds after the one before.
    """

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._at: float | None = None
        self._end_s: float | None = None

    def believed(self, frame: AudioFrame, now: float) -> AudioFrame:
        """Return a frame or, if there cannot be a gap before it, a copy that follows the frame before."""
        start_s = frame.time if frame.pts is not None and frame.time_base else None
        duration_s = frame.samples / frame.sample_rate
        gap_s = 0.0 if start_s is None or self._end_s is None else max(0.0, start_s - self._end_s)
        passed_s = 0.0 if self._at is None else now - self._at
        self._at = now
        self._end_s = None if start_s is None else start_s + duration_s
        self._ahead_s = max(-MAX_WAITING_S, self._ahead_s) - passed_s
        if not frame.samples or gap_s <= TOLERANCE_S or self._ahead_s + gap_s <= MAX_AHEAD_S:
            self._ahead_s += gap_s + duration_s
            return frame
        self._ahead_s += duration_s
        plain = AudioFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name, layout=frame.layout.name)
        plain.sample_rate = frame.sample_rate
        return plain

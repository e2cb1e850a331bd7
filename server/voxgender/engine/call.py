"""Hold a call's audio for the engine and deliver its messages: the half of a call that runs on the event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Packet, Samples, Wave, finite
from voxgender.engine.call_state import CallState, Hop
from voxgender.engine.messages import Messages, TurnTimes
from voxgender.engine.schedule import EARLY_S, Phase
from voxgender.errors import AudioError
from voxgender.protocol import AnyMessage

if TYPE_CHECKING:
    from voxgender.engine.loop_calls import LoopCalls

MAX_WAITING_S = 4.0
"""Longest audio of a call that waits for the engine; the oldest of more is dropped, and a warning tells it."""
SILENCE_S = 0.5
"""Time without audio after which a call is taken to be silent, so that its label ends by the clock."""
BUFFERED_HOPS = 2
"""Hops of a source that can wait which the engine takes in one turn; more of them would hold up the other calls."""
PATIENCE = 1.5
"""Hops' worth of time after which a part of a hop is analysed as it is, while hops do not end with ticks."""

Decode = Callable[[Sequence[Packet]], Sequence[Frame]]
OnMessages = Callable[[Sequence[AnyMessage]], None]
OnEnd = Callable[[Exception | None], None]


class Arrivals(NamedTuple):
    """The audio of a call that waited for its turn."""

    audio: Sequence[Packet | Frame]
    arrived_at: float
    """Arrival of the last piece, seconds; 0 if there is neither audio nor silence."""
    reordered_s: float
    pushed_at: float
    silence_s: float
    """Time without audio that counts as silence."""
    quiet_s: float
    """Time since the last piece was pushed."""
    dropped: int
    """Packets or frames that were dropped before them."""
    dropped_s: float
    ahead: bool
    """True if the source is ahead of time, so that nothing of it is late."""
    finalizes: bool
    """True if all that can be said so far is asked for."""
    ended: bool


class Call:
    """A call of an engine. :meth:`Engine.open` makes it, on the event loop that all its methods are called on.

    Only :meth:`drain` and ``state`` belong to the engine's thread.
    """

    def __init__(
        self,
        loop_calls: "LoopCalls",
        state: CallState,
        decode: Decode | None,
        on_messages: OnMessages,
        on_end: OnEnd,
        *,
        live: bool = True,
        messages: Messages | None = None,
        beside: Phase | None = None,
    ) -> None:
        self.state = state
        self.decode = decode
        self.live = live
        self.loop_calls = loop_calls
        self.closed = False
        """True once no more messages will be delivered."""
        self.ended = False
        """True once no more audio will be pushed."""
        self.is_beside = beside is not None
        """True for a voice of a room."""
        self.phase = loop_calls.schedule.join(beside)
        self._hop_s = loop_calls.schedule.hop_s
        self._on_messages: OnMessages | None = on_messages
        self._on_end: OnEnd | None = on_end
        self._messages = messages or Messages()
        self._buffer_s = BUFFERED_HOPS * self._hop_s
        self._has_space = asyncio.Event()
        self._fed_at = 0.0
        self._ahead_s = 0.0
        self._finalizes = False
        self._in_turn = False
        self._held = False
        self._due_at = 0.0
        self._left_s = 0.0
        # Shared with the engine's thread.
        self._lock = threading.Lock()
        self._audio: deque[tuple[Packet | Frame, float]] = deque()
        self._begun = False
        self._waiting_s = 0.0
        self._dropped = 0
        self._dropped_s = 0.0
        self._arrived_at = 0.0
        self._reordered_s = 0.0
        self._pushed_at = 0.0
        self._silent_since = 0.0

    def push(
        self, audio: Packet | Frame | Samples, arrived_at: float, *, duration_s: float | None = None,
        reordered_s: float = 0.0,
    ) -> None:  # fmt: skip
        """Push the next piece of audio; it waits for the call's turn.

        Args:
            audio: a packet for the call's decoder, a PyAV frame of any rate and layout, or samples: float32 of shape
                ``(n,)``, mono, 16 kHz, full scale ±1; those that are infinite or NaN become silence.
            arrived_at: its arrival, seconds of ``time.monotonic``.
            duration_s: its length in seconds; needed for packets only.
            reordered_s: how long it was held back for packets before it.

        Raises:
            AudioError: the samples are not float32 of shape ``(n,)``.
        """
        if self.ended:
            return
        piece = _checked(audio) if isinstance(audio, np.ndarray) else audio
        if duration_s is None:
            duration_s = _duration_s(piece)
        now = self.loop_calls.clock()
        if not self._pushed_at:
            self._due_at = self._next_turn(now)
        with self._lock:
            self._audio.append((piece, duration_s))
            self._waiting_s += duration_s
            while self.live and self._waiting_s > MAX_WAITING_S and len(self._audio) > 2:
                # Not the call's very first: its clock begins with that.
                oldest = int(not self._begun)
                _, dropped_s = self._audio[oldest]
                del self._audio[oldest]
                self._waiting_s -= dropped_s
                self._dropped += 1
                self._dropped_s += dropped_s
            self._arrived_at, self._reordered_s, self._pushed_at = arrived_at, reordered_s, now
            self._silent_since = now
        self.loop_calls.look_soon()

    async def feed(
        self, audio: Packet | Frame | Samples, arrived_at: float, *, duration_s: float | None = None
    ) -> None:
        """Push the next piece of audio once there is space for it, from a source that can wait.

        A source that is ahead of time waits until the engine has taken the audio before. A ``live`` call lets none
        wait that is not: then the oldest of too much is dropped, as by :meth:`push`. Arguments as there.

        Raises:
            AudioError: as by :meth:`push`.
        """
        while not self.ended and self._waiting_s >= self._buffer_s and (not self.live or self.is_ahead):
            self._has_space.clear()
            self.loop_calls.look_soon()
            await self._has_space.wait()
        now = self.loop_calls.clock()
        self._ahead_s = self._ahead_of(now) + (_duration_s(audio) if duration_s is None else duration_s)
        self._fed_at = now
        self.push(audio, arrived_at, duration_s=duration_s)

    def finalize(self) -> None:
        """Ask for all that can be said of the audio so far: the present segment ends, and the call goes on."""
        if not self.ended:
            self._finalizes = True
            self.loop_calls.look_soon()

    def end(self) -> None:
        """End the audio. The rest is analysed, segment and summary are delivered, then ``on_end`` is called."""
        if not self.ended:
            self.ended = True
            self.loop_calls.look_soon()

    def abandon(self) -> None:
        """Drop the call at once; neither a message nor ``on_end`` follows."""
        self._close()

    def hold(self) -> None:
        """Pause the analysis until :meth:`release`, because the messages are not being read."""
        self._held = True

    def release(self) -> None:
        """Resume after :meth:`hold`."""
        if self._held:
            self._held = False
            self.loop_calls.look_soon()

    @property
    def is_ahead(self) -> bool:
        """True if audio is fed faster than real time, and a turn's worth of it is ahead."""
        return self._ahead_of(self.loop_calls.clock()) >= self._buffer_s

    def is_due(self, now: float, *, busy: bool) -> bool:
        """Return whether it is the call's turn.

        With few calls, it is the call's turn once a hop of audio has arrived; while the engine is ``busy``, on the
        ticks of the call's phase, with all that has arrived by then.
        """
        if self._in_turn or self._held:
            return False
        if self.ended or self._finalizes:
            return True
        if not self._pushed_at:
            return False
        # Half a sample less, so that rounding of the sum does not wait for one packet more.
        if (not busy or self.is_ahead) and self._left_s + self._waiting_s >= self._hop_s - 0.5 / SAMPLE_RATE_HZ:
            return True
        if now + EARLY_S < self._due_at:
            return False
        # A stream that is not live has the clock of its audio: only a whole hop can be cut from it, but on a tick.
        return (bool(self._audio) and (self.live or busy)) or (
            self.live and now - self._pushed_at >= self.loop_calls.silence_s
        )

    def begin_turn(self, now: float) -> None:
        """Note that the call was handed to the engine."""
        self._in_turn = True
        self._due_at = self._next_turn(now)

    def drain(self, now: float) -> Arrivals:
        """Return and remove the audio that waits. Called on the engine's thread."""
        with self._lock:
            audio, self._audio = self._audio, deque()
            self._begun = self._begun or bool(audio)
            self._waiting_s = 0.0
            dropped, self._dropped = self._dropped, 0
            dropped_s, self._dropped_s = self._dropped_s, 0.0
            silence_s = 0.0
            finalizes, self._finalizes = self._finalizes, False
            arrived_at = self._arrived_at
            if self.live and not audio and not self.ended and now - self._pushed_at >= self.loop_calls.silence_s:
                silence_s, self._silent_since = now - self._silent_since, now
                arrived_at = now
            return Arrivals(
                [piece for piece, _ in audio],
                arrived_at,
                self._reordered_s,
                now if silence_s else self._pushed_at,
                silence_s,
                now - self._pushed_at,
                dropped,
                dropped_s,
                self._ahead_of(now) >= self._buffer_s,
                finalizes,
                self.ended,
            )

    def deliver(self, hops: Sequence[Hop], turn: TurnTimes, left_s: float) -> None:
        """Deliver the messages of hops that were processed."""
        if self.closed:
            return
        self._in_turn = False
        self._left_s = left_s
        self._has_space.set()
        assert self._on_messages is not None
        try:
            if messages := list(self._messages.of(hops, turn, self.loop_calls.clock(), self._hop_s)):
                self._on_messages(messages)
        finally:
            if hops and hops[-1].last:
                self.finish(None)

    def finish(self, error: Exception | None) -> None:
        """End the call, after its last message or with the error that stopped it."""
        on_end = self._on_end
        self._close()
        if on_end is not None:
            on_end(error)

    def _ahead_of(self, now: float) -> float:
        """Return how far ahead of time the audio is, seconds. A pause takes from it, and never gives more."""
        return max(0.0, self._ahead_s - (now - self._fed_at))

    def _next_turn(self, now: float) -> float:
        return self.phase.next_turn(now) if self.loop_calls.schedule.busy else now + PATIENCE * self._hop_s

    def _close(self) -> None:
        if not self.closed:
            self.closed = self.ended = True
            self._has_space.set()
            self.loop_calls.remove(self)
            # They refer to objects that refer to the call: such a cycle would wait for the garbage collector.
            self._on_messages = self._on_end = None


def _duration_s(audio: Packet | Frame | Samples) -> float:
    if isinstance(audio, Packet):
        return 0.0
    if isinstance(audio, np.ndarray):
        return audio.size / SAMPLE_RATE_HZ
    return audio.samples / audio.sample_rate


def _checked(samples: Samples) -> Wave:
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise AudioError(f"Samples are float32 of shape (n,), not {samples.dtype} of shape {samples.shape}.")
    return Wave(finite(samples)[0])

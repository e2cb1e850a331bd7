"""The event loop's half of a call: where its audio waits for the engine, and where its messages come back."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Packet, Samples, Wave
from voxgender.engine.messages import Messages, Turn
from voxgender.engine.schedule import EARLY_S, TICK_S, Schedule, next_tick
from voxgender.engine.voice import Hop, Voice
from voxgender.errors import AudioError
from voxgender.protocol import Message

MAX_WAITING_S = 4.0
"""Audio of a call that waits for the engine; of more the oldest goes, which is told in a warning."""
SILENCE_S = 0.5
"""A call that gives nothing for so long is taken to be silent: its labels end by the clock."""
PATIENCE = 1.5
"""Hops' worth of time after which part of a hop is judged as it is, while hops do not end with ticks."""

Decode = Callable[[Sequence[Packet]], Sequence[Frame]]
OnMessages = Callable[[Sequence[Message]], None]
OnEnd = Callable[[Exception | None], None]


class Arrivals(NamedTuple):
    """What of a call waited for its turn."""

    audio: Sequence[Packet | Frame]
    arrived_at: float
    """When the last of it came; 0 where nothing waited and nothing was silence."""
    reordered_s: float
    pushed_at: float
    silence_s: float
    """Time without any audio that is to be taken for silence."""
    quiet_s: float
    """How long nothing has come by now."""
    dropped: int
    """Packets or frames that were dropped before them."""
    dropped_s: float
    ended: bool


class Call:
    """One call of an engine, made by :meth:`Engine.open` on the event loop that all its methods are called on.

    Only :meth:`drain` and ``voice`` belong to the engine's thread.
    """

    def __init__(
        self, loop: "LoopCalls", voice: Voice, decode: Decode | None, on_messages: OnMessages, on_end: OnEnd
    ) -> None:
        self.voice = voice
        self.decode = decode
        self.loop = loop
        self.closed = False
        """Whether nothing more will be told of it."""
        self.ended = False
        """Whether nothing more will be pushed."""
        self.phase = loop.schedule.join()
        self._hop_s = loop.schedule.hop_s
        self._on_messages: OnMessages | None = on_messages
        self._on_end: OnEnd | None = on_end
        self._messages = Messages()
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
        """Give the next piece of audio; it waits for the call's turn.

        Args:
            audio: a packet for the call's decoder, a PyAV frame of any rate and layout, or samples: float32 of shape
                ``(n,)``, mono, 16 kHz, full scale ±1.
            arrived_at: when it came, seconds of ``time.monotonic``.
            duration_s: how much time it stands for, where its length does not tell: of packets.
            reordered_s: how long it was held back for others to come before it.

        Raises:
            AudioError: the samples are not float32 of shape ``(n,)``, or hold a number that is not finite.
        """
        if self.ended:
            return
        piece = _checked(audio) if isinstance(audio, np.ndarray) else audio
        if duration_s is None:
            duration_s = 0.0 if isinstance(piece, Packet) else piece.samples / piece.sample_rate
        now = self.loop.clock()
        if not self._pushed_at:
            self._due_at = self._next_turn(now)
        with self._lock:
            self._audio.append((piece, duration_s))
            self._waiting_s += duration_s
            while self._waiting_s > MAX_WAITING_S and len(self._audio) > 2:
                # Not the call's very first: its clock begins with that.
                oldest = int(not self._begun)
                _, dropped_s = self._audio[oldest]
                del self._audio[oldest]
                self._waiting_s -= dropped_s
                self._dropped += 1
                self._dropped_s += dropped_s
            self._arrived_at, self._reordered_s, self._pushed_at = arrived_at, reordered_s, now
            self._silent_since = now
        self.loop.look_soon()

    def end(self) -> None:
        """Say that nothing more will come: what waits is judged, segment and summary are told, then ``on_end``."""
        if not self.ended:
            self.ended = True
            self.loop.look_soon()

    def abandon(self) -> None:
        """Forget the call at once; nothing more is told of it, not even its end."""
        self._close()

    def hold(self) -> None:
        """Judge nothing until :meth:`release`: whoever is told of it does not come for the messages."""
        self._held = True

    def release(self) -> None:
        """Go on after :meth:`hold`."""
        if self._held:
            self._held = False
            self.loop.look_soon()

    def is_due(self, now: float, *, busy: bool) -> bool:
        """Say whether it is the call's turn.

        With few calls that is once a hop of it has come; while the engine is ``busy``, on the ticks of its phase, with
        whatever has come by then.
        """
        if self._in_turn or self._held:
            return False
        if self.ended:
            return True
        if not self._pushed_at:
            return False
        # Half a sample less: sums of seconds must not make it wait for one packet more.
        if not busy and self._left_s + self._waiting_s >= self._hop_s - 0.5 / SAMPLE_RATE_HZ:
            return True
        return now + EARLY_S >= self._due_at and (bool(self._audio) or now - self._pushed_at >= SILENCE_S)

    def begin_turn(self, now: float) -> None:
        """Note that the engine was told of it."""
        self._in_turn = True
        self._due_at = self._next_turn(now)

    def drain(self, now: float) -> Arrivals:
        """Take what waits."""
        with self._lock:
            audio, self._audio = self._audio, deque()
            self._begun = self._begun or bool(audio)
            self._waiting_s = 0.0
            dropped, self._dropped = self._dropped, 0
            dropped_s, self._dropped_s = self._dropped_s, 0.0
            silence_s = 0.0
            arrived_at = self._arrived_at
            if not audio and not self.ended and now - self._pushed_at >= SILENCE_S:
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
                self.ended,
            )

    def deliver(self, hops: Sequence[Hop], turn: Turn, left_s: float) -> None:
        """Tell of hops that were judged."""
        if self.closed:
            return
        self._in_turn = False
        self._left_s = left_s
        assert self._on_messages is not None
        try:
            if messages := list(self._messages.of(hops, turn, self.loop.clock(), self._hop_s)):
                self._on_messages(messages)
        finally:
            if hops and hops[-1].last:
                self.finish(None)

    def finish(self, error: Exception | None) -> None:
        """End the call: all of it is told, or an error has stopped it."""
        on_end = self._on_end
        self._close()
        if on_end is not None:
            on_end(error)

    def _next_turn(self, now: float) -> float:
        return self.phase.next_turn(now) if self.loop.schedule.busy else now + PATIENCE * self._hop_s

    def _close(self) -> None:
        if not self.closed:
            self.closed = self.ended = True
            self.loop.remove(self)
            # They hold what holds the call, which would have to wait for the garbage collector.
            self._on_messages = self._on_end = None


class LoopCalls:
    """The calls of one event loop: finds those whose turn it is, once for all that came together.

    Args:
        loop: on which the calls push, and are told.
        schedule: of the engine.
        clock: of the engine.
        submit: called with the calls whose turn it is.
        forget: called once there are no calls any more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        schedule: Schedule,
        clock: Callable[[], float],
        *,
        submit: Callable[[Sequence[Call]], None],
        forget: Callable[["LoopCalls"], None],
    ) -> None:
        self.loop = loop
        self.schedule = schedule
        self.clock = clock
        self._submit = submit
        self._forget = forget
        self._calls: dict[Call, None] = {}
        self._looking = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Call) -> None:
        """Look after a call, until it is removed."""
        self._calls[call] = None
        if self._timer is None:
            self._wait()

    def remove(self, call: Call) -> None:
        """Forget a call; without any there is no timer."""
        self.schedule.leave(call.phase)
        del self._calls[call]
        if not self._calls:
            self._forget(self)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def look_soon(self) -> None:
        """Look for calls whose turn it is, when all has been pushed that came together."""
        if not self._looking:
            self._looking = True
            self.loop.call_soon(self._look)

    def deliver(self, told: Iterable[tuple[Call, Sequence[Hop], Turn, float] | tuple[Call, Exception]]) -> None:
        """Tell of what was judged in a turn."""
        for one in told:
            call = one[0]
            try:
                if len(one) == 4:
                    call.deliver(*one[1:])
                elif not call.closed:
                    call.finish(one[1])
            except Exception as error:  # noqa: BLE001 - one call's trouble must not cost the others their messages
                self.loop.call_exception_handler({"message": "messages of a call were not taken", "exception": error})
        # While they were judged, more may have come.
        self.look_soon()

    def fail(self, error: Exception) -> None:
        """End all calls."""
        for call in tuple(self._calls):
            call.finish(error)

    def give_up(self) -> None:
        """Give the places of all calls back: their loop was closed under them."""
        for call in self._calls:
            self.schedule.leave(call.phase)
        self._calls.clear()

    def _look(self) -> None:
        self._looking = False
        now, busy = self.clock(), self.schedule.busy
        due = [call for call in self._calls if call.is_due(now, busy=busy)]
        if due:
            for call in due:
                call.begin_turn(now)
            self._submit(due)

    def _wait(self) -> None:
        # Half a tick late, so that it never comes before the sockets were read.
        at = next_tick(self.loop.time(), self.schedule.hop_s) + TICK_S / 2
        self._timer = self.loop.call_at(at, self._tick)

    def _tick(self) -> None:
        """Look even where nothing comes: silence is heard too."""
        self._wait()
        self._look()


def _checked(samples: Samples) -> Wave:
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise AudioError(f"Samples are float32 of shape (n,), not {samples.dtype} of shape {samples.shape}.")
    if not np.isfinite(samples).all():
        raise AudioError("Samples must be finite: there is a NaN or an infinity among them.")
    return Wave(samples)

"""Analyse the audio of all calls on one thread, a tick at a time: decode, find speech, classify, decide."""

import asyncio
import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from time import monotonic

from voxgender import metrics
from voxgender.audio.activity import CALLS_A_RUN, FRAME_S
from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Packet
from voxgender.engine.call import SILENCE_S, Arrivals, Call, Decode, OnEnd, OnMessages
from voxgender.engine.call_state import CallState, Hop
from voxgender.engine.loop_calls import LoopCalls
from voxgender.engine.messages import Messages, TurnTimes
from voxgender.engine.networks import HopsOf, Networks, voices_of
from voxgender.engine.outstanding import Outstanding
from voxgender.engine.pace import Pace
from voxgender.engine.schedule import Phase, Schedule, check_hop
from voxgender.errors import ModelError
from voxgender.inference.classifier import Classifier, RemoteClassifier
from voxgender.protocol import NO_VOICE, Hello

WINDOW_MS = 1_000
HOP_MS = 192
"""Six frames of the speech gate, three ticks."""
CALLS_A_TURN = 16
"""Calls in one turn with a model; the messages of all of them wait for the last. While the model cannot keep up, a turn
takes all calls, so that they share it."""

CALLS_A_TURN_WITHOUT_MODEL = CALLS_A_RUN
"""Calls in one turn without a model, as many as the gate takes in one run: they wait hardly longer, and the core wakes
once for all of them."""

CALLS_AHEAD_A_TURN = 2
"""Calls in a turn whose audio is ahead of time: the live calls that are due meanwhile wait for it."""

Told = dict[LoopCalls, list[tuple[Call, Sequence[Hop], TurnTimes, float] | tuple[Call, Exception]]]
"""The outcome of turns: of each call its hops, or the error that ends it."""


class Engine:
    """Analyses any number of calls at once.

    Calls push audio as it arrives, on any event loop (:meth:`open`). When their turn comes, one thread takes the audio
    of all of them through the steps of :meth:`turn`.

    Args:
        classifier: the model; None tells speech from silence only. The engine closes one in other processes.
        window_ms: audio that the model is given at once.
        hop_ms: time between two results.
        silence_s: time without audio after which a call is taken to be silent.
        clock: gives seconds of ``time.monotonic``.

    Raises:
        SettingsError: the hop is not a whole number of ticks.
    """

    def __init__(
        self,
        classifier: Classifier | None,
        *,
        window_ms: int = WINDOW_MS,
        hop_ms: int = HOP_MS,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        check_hop(hop_ms)
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.clock = clock
        self._silence_s = silence_s
        self._calls_a_turn = CALLS_A_TURN if classifier else CALLS_A_TURN_WITHOUT_MODEL
        self.schedule = Schedule(hop_ms / 1_000, self._calls_a_turn)
        self._short_ms = min(window_ms, classifier.min_window_ms if classifier else window_ms)
        self._pace = Pace(hop_ms / 1_000)
        self._networks = Networks(classifier, self._pace, clock)
        self._loops: dict[asyncio.AbstractEventLoop, LoopCalls] = {}
        self._due: list[tuple[float, Call]] = []
        """Calls whose turn it is, and since when."""
        self._answered: list[Outstanding] = []
        """Turns of a call whose windows have come back."""
        self._due_ahead: list[Call] = []
        """Calls whose audio is ahead of time. They have every second turn at most, and few of them at once."""
        self._was_ahead = False
        self._turn_due_at = math.inf
        """Since when the turn that runs was due; infinite while none runs, or one of calls that are ahead of time."""
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def hello(self, session: str) -> Hello:
        """Return the message that tells a client which model listens, and how."""
        return Hello(
            session=session,
            model=self.model,
            labels=(*self._networks.voices, *NO_VOICE),
            window_ms=self.window_ms,
            hop_ms=self.hop_ms,
            windows_per_s=self.windows_per_s,
        )

    @property
    def model(self) -> str:
        """Name of the model; ``off`` for none."""
        return self._networks.classifier.name if self._networks.classifier else "off"

    @property
    def windows_per_s(self) -> float:
        """Windows of a call that are classified in a second of its speech: fewer while the model cannot keep up."""
        if self._networks.classifier is None or (self._pool is not None and not self._pool.is_up):
            return 0.0
        return self._pace.windows_per_s(self.clock())

    @property
    def _pool(self) -> RemoteClassifier | None:
        return self._networks.pool

    def swap(self, classifier: Classifier) -> None:
        """Put another model in the place of the present one, between two turns; calls go on.

        Raises:
            ModelError: it has other labels than calls were told, or needs longer windows; or there is no model now.
        """
        labels, voices = voices_of(classifier), self._networks.voices
        if self._networks.classifier is None:
            raise ModelError(f"model {classifier.name}: this server was started without a model, and stays without")
        if self._pool is not None:
            raise ModelError(f"model {classifier.name}: the model is the pool's, and is changed there")
        if set(labels) != set(voices):
            raise ModelError(
                f"model {classifier.name}: tells {', '.join(labels)}, but calls were told {', '.join(voices)}; "
                "for other labels start a server anew"
            )
        if classifier.min_window_ms > self._short_ms:
            raise ModelError(f"model {classifier.name}: needs windows of {classifier.min_window_ms} ms")
        self._networks.swap(classifier)

    def open(
        self,
        on_messages: OnMessages,
        on_end: OnEnd,
        *,
        decode: Decode | None = None,
        live: bool = True,
        messages: Messages | None = None,
        beside: Phase | None = None,
    ) -> Call:
        """Begin a call on the running event loop.

        Args:
            on_messages: called on the loop with the call's messages, in order.
            on_end: called on the loop after the last message, or with the error that ended the call.
            decode: decodes the packets that are pushed, on the engine's thread; None if frames are pushed.
            live: whether the audio keeps time. Of a live call that cannot be kept up with, the oldest audio is dropped
                and the newest window classified; time without audio is silence. A call that is not live has the clock
                of its audio, of which all is classified: feed it (:meth:`Call.feed`).
            messages: makes the call's messages; None for those of a single channel whose clock starts at 0.
            beside: phase of a call whose packets come together with those of this one, if there is one.

        Raises:
            RuntimeError: the engine is closed.
        """
        loop = asyncio.get_running_loop()
        with self._wake:
            if self._closed:
                raise RuntimeError("the engine is closed")
            for closed in [one for one in self._loops if one.is_closed()]:
                self._loops.pop(closed).give_up()
            calls = self._loops.get(loop)
            if calls is None:
                calls = self._loops[loop] = LoopCalls(
                    loop, self.schedule, self.clock, silence_s=self._silence_s, submit=self.submit, forget=self.forget
                )
        call = Call(calls, self.new_state(), decode, on_messages, on_end, live=live, messages=messages, beside=beside)
        calls.add(call)
        return call

    def new_state(self) -> CallState:
        """Return the state of a new call."""
        window, short = (ms * SAMPLE_RATE_HZ // 1_000 for ms in (self.window_ms, self._short_ms))
        return CallState(
            window=window,
            short=short,
            hop_frames=round(self.hop_ms / 1_000 / FRAME_S),
            is_classified=self._networks.classifier is not None,
        )

    def close(self) -> None:
        """Stop the thread after the present turn. Calls that have not ended end with ``RuntimeError``."""
        with self._wake:
            self._closed = True
            self._due.clear()
            self._due_ahead.clear()
            self._answered.clear()
            self._wake.notify()
            loops = list(self._loops.values())
        for calls in loops:
            with suppress(RuntimeError):
                calls.loop.call_soon_threadsafe(calls.fail, RuntimeError("the engine is closed"))
        if self._thread is not None:
            self._thread.join()
        if self._pool is not None:
            self._pool.close()

    def halt(self) -> None:
        """Stop after the present run of the networks, for good, because the process ends.

        A thread that comes back from native code to an interpreter that has ended is ended within it, and the C++ of
        ONNX Runtime ends the whole process then (``terminate called without an active exception``).
        """
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._networks.halt()

    def submit(self, calls: Sequence[Call]) -> None:
        """Hand calls whose turn it is to the engine's thread."""
        ahead = [call for call in calls if call.is_ahead]
        with self._wake:
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="voxgender-engine", daemon=True)
                self._thread.start()
            now = self.clock()
            self._due += [(now, call) for call in calls if call not in ahead]
            self._due_ahead += ahead
            self._wake.notify()

    def backlog_s(self) -> float:
        """Return how long the oldest work that is not finished has waited, in seconds."""
        with self._wake:
            since = min(self._turn_due_at, self._due[0][0] if self._due else math.inf)
        return 0.0 if math.isinf(since) else max(0.0, self.clock() - since)

    def left_windows_per_s(self) -> float | None:
        """Return how many windows of a call are classified in a second, if some were left out lately; else None."""
        is_short = self._pace.is_short(self.clock()) or (self._pool is not None and not self._pool.is_up)
        return self.windows_per_s if self._networks.classifier and is_short else None

    def forget(self, calls: LoopCalls) -> None:
        """Forget an event loop that has no calls."""
        with self._wake:
            self._loops.pop(calls.loop, None)

    def process(self, hops: HopsOf) -> None:
        """Process hops that are there already, as those of a file: find speech, classify windows, decide."""
        self._networks.process(hops)

    def turn(self, calls: Sequence[Call]) -> None:
        """Take the audio that waits in some calls through all steps: decode, gate, model, decisions, messages."""
        started_at = self.clock()
        calls = [call for call in calls if not call.closed]
        arrived: dict[Call, Arrivals] = {}
        hops: dict[CallState, list[Hop]] = {}
        failed: dict[Call, Exception] = {}
        for call in calls:
            arrived[call] = arrivals = call.drain(started_at)
            try:
                hops[call.state] = list(_cut(call, arrivals))
            except Exception as error:  # noqa: BLE001 - one call's decoder must not cost the others their turn
                failed[call] = error
        _count(arrived.values())
        decoded_at = gated_at = classified_at = self.clock()
        try:
            if self._pool is not None:
                gated_at = classified_at = self._networks.send(self._pool, hops)
            else:
                gated_at, classified_at = self._networks.process(hops)
        except Exception as error:  # noqa: BLE001 - whatever a model raises ends the calls that it was for
            failed |= dict.fromkeys(calls, error)
        windows_per_s = self.windows_per_s
        told: Told = {}
        for call in calls:
            if call in failed:
                told.setdefault(call.loop_calls, []).append((call, failed[call]))
                continue
            arrivals = arrived[call]
            times = TurnTimes(
                arrivals.arrived_at, arrivals.reordered_s, arrivals.pushed_at,
                started_at, decoded_at, gated_at, classified_at, arrivals.dropped_s, windows_per_s,
            )  # fmt: skip
            if any(hop.row is not None for hop in hops[call.state]):
                Outstanding(call, hops[call.state], times, self._note_answered).watch()
            else:
                told.setdefault(call.loop_calls, []).append((call, hops[call.state], times, call.state.waiting_s))
        _tell(told)

    def _note_answered(self, turn: Outstanding) -> None:
        with self._wake:
            if not self._closed:
                self._answered.append(turn)
                self._wake.notify()

    def _finish(self, turns: Sequence[Outstanding]) -> None:
        """Decide and deliver turns whose windows have come back."""
        told: Told = {}
        for turn in turns:
            call, now = turn.call, self.clock()
            of_loop = told.setdefault(call.loop_calls, [])
            try:
                self._networks.receive(call.state, turn.hops, now)
            except Exception as error:  # noqa: BLE001 - one call's trouble must not cost the others their results
                of_loop.append((call, error))
                continue
            times = turn.times._replace(classified_at=now, windows_per_s=self.windows_per_s)
            of_loop.append((call, turn.hops, times, call.state.waiting_s))
        _tell(told)

    def _work(self) -> None:
        while self._turn_next():
            pass

    def _turn_next(self) -> bool:
        # A function of its own, so that no local variable keeps ended calls alive while the thread waits.
        answered, calls = self._next()
        if answered:
            self._finish(answered)
        if calls:
            self.turn(calls)
        return bool(answered or calls)

    def _next(self) -> tuple[list[Outstanding], list[Call]]:
        """Wait for answers of a pool, and for calls whose turn it is; return none once the engine is closed."""
        with self._wake:
            self._turn_due_at = math.inf
            while not (self._due or self._due_ahead or self._answered or self._closed):
                self._wake.wait()
            answered, self._answered = self._answered, []
            self._was_ahead = bool(self._due_ahead) and not (self._due and self._was_ahead)
            if self._was_ahead:
                calls, self._due_ahead = self._due_ahead[:CALLS_AHEAD_A_TURN], self._due_ahead[CALLS_AHEAD_A_TURN:]
                return answered, calls
            most = len(self._due) if self._pace.is_short(self.clock()) else self._calls_a_turn
            due, self._due = self._due[:most], self._due[most:]
            self._turn_due_at = due[0][0] if due else math.inf
        return answered, [call for _, call in due]


def _tell(told: Told) -> None:
    """Deliver the outcome of turns, on the event loops of their calls."""
    for of_calls, one in told.items():
        # The loop may have closed meanwhile: then nobody waits for the messages.
        with suppress(RuntimeError):
            of_calls.loop.call_soon_threadsafe(of_calls.deliver, one)


def _cut(call: Call, arrivals: Arrivals) -> Iterator[Hop]:
    """Decode a call's audio, put it on the call's clock and cut it into hops."""
    state = call.state
    frames: Sequence[Frame]
    if call.decode is None:
        frames = [piece for piece in arrivals.audio if not isinstance(piece, Packet)]
    else:
        frames = call.decode([piece for piece in arrivals.audio if isinstance(piece, Packet)])
    state.is_whole = arrivals.ahead or not call.live
    yield from state.place(frames, arrivals.silence_s)
    if arrivals.ended:
        yield from state.finish()
    elif arrivals.finalizes:
        yield from state.finalize()
    elif arrivals.ahead or not (call.live or call.loop_calls.schedule.busy):
        yield from state.cut(exact=True)
    else:
        yield from state.cut(silence_s=arrivals.quiet_s if arrivals.silence_s else 0.0)


def _count(arrived: Collection[Arrivals]) -> None:
    metrics.BATCH_SIZE.observe(len(arrived))
    packets = sum(len(arrivals.audio) for arrivals in arrived)
    if packets:
        metrics.PACKETS["received"].inc(packets)
    if unread := sum(arrivals.dropped for arrivals in arrived):
        metrics.PACKETS["unread"].inc(unread)

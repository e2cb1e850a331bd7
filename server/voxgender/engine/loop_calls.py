"""Find the calls of an event loop whose turn it is, and give each the outcome of its turn."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from voxgender.engine.call import Call
from voxgender.engine.call_state import Hop
from voxgender.engine.messages import TurnTimes
from voxgender.engine.schedule import TICK_S, Schedule, next_tick


class LoopCalls:
    """Finds the calls of one event loop whose turn it is, once for all packets that came together.

    Args:
        loop: the event loop of the calls.
        schedule: the engine's schedule.
        clock: the engine's clock.
        silence_s: time without audio after which a call is taken to be silent.
        submit: called with the calls whose turn it is.
        forget: called once no call is left.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        schedule: Schedule,
        clock: Callable[[], float],
        *,
        silence_s: float,
        submit: Callable[[Sequence[Call]], None],
        forget: Callable[["LoopCalls"], None],
    ) -> None:
        self.loop = loop
        self.schedule = schedule
        self.clock = clock
        self.silence_s = silence_s
        self._submit = submit
        self._forget = forget
        self._calls: dict[Call, None] = {}
        self._looking = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Call) -> None:
        """Watch a call until it is removed."""
        self._calls[call] = None
        if self._timer is None:
            self._wait()

    def remove(self, call: Call) -> None:
        """Remove a call; stop the timer with the last one."""
        self.schedule.leave(call.phase, is_beside=call.is_beside)
        del self._calls[call]
        if not self._calls:
            self._forget(self)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def look_soon(self) -> None:
        """Look for calls whose turn it is, after all packets that came together were pushed."""
        if not self._looking:
            self._looking = True
            self.loop.call_soon(self._look)

    def deliver(self, told: Iterable[tuple[Call, Sequence[Hop], TurnTimes, float] | tuple[Call, Exception]]) -> None:
        """Deliver the outcome of a turn to its calls."""
        for one in told:
            call = one[0]
            try:
                if len(one) == 4:
                    call.deliver(*one[1:])
                elif not call.closed:
                    call.finish(one[1])
            except Exception as error:  # noqa: BLE001 - one call's trouble must not cost the others their messages
                self.loop.call_exception_handler({"message": "messages of a call were not taken", "exception": error})
        # More audio may have arrived during the turn.
        self.look_soon()

    def fail(self, error: Exception) -> None:
        """End all calls."""
        for call in tuple(self._calls):
            call.finish(error)

    def give_up(self) -> None:
        """Give back the schedule's places of all calls, because their loop was closed."""
        for call in self._calls:
            self.schedule.leave(call.phase, is_beside=call.is_beside)
        self._calls.clear()

    def _look(self) -> None:
        self._looking = False
        now, busy = self.clock(), self.schedule.busy
        if busy and self._timer is not None:
            # Calls without audio are looked at now, too: to wake for them soon again would cost more than it brings.
            self._timer.cancel()
            self._wait()
        due = [call for call in self._calls if call.is_due(now, busy=busy)]
        if due:
            for call in due:
                call.begin_turn(now)
            self._submit(due)

    def _wait(self) -> None:
        # Half a tick late, so that it never comes before the sockets were read.
        at = next_tick(self.loop.time(), TICK_S) - TICK_S / 2 + self.schedule.hop_s
        self._timer = self.loop.call_at(at, self._tick)

    def _tick(self) -> None:
        """Look for calls without audio, too: their silence is analysed."""
        self._wait()
        self._look()

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from voxgender.peer.pacer import Pacer


class Time:
    """An event loop's clock that stands still until it is moved, and its timers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[tuple[float, Callable[[], object], asyncio.Handle]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], object]) -> asyncio.Handle:
        return self.call_at(self.now, callback)

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.Handle:
        handle = asyncio.Handle(callback, (), asyncio.get_event_loop())
        self._timers.append((when, callback, handle))
        return handle

    @property
    def timers(self) -> int:
        return sum(not handle.cancelled() for _, _, handle in self._timers)

    def move(self, seconds: float, *, at_once: bool = False) -> None:
        """Let time pass: timers fire when they are due, or (``at_once``, a stall) all at its end."""
        end = self.now + seconds
        if at_once:
            self.now = end
        while due := [timer for timer in self._timers if timer[0] <= end + 1e-9]:
            timer = min(due, key=lambda timer: timer[0])
            self._timers.remove(timer)
            self.now = max(self.now, timer[0])
            if not timer[2].cancelled():
                timer[1]()
        self.now = end


@pytest.fixture
async def clock() -> Time:
    return Time()


class Beats(list[float]):
    """Records when each beat came."""

    def __init__(self, clock: Time) -> None:
        super().__init__()
        self._clock = clock

    def beat(self) -> None:
        self.append(self._clock.now)


async def test_every_caller_has_a_beat_in_20_ms_and_all_share_one_timer(clock: Time) -> None:
    pacer = Pacer(clock)
    callers = [Beats(clock) for _ in range(10)]
    for caller in callers:
        pacer.join(caller.beat)

    clock.move(1.0)

    assert clock.timers == 1
    for caller in callers:
        assert len(caller) in (50, 51)
        gaps = [later - sooner for sooner, later in pairwise(caller)]
        assert gaps == pytest.approx([0.02] * len(gaps), abs=1e-6)


async def test_callers_are_spread_over_the_20_ms(clock: Time) -> None:
    pacer = Pacer(clock)
    callers = [Beats(clock) for _ in range(8)]
    for caller in callers:
        pacer.join(caller.beat)

    clock.move(0.0199)

    firsts = [round((caller[0] - 1000) * 1000) for caller in callers]
    assert sorted(firsts) == [0, 0, 5, 5, 10, 10, 15, 15]


async def test_beats_that_a_stall_held_up_come_at_once_and_no_later_ones_are_moved(clock: Time) -> None:
    pacer = Pacer(clock)
    caller = Beats(clock)
    pacer.join(caller.beat)
    clock.move(0.001)

    clock.move(0.1, at_once=True)

    assert len(caller) == 6
    clock.move(0.02)
    assert len(caller) == 7
    assert caller[-1] == pytest.approx(1000.12, abs=0.001)


async def test_who_has_left_is_not_called_again_and_the_last_one_stops_the_timer(clock: Time) -> None:
    pacer = Pacer(clock)
    first, second = Beats(clock), Beats(clock)
    pacer.join(first.beat)
    pacer.join(second.beat)
    clock.move(0.1)

    pacer.leave(first.beat)
    heard = len(first)
    clock.move(0.1)
    assert len(first) == heard
    assert len(second) > heard
    pacer.leave(second.beat)

    assert pacer.idle
    assert clock.timers == 0
    pacer.leave(second.beat)  # Once more is no error.


async def test_a_beat_may_leave_while_it_is_called_and_others_join_later(clock: Time) -> None:
    pacer = Pacer(clock)
    calls: list[float] = []

    def once() -> None:
        calls.append(clock.now)
        pacer.leave(once)

    pacer.join(once)
    clock.move(0.1)
    assert len(calls) == 1
    assert pacer.idle

    late = Beats(clock)
    pacer.join(late.beat)
    clock.move(0.1)
    assert len(late) >= 5


async def test_on_a_real_loop_it_beats_in_real_time() -> None:
    pacer = Pacer()
    enough = asyncio.Event()
    beats: list[float] = []
    loop = asyncio.get_running_loop()

    def beat() -> None:
        beats.append(loop.time())
        if len(beats) == 10:
            pacer.leave(beat)
            enough.set()

    pacer.join(beat)
    async with asyncio.timeout(10):
        await enough.wait()

    assert beats[-1] - beats[0] >= 9 * 0.02 - 0.005
    assert pacer.idle

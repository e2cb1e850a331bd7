"""Schedule the turns of an engine's calls. Sockets are read, and hops are analysed, by the same ticks.

A core that wakes from sleep runs at a third of its speed until its caches are warm again. So work is done in bursts:
sockets are read on ticks, and the hops of many calls end with the same tick: as many as share a turn of the engine.
"""

import math
import threading
from typing import NamedTuple

from voxgender.audio.activity import FRAME_S
from voxgender.errors import SettingsError

TICK_S = 2 * FRAME_S
"""Time between ticks with ``BUSY_CALLS`` calls or more. Ticks are at its multiples by ``time.monotonic``."""
QUIET_TICK_S = TICK_S / 3
"""Time between ticks with fewer calls: the cost of a tick matters less then than its delay."""
BUSY_CALLS = 16
EARLY_S = 0.002
"""Time by which a timer may go off early."""


def next_tick(now: float, tick_s: float) -> float:
    """Return the time of the next tick. A tick whose timer went off a little early is not returned again."""
    return (math.floor((now + EARLY_S) / tick_s) + 1) * tick_s


def check_hop(hop_ms: int) -> None:
    """Check that hops end with ticks, so that no result waits for a tick.

    Raises:
        SettingsError: the hop is not a whole number of ticks.
    """
    tick_ms = round(1_000 * TICK_S)
    if hop_ms < tick_ms or hop_ms % tick_ms:
        below = max(tick_ms, hop_ms - hop_ms % tick_ms)
        raise SettingsError(
            f"A hop of {hop_ms} ms does not fit ticks of {tick_ms} ms: choose a multiple of {tick_ms}, "
            f"such as {below} or {below + tick_ms}."
        )


class Phase(NamedTuple):
    """The tick of every hop at which a call has its turn."""

    number: int = 0
    hop_s: float = TICK_S

    def next_turn(self, now: float) -> float:
        """Return the first tick of this phase after ``now``, in seconds of the same clock."""
        offset_s = self.number * TICK_S
        return next_tick(now - offset_s, self.hop_s) + offset_s


EVERY_TICK = Phase()


class Schedule:
    """Gives each call a phase: the first calls one phase until they fill a turn, the next ones the next, and so on.

    Args:
        hop_s: time between two turns of a call, a multiple of ``TICK_S``.
        calls_a_turn: calls that share a turn of the engine.
    """

    def __init__(self, hop_s: float, calls_a_turn: int) -> None:
        self.hop_s = hop_s
        self._calls_a_turn = calls_a_turn
        self.busy = False
        """True while there are so many calls that their hops end together. A voice of a room counts twice: its packets
        come with those of others, so there is more to gain. Thus a room of eight is enough."""
        self._calls = [0] * round(hop_s / TICK_S)
        self._beside = 0
        self._lock = threading.Lock()

    def join(self, beside: Phase | None = None) -> Phase:
        """Give a call its phase, until it leaves.

        Args:
            beside: the phase that the voices of a room have together, because their packets do; None for another call.
        """
        with self._lock:
            if beside is not None:
                number = beside.number
            else:
                number = min(range(len(self._calls)), key=lambda number: (self._full_turns(number), number))
            self._count(number, 1, beside is not None)
        return Phase(number, self.hop_s)

    def leave(self, phase: Phase, *, is_beside: bool = False) -> None:
        """Give a phase back, once for each :meth:`join`; ``is_beside`` tells whether that was with one ``beside``."""
        with self._lock:
            self._count(phase.number, -1, is_beside)

    def _full_turns(self, number: int) -> int:
        return self._calls[number] // self._calls_a_turn

    def _count(self, number: int, more: int, is_beside: bool) -> None:
        self._calls[number] += more
        if is_beside:
            self._beside += more
        self.busy = sum(self._calls) + self._beside >= BUSY_CALLS

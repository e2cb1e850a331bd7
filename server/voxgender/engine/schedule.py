"""Schedule the turns of an engine's calls. Sockets are read, and hops are analysed, by the same ticks.

A core that wakes from sleep runs at a third of its speed until its caches are warm again. So work is done in bursts:
sockets are read on ticks, and the hops of up to sixteen calls end with the same tick, which is what the speech gate
takes in one run.
"""

import math
import threading
from typing import NamedTuple

from voxgender.audio.activity import CALLS_A_RUN, FRAME_S
from voxgender.errors import SettingsError

TICK_S = 2 * FRAME_S
"""Time between ticks with ``BUSY_CALLS`` calls or more. Ticks are at its multiples by ``time.monotonic``."""
QUIET_TICK_S = TICK_S / 3
"""Time between ticks with fewer calls: the cost of a tick matters less then than its delay."""
BUSY_CALLS = CALLS_A_RUN
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
    """Gives each call a phase: the first sixteen calls one phase, the next sixteen the next, and so on in turn.

    Args:
        hop_s: time between two turns of a call, a multiple of ``TICK_S``.
    """

    def __init__(self, hop_s: float) -> None:
        self.hop_s = hop_s
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
                number = min(range(len(self._calls)), key=lambda number: (self._calls[number] // BUSY_CALLS, number))
            self._count(number, 1, beside is not None)
        return Phase(number, self.hop_s)

    def leave(self, phase: Phase, *, is_beside: bool = False) -> None:
        """Give a phase back, once for each :meth:`join`; ``is_beside`` tells whether that was with one ``beside``."""
        with self._lock:
            self._count(phase.number, -1, is_beside)

    def _count(self, number: int, more: int, is_beside: bool) -> None:
        self._calls[number] += more
        if is_beside:
            self._beside += more
        self.busy = sum(self._calls) + self._beside >= BUSY_CALLS

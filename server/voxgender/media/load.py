"""Measure whether a media node keeps up: how late its event loop and its engine are.

A number of calls says little about the load: models differ by a factor of a hundred, machines and callers' codecs too.
A node that is late serves all of its calls worse with each further one, so it refuses them until it has caught up.
"""

import asyncio
from typing import TYPE_CHECKING

from voxgender import metrics
from voxgender.engine.schedule import TICK_S, next_tick

if TYPE_CHECKING:
    from voxgender.engine import Engine

SAMPLE_S = 3 * TICK_S
"""Time between two measurements. They come with ticks of the sockets, so that nothing wakes for them alone."""
LAG_S = 0.25
"""Lateness of the event loop from which it is too busy: timers, packets and answers are as late."""
BACKLOG_S = 0.5
"""Time that calls wait for the engine, from which it is too busy: results come more than two hops late."""
MIN_WINDOWS_PER_S = 1.0
"""Windows of a call that are classified in a second; if windows are left out and it is less, the model is too busy."""
_MEMORY_S = 2.0
_ENTER = 0.6
"""Share of busy measurements, over some two seconds, from which a node is overloaded: one long stop is no load."""
_LEAVE = 0.2


class Load:
    """Tells whether a node is overloaded, with hysteresis."""

    def __init__(self) -> None:
        self.overloaded = False
        self._busy_share = 0.0

    def measure(self, lag_s: float, backlog_s: float, windows_per_s: float | None = None) -> None:
        """Take one measurement, every ``SAMPLE_S``."""
        metrics.LOOP_LAG_SECONDS.observe(lag_s)
        metrics.BACKLOG_SECONDS.observe(backlog_s)
        is_short = windows_per_s is not None and windows_per_s < MIN_WINDOWS_PER_S
        is_busy = lag_s >= LAG_S or backlog_s >= BACKLOG_S or is_short
        self._busy_share += (is_busy - self._busy_share) * SAMPLE_S / _MEMORY_S
        self.overloaded = self._busy_share > (_LEAVE if self.overloaded else _ENTER)
        metrics.OVERLOADED.set(self.overloaded)

    async def watch(self, engine: "Engine") -> None:
        """Measure the running event loop and an engine until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = next_tick(loop.time(), SAMPLE_S)
            await asyncio.sleep(due - loop.time())
            self.measure(max(0.0, loop.time() - due), engine.backlog_s(), engine.left_windows_per_s())

"""Pace all callers of a process by one timer: each sends every 20 ms, spread so that not all send at once."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from voxgender.peer.speech import PACKET_S

SLOTS = 4
"""Moments within a packet's time; each caller keeps to one of them."""

Beat = Callable[[], None]

_EARLY_S = 0.0005  # uvloop keeps time in milliseconds.


class Timers(Protocol):
    """The clock and the timers of an event loop."""

    def time(self) -> float: ...

    def call_soon(self, callback: Callable[[], object], /) -> asyncio.Handle: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> asyncio.Handle: ...


class Pacer:
    """Calls every beat that joined once in 20 ms.

    Beats are due at fixed times: a late one does not delay those after it, and those that a stall has held up come
    at once.

    Args:
        timers: the running event loop's by default.
    """

    def __init__(self, timers: Timers | None = None) -> None:
        self._timers = timers
        self._slots: list[dict[Beat, None]] = [{} for _ in range(SLOTS)]
        self._turn = 0
        self._due = 0.0
        self._timer: asyncio.Handle | None = None

    @property
    def idle(self) -> bool:
        """No beat is called, and no timer runs."""
        return self._timer is None

    def join(self, beat: Beat) -> None:
        """Begin to call ``beat``, which must not raise, on this event loop."""
        min(self._slots, key=len)[beat] = None
        if self._timer is None:
            loop = self._timers or asyncio.get_running_loop()
            self._due = loop.time()
            self._timer = loop.call_soon(self._tick)

    def leave(self, beat: Beat) -> None:
        """Call it no more; no error where it never joined."""
        for slot in self._slots:
            slot.pop(beat, None)
        if self._timer is not None and not any(self._slots):
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        loop = self._timers or asyncio.get_running_loop()
        now = loop.time() + _EARLY_S
        while self._due <= now:
            slot = self._slots[self._turn]
            for beat in tuple(slot):
                if beat in slot:
                    beat()
            self._turn = (self._turn + 1) % SLOTS
            self._due += PACKET_S / SLOTS
        self._timer = loop.call_at(self._due, self._tick) if any(self._slots) else None

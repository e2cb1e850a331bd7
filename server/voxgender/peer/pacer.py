"""Pace all callers of a process by one timer: each sends every 20 ms, spread so that not all send at once."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from voxgender.peer.speech import PACKET_S

SLOTS = 4
"""Slots within a packet's time; each caller sends in one of them."""

Callback = Callable[[], None]

_EARLY_S = 0.0005  # uvloop keeps time in milliseconds.


class Timers(Protocol):
    """The clock and the timers of an event loop."""

    def time(self) -> float: ...

    def call_soon(self, callback: Callable[[], object], /) -> asyncio.Handle: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> asyncio.Handle: ...


class Pacer:
    """Calls every callback that joined once in 20 ms.

    Calls are due at fixed times: a late one does not delay the next, and calls that a stall held up are made at once.

    Args:
        timers: starts timers; by default the running event loop.
    """

    def __init__(self, timers: Timers | None = None) -> None:
        self._timers = timers
        self._slots: list[dict[Callback, None]] = [{} for _ in range(SLOTS)]
        self._turn = 0
        self._due = 0.0
        self._timer: asyncio.Handle | None = None

    @property
    def idle(self) -> bool:
        """True if no callback has joined, so that no timer runs."""
        return self._timer is None

    def join(self, callback: Callback) -> None:
        """Begin to call ``callback``, which must not raise, on this event loop."""
        min(self._slots, key=len)[callback] = None
        if self._timer is None:
            loop = self._timers or asyncio.get_running_loop()
            self._due = loop.time()
            self._timer = loop.call_soon(self._tick)

    def leave(self, callback: Callback) -> None:
        """Stop calling ``callback``; nothing happens if it has not joined."""
        for slot in self._slots:
            slot.pop(callback, None)
        if self._timer is not None and not any(self._slots):
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        loop = self._timers or asyncio.get_running_loop()
        now = loop.time() + _EARLY_S
        while self._due <= now:
            slot = self._slots[self._turn]
            for callback in tuple(slot):
                if callback in slot:
                    callback()
            self._turn = (self._turn + 1) % SLOTS
            self._due += PACKET_S / SLOTS
        self._timer = loop.call_at(self._due, self._tick) if any(self._slots) else None

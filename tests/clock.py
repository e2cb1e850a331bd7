"""Clocks for tests of seconds that take none: one jumps to the next timer, one stands still until it is moved."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest.mock import patch

T = TypeVar("T")


class StillClock:
    """Stands still until it is moved."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 1_000.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("every task waits for another: nothing will ever happen")
        # Not even a timer of nothing takes no time at all: code that asks again until a time has come would never end.
        self._loop.now += max(1e-9, timeout)
        return super().select(0)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as ``asyncio.run`` does, with ``time.monotonic`` on the same virtual clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner, patch("time.monotonic", runner.get_loop().time):
        return runner.run(main)

"""Wait until something comes true that tells nobody: a counter, a table, another process."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeVar, overload

T = TypeVar("T")

PATIENCE_S = 30.0
"""Time after which a test gives up waiting, long enough for a busy machine."""
LOOK_S = 0.01
"""Time between two looks."""


@overload
async def until(look: Callable[[], Awaitable[T | None]], *, within_s: float = ...) -> T: ...
@overload
async def until(look: Callable[[], T | None], *, within_s: float = ...) -> T: ...
async def until(look: Callable[[], object], *, within_s: float = PATIENCE_S) -> object:
    """Look until what is seen is true, and return it."""
    async with asyncio.timeout(within_s):
        while True:
            seen = look()
            if isawaitable(seen):
                seen = await seen
            if seen:
                return seen
            await asyncio.sleep(LOOK_S)


def block_until(look: Callable[[], T | None], *, within_s: float = PATIENCE_S) -> T:
    """Look until what is seen is true, and return it; meanwhile nothing else happens on this thread."""
    end = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < end
        time.sleep(LOOK_S)
    return seen

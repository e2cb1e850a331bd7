"""Map a function over worker processes, in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import get_context
from typing import TypeVar

from voxgender.system import end_with_parent

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_kept: ContextVar[ProcessPoolExecutor | None] = ContextVar("_kept", default=None)


@contextmanager
def kept_processes(workers: int) -> Iterator[None]:
    """Let all maps within share their worker processes, each of which takes seconds to start; then end them."""
    if workers < 2:
        yield
        return
    with _pool(workers) as pool:
        token = _kept.set(pool)
        try:
            yield
        finally:
            _kept.reset(token)


def in_processes(
    make: Callable[[_Item], _Result], items: Iterable[_Item], workers: int, *, chunk: int = 1
) -> Iterator[_Result]:
    """Map over worker processes, in order; in this process if ``workers`` is 1."""
    if workers < 2:
        yield from map(make, items)
    elif pool := _kept.get():
        yield from pool.map(make, items, chunksize=chunk)
    else:
        with _pool(workers) as own:
            yield from own.map(make, items, chunksize=chunk)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=end_with_parent)

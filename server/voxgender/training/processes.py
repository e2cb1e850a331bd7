"""Map a function over worker processes, in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_processes(
    make: Callable[[_Item], _Result], items: Iterable[_Item], workers: int, *, chunk: int = 1
) -> Iterator[_Result]:
    """Map over worker processes, in order; in this process if ``workers`` is 1."""
    if workers < 2:
        yield from map(make, items)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(make, items, chunksize=chunk)

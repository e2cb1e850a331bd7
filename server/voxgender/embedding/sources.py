"""Iterate over the chunks of a source: an iterable, asynchronous or not, a stream that is read, or a single chunk."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from os import PathLike
from typing import Any

from voxgender.errors import AudioError

READ_BYTES = 4_096
"""Bytes that a file or a socket is asked for at once."""

_END = object()


def chunks_of(source: Any) -> AsyncIterator[Any]:
    """Return an iterator over a source's chunks; a source that blocks is read on a thread of its own.

    Raises:
        AudioError: it is no source of PCM.
    """
    if isinstance(source, str | PathLike):
        raise AudioError("A path is no stream of PCM: to read a file, give its path to classify().")
    if isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "__array__") or _is_pair(source):
        return _given([source])
    if callable(getattr(source, "read", None)):
        return _read(source)
    if hasattr(source, "__aiter__"):
        iterator: AsyncIterator[Any] = aiter(source)
        return iterator
    if isinstance(source, list | tuple):
        return _given(source)
    if hasattr(source, "__iter__"):
        return _on_a_thread(iter(source).__next__)
    raise AudioError(
        f"A {type(source).__name__} is no source of sound: give an aiortc track, or an iterable of bytes, arrays or "
        "frames."
    )


def _is_pair(source: Any) -> bool:
    return isinstance(source, tuple) and len(source) == 2 and any(hasattr(one, "__array__") for one in source)


async def _given(chunks: Any) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


async def _read(source: Any) -> AsyncIterator[Any]:
    """Read an ``asyncio.StreamReader``, or a file that is open."""
    if inspect.iscoroutinefunction(source.read):
        while chunk := await source.read(READ_BYTES):
            yield chunk
        return
    async for chunk in _on_a_thread(lambda: source.read(READ_BYTES)):
        if not chunk:
            return
        yield chunk


async def _on_a_thread(next_chunk: Callable[[], Any]) -> AsyncIterator[Any]:
    """Call a function that may block again and again, on a thread that neither the loop nor the process waits for."""
    loop = asyncio.get_running_loop()
    wanted = threading.Semaphore(0)
    left = False
    given: asyncio.Queue[Any] = asyncio.Queue()

    def work() -> None:
        while True:
            wanted.acquire()
            if left:
                return
            try:
                outcome: Any = next_chunk()
            except StopIteration:
                outcome = _END
            except BaseException as error:  # noqa: BLE001 - it is raised where the chunks are iterated over
                outcome = _Failed(error)
            try:
                loop.call_soon_threadsafe(given.put_nowait, outcome)
            except RuntimeError:
                # The loop was closed meanwhile.
                return

    threading.Thread(target=work, name="voxgender-source", daemon=True).start()
    try:
        while True:
            wanted.release()
            outcome = await given.get()
            if outcome is _END:
                return
            if isinstance(outcome, _Failed):
                raise outcome.error
            yield outcome
    finally:
        left = True
        wanted.release()


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def frames_of(source: Any) -> Iterator[Any]:
    """Return an iterator over the chunks of a source that is there as a whole, such as an array."""
    if isinstance(source, list | tuple) and not _is_pair(source):
        return iter(source)
    return iter([source])

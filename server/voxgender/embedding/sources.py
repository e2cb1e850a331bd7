"""Iterate over the chunks of a source: an iterable, asynchronous or not, a stream that is read, or a single chunk."""

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from os import PathLike
from typing import Any

from voxgender.audio.chunks import view_of
from voxgender.embedding.threads import iterate_aside
from voxgender.errors import AudioError

READ_BYTES = 4_096
"""Bytes that a file or a socket is asked for at once."""


def chunks_of(source: Any) -> AsyncIterator[Any]:
    """Return an iterator over a source's chunks; a source that blocks is read on a thread of its own.

    Raises:
        AudioError: it is no source of PCM.
    """
    if isinstance(source, type):
        raise AudioError(f"{source.__name__} is a class, and no source of sound: give one that was made of it.")
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
    if view_of(source) is not None:
        return _given([source])
    if hasattr(source, "__iter__"):
        return iterate_aside(iter(source).__next__)
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
    # The other one waits until as much has come.
    read = getattr(source, "read1", source.read)
    async with aclosing(iterate_aside(lambda: read(READ_BYTES))) as chunks:
        async for chunk in chunks:
            if chunk is None:
                raise AudioError(
                    "The file has nothing for now, and does not wait: let it block (os.set_blocking), or give an "
                    "asyncio.StreamReader."
                )
            if not chunk:
                return
            yield chunk


def is_file(source: Any) -> bool:
    """Return whether a source is a file that is open, and not one whose methods are asynchronous."""
    read = getattr(source, "read", None)
    return callable(read) and callable(getattr(source, "seek", None)) and not inspect.iscoroutinefunction(read)


def frames_of(source: Any) -> Iterator[Any]:
    """Return an iterator over the chunks of a source that is there as a whole, such as an array."""
    if is_file(source):
        return iter(lambda: source.read(READ_BYTES), b"")
    if isinstance(source, list | tuple) and not _is_pair(source):
        return iter(source)
    return iter([source])

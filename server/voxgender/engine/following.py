"""Follow an analysis as an iterator: read its audio in one task, and yield its messages to whoever asks."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from voxgender.engine.call import OnEnd, OnMessages
from voxgender.protocol import AnyMessage
from voxgender.unread import Analysis, Unread

A = TypeVar("A", bound=Analysis)


async def follow(
    open_analysis: Callable[[OnMessages, OnEnd], A], read: Callable[[A], Coroutine[Any, Any, None]]
) -> AsyncGenerator[AnyMessage, None]:
    """Open an analysis, read its audio, and yield its messages until it ends.

    Args:
        open_analysis: opens it, given what to call with messages and at the end.
        read: gives it audio and ends it. It is cancelled when the iterator is closed.

    Raises:
        Exception: the error that ended the analysis, or was raised while reading.
        CancelledError: raised while reading, because the source awaits something that was cancelled.
    """
    unread = Unread()
    unread.analysis = analysis = open_analysis(unread.put, unread.end)
    reader = asyncio.create_task(read(analysis))
    reader.add_done_callback(lambda done: _note_error(done, unread))
    try:
        while (message := await unread.get()) is not None:
            yield message
    finally:
        analysis.abandon()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


def _note_error(reader: "asyncio.Task[None]", unread: Unread) -> None:
    if reader.cancelled():
        unread.end(asyncio.CancelledError("the source was cancelled"))
    elif (error := reader.exception()) is not None:
        unread.end(error)

"""Keep the messages of an analysis until somebody reads them."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from voxgender.protocol import AnyMessage

MAX_UNREAD = 250
"""Messages that may wait to be read; with more, the analysis pauses."""


class Analysis(Protocol):
    """A call, or a stream of several."""

    def hold(self) -> None:
        """Pause."""

    def release(self) -> None:
        """Resume."""

    def abandon(self) -> None:
        """End at once."""


class Unread:
    """Keeps the messages of an analysis until they are read; holds the analysis while too many wait."""

    def __init__(self) -> None:
        self.analysis: Analysis | None = None
        self.ended = False
        self.error: BaseException | None = None
        self._messages: deque[AnyMessage] = deque()
        self._news = asyncio.Event()

    def put(self, messages: Sequence[AnyMessage]) -> None:
        """Take messages, as ``OnMessages``."""
        self._messages.extend(messages)
        if len(self._messages) > MAX_UNREAD and self.analysis is not None:
            self.analysis.hold()
        self._news.set()

    def end(self, error: BaseException | None) -> None:
        """End the messages, with the error that :meth:`get` is to raise after the last; the first end counts."""
        if not self.ended:
            self.ended, self.error = True, error
        self._news.set()

    def fail(self, error: BaseException) -> None:
        """End at once: messages that were not read are lost."""
        self._messages.clear()
        self.end(error)

    async def get(self) -> AnyMessage | None:
        """Return the next message; None after the last.

        Raises:
            Exception: the error that ended the analysis.
        """
        while not self._messages:
            if self.analysis is not None:
                self.analysis.release()
            if self.ended:
                if self.error is not None:
                    raise self.error
                return None
            self._news.clear()
            await self._news.wait()
        return self._messages.popleft()

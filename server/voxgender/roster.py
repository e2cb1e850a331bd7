"""Keep the list of the calls that can be followed by a name or a subject, and tell its changes to watchers."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, TypeAlias

import msgspec

MAX_CHANGES = 10_000
"""Changes that may wait for a watcher; a slower one is cut off, and watches anew."""


class Followed(NamedTuple):
    """A message of a call, as its followers get it."""

    number: int
    """Counts the messages of the call; ``hello`` has 0."""
    text: str
    """The message as JSON."""
    is_end: bool = False
    """True for ``end``, after which nothing comes."""


class LiveCall(msgspec.Struct, frozen=True, kw_only=True, tag="live", omit_defaults=True):
    """A call as it is known when it begins, without anything that is heard.

    Attributes:
        session: the session's id, which is a secret.
        started_at: when its client was connected, seconds since the epoch.
        name: the name that its publisher gave it; empty for none.
        subject: that of its caller's token, if the token has one.
        reference: its name in its caller's own system; empty for none.
        tags: that its caller or the caller's token gave it.
    """

    session: str
    started_at: float
    name: str = ""
    subject: str | None = None
    reference: str = ""
    tags: tuple[str, ...] = ()


class Gone(msgspec.Struct, frozen=True, kw_only=True, tag="gone"):
    """A call has ended, or can no longer be reached."""

    session: str


Change: TypeAlias = LiveCall | Gone


class Watch(AsyncIterator[Change]):
    """A roster as it was, and its changes from then on. The iteration ends if the watcher is too slow."""

    def __init__(self, roster: "Roster", calls: tuple[LiveCall, ...]) -> None:
        self.calls = calls
        self._roster = roster
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()

    async def __anext__(self) -> Change:
        change = await self._changes.get()
        if change is None:
            raise StopAsyncIteration
        return change

    def put(self, change: Change) -> None:
        """Add a change. A watcher that is too slow is cut off."""
        if self._changes.qsize() < MAX_CHANGES:
            self._changes.put_nowait(change)
            return
        self.cut_off()

    def cut_off(self) -> None:
        """End the iteration at once."""
        self.close()
        while not self._changes.empty():
            self._changes.get_nowait()
        self._changes.put_nowait(None)

    def close(self) -> None:
        """Stop watching."""
        self._roster.forget(self)


class Roster:
    """Keeps the live calls that have a name or a subject. All methods are called on one event loop."""

    def __init__(self) -> None:
        self._calls: dict[str, LiveCall] = {}
        self._watches: set[Watch] = set()
        self._closed = False

    @property
    def watched(self) -> bool:
        """True while somebody watches."""
        return bool(self._watches)

    def add(self, call: LiveCall) -> None:
        """Add a call, if there is something to find it by."""
        if call.session in self._calls or not (call.name or call.subject is not None):
            return
        self._calls[call.session] = call
        self._tell(call)

    def remove(self, session: str) -> None:
        """Remove a call, if it is there."""
        if self._calls.pop(session, None) is not None:
            self._tell(Gone(session=session))

    def watch(self) -> Watch:
        """Return the calls that are there, and all changes from now on, until the watch is closed."""
        watch = Watch(self, tuple(self._calls.values()))
        self._watches.add(watch)
        if self._closed:
            watch.cut_off()
        return watch

    def forget(self, watch: Watch) -> None:
        """Tell a watch no more changes."""
        self._watches.discard(watch)

    def close(self) -> None:
        """Cut all watchers off, and those that come later."""
        self._closed = True
        for watch in tuple(self._watches):
            watch.cut_off()

    def _tell(self, change: Change) -> None:
        for watch in tuple(self._watches):
            watch.put(change)

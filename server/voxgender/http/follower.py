"""Merge the messages of calls that come and go into one stream of events, which can be resumed."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import msgspec

from voxgender import received
from voxgender.errors import NotReady, SessionNotFound
from voxgender.http.calls import Calls
from voxgender.http.eventstream import event
from voxgender.protocol import End, Start
from voxgender.roster import Gone, LiveCall
from voxgender.sessionids import call_hash

MAX_CALLS = 16
"""Calls that one follower is told of at a time, the ones that began last; an id holds the position in each."""
RETRY_S = 2.0
"""Time after which a call is asked for again that could not be followed."""

_MAX_ID = 1_024
_POSITION = re.compile(r"([0-9a-f]{12})(?:\.([0-9]{1,15}))?")

Positions = dict[str, int | None]
"""Number of the last message that was told of each call, by its hash; None if its start alone was told."""


def read_positions(last_event_id: str) -> Positions:
    """Read the id of the last event that a reader has got; empty if it cannot be read."""
    if len(last_event_id) > _MAX_ID:
        return {}
    found = [_POSITION.fullmatch(part) for part in last_event_id.split(",")]
    if len(found) > MAX_CALLS or None in found:
        return {}
    pairs = (one.groups() for one in found if one is not None)
    return {call: None if number is None else int(number) for call, number in pairs}


class Follower:
    """Follows calls as they begin and end.

    Each event's id is the position in all calls that are on, as ``3f2a9c01b7de.17``; it is empty while none is.
    Messages have ``call`` beside their own fields, which is the hash of the call: the session's id, with which the
    call can be ended, is not told.

    Args:
        calls: of the server.
        is_wanted: tells which calls are followed.
        newest: follow the call that began last, and no other; otherwise all.
        positions: of the last event that the reader has had.
        messages: types of messages that are told, of those that can be chosen; None for those of each call.
        retry_s: time after which a call is asked for again that could not be followed.
    """

    def __init__(
        self,
        calls: Calls,
        is_wanted: Callable[[LiveCall], bool],
        *,
        newest: bool,
        positions: Mapping[str, int | None],
        messages: tuple[str, ...] | None = None,
        retry_s: float = RETRY_S,
    ) -> None:
        self._calls = calls
        self._is_wanted = is_wanted
        self._most = 1 if newest else MAX_CALLS
        self._messages = messages
        self._retry_s = retry_s
        self._positions: Positions = dict(positions)
        self._live: dict[str, LiveCall] = {}
        """The calls to choose from, by session."""
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The task that tells each call, by session."""
        # A follower that does not read holds its calls' messages up, and those that are too many are left out there.
        self._events: asyncio.Queue[str] = asyncio.Queue(maxsize=16)
        self._telling = asyncio.Lock()

    async def events(self) -> AsyncGenerator[str, None]:
        """Yield events on the wire, until the generator is closed."""
        background = [asyncio.create_task(self._watch()), asyncio.create_task(self._keep_choosing())]
        try:
            while True:
                yield await self._events.get()
        finally:
            tasks = [*background, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Keep the live calls up to date."""
        while True:
            watch = await self._calls.watch()
            try:
                live = {call.session: call for call in watch.calls if self._is_wanted(call)}
                # One that is followed is told until its own end.
                self._live = {session: call for session, call in self._live.items() if session in self._tasks} | live
                await self._end_missed()
                self._changed.set()
                async for change in watch:
                    if isinstance(change, Gone) and change.session not in self._tasks:
                        self._live.pop(change.session, None)
                    elif isinstance(change, LiveCall) and self._is_wanted(change):
                        self._live[change.session] = change
                        self._changed.set()
            finally:
                watch.close()
            # It was cut off.
            await asyncio.sleep(self._retry_s)

    async def _end_missed(self) -> None:
        """Tell the end of the calls that have ended while the reader was away."""
        for call in self._positions.keys() - {call_hash(session) for session in self._live}:
            await self._tell_end(call, "unknown")

    async def _keep_choosing(self) -> None:
        """Follow the calls that began last; leave one in whose place another has come."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._tasks = {session: task for session, task in self._tasks.items() if not task.done()}
            for session in self._tasks.keys() - self._chosen():
                task = self._tasks.pop(session)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                if task.cancelled():
                    await self._tell_end(call_hash(session), "replaced")
            for session in self._live.keys() - self._chosen():
                if call_hash(session) in self._positions:
                    # While the reader was away.
                    await self._tell_end(call_hash(session), "replaced")
            for session in self._chosen() - self._tasks.keys():
                task = asyncio.create_task(self._tell(self._live[session]), name=f"follow-{session[:8]}")
                self._tasks[session] = task

    def _chosen(self) -> set[str]:
        by_start = sorted(self._live.values(), key=lambda call: (call.started_at, call.session))
        return {call.session for call in by_start[-self._most :]}

    async def _tell(self, call: LiveCall) -> None:
        """Tell a call from its start, or from where the reader was, to its end."""
        shown = call_hash(call.session)
        if shown not in self._positions:
            start = Start(
                name=call.name or None,
                subject=call.subject,
                reference=call.reference or None,
                tags=call.tags or None,
            )
            await self._put(shown, None, start.to_json(), "start")
        reason = await self._tell_messages(call.session, shown)
        del self._live[call.session]
        await self._tell_end(shown, reason)
        self._changed.set()

    async def _tell_messages(self, session: str, shown: str) -> str:
        """Tell a call's messages; return why it ended."""
        while True:
            try:
                messages = await self._calls.follow(session, self._positions[shown], self._messages)
            except SessionNotFound:
                return "unknown"
            except NotReady:
                await asyncio.sleep(self._retry_s)
                continue
            async with aclosing(messages):
                async for number, text, is_end in messages:
                    if is_end:
                        return _reason(text)
                    await self._put(shown, number, text if number else _without_session(text, shown))
            # The way to its node broke off.
            await asyncio.sleep(self._retry_s)

    async def _tell_end(self, call: str, reason: str) -> None:
        async with self._telling:
            self._positions.pop(call, None)
            await self._send(call, End(reason=reason).to_json(), "end")

    async def _put(self, call: str, position: int | None, text: str, kind: str = "") -> None:
        # The lock keeps ids in step with the events before them.
        async with self._telling:
            self._positions[call] = position
            await self._send(call, text, kind)

    async def _send(self, call: str, text: str, kind: str) -> None:
        positions = (shown if number is None else f"{shown}.{number}" for shown, number in self._positions.items())
        await self._events.put(event(f'{{"call":"{call}",{text[1:]}', id_=",".join(positions), kind=kind))


def _reason(text: str) -> str:
    try:
        end: End = received.decode(text, End)
    except ValueError:
        return "unknown"
    return end.reason


def _without_session(hello: str, shown: str) -> str:
    fields = msgspec.json.decode(hello)
    return msgspec.json.encode(fields | {"session": shown}).decode()

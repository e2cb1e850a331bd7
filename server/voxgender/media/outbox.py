"""Send one session's messages to its data channels and to the followers of its event stream."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from time import monotonic

from aiortc import InvalidStateError, RTCDataChannel

from voxgender.calloptions import left_out
from voxgender.engine.messages import WARN_EVERY_S
from voxgender.errors import NotReady
from voxgender.media.observers import NOBODY
from voxgender.protocol import EVENTS_CHANNEL, RESULTS_CHANNEL, End, Hello, Message, Result, Warning
from voxgender.received import whole_number

logger = logging.getLogger(__name__)

REMEMBERED = 64
"""Past events of the call that are sent to a channel or a follower that comes later."""
MAX_BUFFERED = 65_536
"""Bytes that may wait in a channel; with more, results are left out."""
MAX_CHANNELS = 8
"""Data channels of a call that are served at a time; more are left silent."""
MAX_FOLLOWERS = 16
"""Followers of one session; more are refused."""
MAX_FOLLOWED = 256
"""Messages that may wait for a slow follower; of more, the oldest are dropped."""


class Outbox:
    """Routes a session's messages to channels by their label and reliability, and keeps events for latecomers.

    Args:
        hello: the first message; its ``messages`` are those that channels are told, and followers that do not say.
    """

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        """The first message to a channel or a follower that comes."""
        self.left_out = left_out(hello.messages or ())
        """Types of messages that are not told."""
        self._channels: list[tuple[RTCDataChannel, bool, bool]] = []
        self._followers: dict[asyncio.Queue[tuple[int, Message]], frozenset[str]] = {}
        """The types of messages that each is not told."""
        self._events: deque[tuple[int, Message]] = deque(maxlen=REMEMBERED)
        self._most_followed = MAX_FOLLOWED
        self._told = 0
        """Number of the latest message. ``hello`` has 0, and a result has a number too."""
        self._warned_at: dict[tuple[str, int | None], float] = {}
        """When each warning was sent last, by its code and channel."""
        self._end: tuple[int, End] | None = None
        """The last message to followers, once the call has ended."""
        self.observers = NOBODY
        """Told of the call's start, its events and its end."""
        self.attached = asyncio.Event()
        """Set once there has been a channel."""

    def widen(self, voices: int) -> None:
        """Keep as many events for each of several voices as for one."""
        self._most_followed = MAX_FOLLOWED * voices
        self._events = deque(self._events, maxlen=REMEMBERED * voices)

    @property
    def channels(self) -> int:
        """Open data channels."""
        return sum(channel.readyState == "open" for channel, _, _ in self._channels)

    def attach(self, channel: RTCDataChannel) -> None:
        """Greet a new channel and serve it from now on.

        Unreliable ``results`` gets results, reliable ``events`` the rest; any other label or shape gets all. A channel
        that comes late gets the events so far, or those after N if its protocol is ``last-event-id=N``.
        """
        # Closed ones give their places back.
        self._channels = [one for one in self._channels if one[0].readyState in ("connecting", "open")]
        if len(self._channels) >= MAX_CHANNELS:
            return
        reliable = channel.maxRetransmits is None and channel.maxPacketLifeTime is None
        only_results = channel.label == RESULTS_CHANNEL and not channel.ordered and not reliable
        only_events = channel.label == EVENTS_CHANNEL and channel.ordered and reliable
        self._channels.append((channel, not only_events, not only_results))
        self.attached.set()
        _send(channel, self.hello)
        if not only_results:
            for number, event in self._past(_last_event_id(channel.protocol), self.left_out):
                if number:
                    _send(channel, event)

    def post(self, message: Message) -> None:
        """Send one message to its channels and all followers. Never waits, never raises."""
        is_result = isinstance(message, Result)
        self._told += 1
        if not is_result:
            self._events.append((self._told, message))
            self.observers.event(message)
        if self._channels and message.type not in self.left_out:
            text = message.to_json()
            for channel, results, events in self._channels:
                if (results if is_result else events) and not (is_result and channel.bufferedAmount > MAX_BUFFERED):
                    _send(channel, text)
        for queue, others in self._followers.items():
            if message.type in others:
                continue
            if queue.qsize() >= self._most_followed:
                queue.get_nowait()
            queue.put_nowait((self._told, message))

    def post_now_and_then(self, warning: Warning) -> None:
        """Send a warning of a lasting state, at most once in ``WARN_EVERY_S``."""
        now = monotonic()
        about = warning.code, warning.channel
        last = self._warned_at.get(about)
        if last is None or now - last >= WARN_EVERY_S:
            # Voices that have left are not warned about again.
            self._warned_at = {one: at for one, at in self._warned_at.items() if now - at < WARN_EVERY_S} | {about: now}
            self.post(warning)

    def follow(
        self, after: int | None = None, messages: tuple[str, ...] | None = None
    ) -> AsyncGenerator[tuple[int, Message], None]:
        """Yield ``hello``, the events so far, all further messages, and at last ``end``, each with its number.

        Args:
            after: number of the last message that the follower has had, if any: earlier ones are not told again.
            messages: types of messages that the follower wants; None for those of the call.

        Raises:
            NotReady: the session has ``MAX_FOLLOWERS`` already.
        """
        if len(self._followers) >= MAX_FOLLOWERS:
            raise NotReady("The session has all the followers it may have.", code="at_capacity", retry_after_s=10)
        return self._follow(after, self.left_out if messages is None else left_out(messages))

    async def _follow(self, after: int | None, others: frozenset[str]) -> AsyncGenerator[tuple[int, Message], None]:
        if self._end is not None and after == self._end[0]:
            return
        if len(self._followers) >= MAX_FOLLOWERS:
            # Many came in one turn of the loop, and none was counted yet when they were let in.
            return
        queue: asyncio.Queue[tuple[int, Message]] = asyncio.Queue()
        for past in self._past(after, others):
            queue.put_nowait(past)
        if self._end is not None:
            queue.put_nowait(self._end)
        self._followers[queue] = others
        try:
            while True:
                told = await queue.get()
                yield told
                if isinstance(told[1], End):
                    return
        finally:
            del self._followers[queue]

    def _past(self, after: int | None, others: frozenset[str]) -> Iterator[tuple[int, Message]]:
        """Yield the messages that a follower has missed: all of them, if its last number is not of this call."""
        if after is None or after > self._told:
            yield 0, self.hello
            after = 0
        for number, event in self._events:
            if number > after and event.type not in others:
                yield number, event

    def close(self, reason: str) -> None:
        """End the followers' streams, and say why; the channels close with their connection. May be called again."""
        if self._end is not None:
            return
        self._told += 1
        self._end = (self._told, End(reason=reason))
        for queue in self._followers:
            queue.put_nowait(self._end)


def _last_event_id(protocol: str) -> int | None:
    name, _, number = protocol.partition("=")
    return whole_number(number) if name == "last-event-id" else None


def _send(channel: RTCDataChannel, message: Message | str) -> None:
    if channel.readyState != "open":
        return
    try:
        channel.send(message if isinstance(message, str) else message.to_json())
    except (InvalidStateError, ConnectionError):
        # It closed a moment ago; its session will notice.
        return
    except ValueError as error:
        # Longer than the client takes, as a summary with a long subject may be.
        logger.debug("message left out: %s", error)

"""Send one session's messages to its data channels and to the followers of its event stream."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from time import monotonic

from aiortc import InvalidStateError, RTCDataChannel

from voxgender.engine.messages import WARN_EVERY_S
from voxgender.errors import NotReady
from voxgender.protocol import EVENTS_CHANNEL, RESULTS_CHANNEL, Hello, Message, Result, Warning

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
    """Routes a session's messages to channels by their label and reliability, and keeps events for latecomers."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._channels: list[tuple[RTCDataChannel, bool, bool]] = []
        self._followers: set[asyncio.Queue[Message | None]] = set()
        self._events: deque[Message] = deque(maxlen=REMEMBERED)
        self._warned_at: dict[str, float] = {}
        self._closed = False
        self.attached = asyncio.Event()
        """Set once there has been a channel."""

    @property
    def channels(self) -> int:
        """Open data channels."""
        return sum(channel.readyState == "open" for channel, _, _ in self._channels)

    def attach(self, channel: RTCDataChannel) -> None:
        """Greet a new channel and serve it from now on.

        Unreliable ``results`` gets results, reliable ``events`` the rest; any other label or shape gets all.
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
        _send(channel, self._hello)
        if not only_results:
            for event in self._events:
                _send(channel, event)

    def post(self, message: Message) -> None:
        """Send one message to its channels and all followers. Never waits, never raises."""
        is_result = isinstance(message, Result)
        if not is_result:
            self._events.append(message)
        text = message.to_json() if self._channels else ""
        for channel, results, events in self._channels:
            if (results if is_result else events) and not (is_result and channel.bufferedAmount > MAX_BUFFERED):
                _send(channel, text)
        for queue in self._followers:
            if queue.qsize() >= MAX_FOLLOWED:
                queue.get_nowait()
            queue.put_nowait(message)

    def post_now_and_then(self, warning: Warning) -> None:
        """Send a warning that holds for long, and is noticed often, once in ``WARN_EVERY_S``."""
        now = monotonic()
        last = self._warned_at.get(warning.code)
        if last is None or now - last >= WARN_EVERY_S:
            self._warned_at[warning.code] = now
            self.post(warning)

    def follow(self) -> AsyncGenerator[Message, None]:
        """Yield ``hello``, the events so far, and all further messages until the session ends.

        Raises:
            NotReady: the session has ``MAX_FOLLOWERS`` already.
        """
        if len(self._followers) >= MAX_FOLLOWERS:
            raise NotReady("The session has all the followers it may have.", code="at_capacity", retry_after_s=10)
        return self._follow()

    async def _follow(self) -> AsyncGenerator[Message, None]:
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        for past in (self._hello, *self._events):
            queue.put_nowait(past)
        if self._closed:
            queue.put_nowait(None)
        self._followers.add(queue)
        try:
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self._followers.discard(queue)

    def close(self) -> None:
        """End the followers' streams; the channels close with their connection."""
        self._closed = True
        for queue in self._followers:
            queue.put_nowait(None)


def _send(channel: RTCDataChannel, message: Message | str) -> None:
    if channel.readyState != "open":
        return
    try:
        channel.send(message if isinstance(message, str) else message.to_json())
    except (InvalidStateError, ConnectionError):
        # It closed a moment ago; its session will notice.
        return

"""Keep messages until they are due: those of one call in order, tried again after pauses, all within bounds."""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

MAX_WAITING = 10_000
"""Messages that may wait, of all calls together; of more, the newest are dropped."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Pause after a failure, doubled with each further one, from the first to the longest."""
MAX_AGE_S = 3_600.0
"""Time for which a message is tried."""


class Queued(NamedTuple):
    """A message that waits."""

    id: str
    body: bytes
    queued_at: float


class Queue:
    """Messages of one call, in order."""

    def __init__(self, call: str) -> None:
        self.call = call
        """Hash of the call."""
        self.messages: deque[Queued] = deque()
        self.count = 0
        """Number of its latest message, dropped ones counted too."""
        self.failures = 0
        """Failures in a row of its oldest message."""
        self.due_at = 0.0
        self.busy = False
        """True while its oldest message is being sent."""
        self.began_at = 0.0
        """Time at which that began."""
        self.ended = False
        """True once no more messages come."""


class Queues:
    """Messages of all calls, for one receiver.

    Args:
        max_waiting, first_pause_s, longest_pause_s, max_age_s: the bounds of this module.
        clock: returns seconds, as ``time.monotonic``.
    """

    def __init__(
        self,
        *,
        max_waiting: int = MAX_WAITING,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._max_waiting = max_waiting
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        """By the hash of the call."""
        # To look at each of ten thousand calls takes a millisecond, so they are kept by when they are due.
        self._ready: deque[Queue] = deque()
        """Those with a message that is due, the one that has waited longest first."""
        self._later: list[tuple[float, int, Queue]] = []
        """Those whose message is due later: a heap by that time."""
        self._added = itertools.count()
        self._failures = 0
        """Failures in a row of the receiver as a whole, which hold all calls up."""
        self._failed_at = 0.0
        self._due_at = 0.0
        self.waiting = 0
        """Number of messages that wait."""
        self.all_due = False
        """True once each message is due, whatever failed before: the server stops."""

    @property
    def calls(self) -> int:
        """Number of calls that have messages, or may have more."""
        return len(self._queues)

    def add(self, call: str, encode: Callable[[int], bytes], *, is_last: bool = False) -> bool:
        """Add a message of a call, which is numbered even if there is no room for it.

        Args:
            call: hash of the call.
            encode: returns the message of a number.
            is_last: whether no more messages of the call come.

        Returns:
            Whether there was room.
        """
        queue = self._queues.setdefault(call, Queue(call))
        queue.count += 1
        queue.ended = is_last
        if self.waiting >= self._max_waiting:
            self._forget(queue)
            return False
        queue.messages.append(Queued(f"{call}-{queue.count}", encode(queue.count), self._clock()))
        self.waiting += 1
        if len(queue.messages) == 1 and not queue.busy:
            self._line_up(queue)
        return True

    def take(self) -> Queue | None:
        """Return a call whose oldest message is due, the one that has waited longest; its sender releases it."""
        now = self._clock()
        if self._due_at > now and not self.all_due:
            return None
        while self._later and (self._later[0][0] <= now or self.all_due):
            self._ready.append(heapq.heappop(self._later)[2])
        if not self._ready:
            return None
        queue = self._ready.popleft()
        queue.busy, queue.began_at = True, now
        return queue

    def release(self, queue: Queue) -> None:
        """Let a call be taken again, behind the others."""
        queue.busy = False
        if queue.messages:
            self._line_up(queue)
        else:
            self._forget(queue)

    def pause_s(self) -> float:
        """Return the time until a message is due; infinite if none waits."""
        if self._ready:
            return self._due_at - self._clock()
        return max(self._due_at, self._later[0][0]) - self._clock() if self._later else math.inf

    def note_success(self, queue: Queue) -> float:
        """Note that a call's oldest message was sent; return the time that this took since it was added."""
        self._failures = queue.failures = 0
        self._due_at = 0.0
        delay_s = max(0.0, self._clock() - queue.messages[0].queued_at)
        self.drop(queue)
        return delay_s

    def note_failure(self, queue: Queue, asked_s: float, *, of_receiver: bool) -> bool:
        """Note that a call's oldest message was not sent: it is tried again, or dropped if it is too old.

        Args:
            queue: the call.
            asked_s: pause that the receiver asks for; 0 if it asks for none.
            of_receiver: whether other messages would fail as well, so that all calls pause.

        Returns:
            Whether it was dropped.
        """
        now = self._clock()
        asked_s = min(asked_s, self._longest_pause_s)
        queue.failures += 1
        queue.due_at = now + (asked_s or self._pause_after_s(queue.failures))
        if of_receiver and queue.began_at >= self._failed_at:
            # Requests that were under way together count as one.
            self._failures += 1
            self._failed_at = now
            self._due_at = now + (asked_s or self._pause_after_s(self._failures))
        if now - queue.messages[0].queued_at < self._max_age_s:
            return False
        queue.failures, queue.due_at = 0, 0.0
        self.drop(queue)
        return True

    def drop(self, queue: Queue, count: int = 1) -> None:
        """Drop the oldest messages of a call."""
        for _ in range(count):
            queue.messages.popleft()
        self.waiting -= count

    def clear(self) -> int:
        """Drop all messages; return how many there were."""
        waiting, self.waiting = self.waiting, 0
        for queues in (self._queues, self._ready, self._later):
            queues.clear()
        return waiting

    def _line_up(self, queue: Queue) -> None:
        """Let a call that has messages be taken when the oldest one is due."""
        if queue.due_at <= self._clock():
            self._ready.append(queue)
        else:
            heapq.heappush(self._later, (queue.due_at, next(self._added), queue))

    def _forget(self, queue: Queue) -> None:
        """Forget a call of which nothing more will be sent."""
        if queue.ended and not queue.messages and not queue.busy:
            self._queues.pop(queue.call, None)

    def _pause_after_s(self, failures: int) -> float:
        longest = min(self._longest_pause_s, math.ldexp(self._first_pause_s, min(failures - 1, 16)))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

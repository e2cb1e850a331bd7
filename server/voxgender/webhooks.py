"""Tell a receiver of the operator's what happens to calls, by webhooks (https://www.standardwebhooks.com, version 1.0).

Messages of one call arrive in order; those of several calls go out side by side. A receiver that is slow or away holds
up nobody: messages wait in memory, up to a bound, and are tried again until they are too old.
"""

import asyncio
import base64
import binascii
import hmac
import logging
import math
import random
import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import msgspec

from voxgender import metrics
from voxgender.errors import SettingsError
from voxgender.protocol import Change, End, Message, Segment, Start, Usage
from voxgender.roster import LiveCall
from voxgender.sessionids import call_hash
from voxgender.settings import WebhookOptions, is_host
from voxgender.version import __version__

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000
"""Messages that may wait, of all calls together; of more, the newest are dropped."""
MAX_AT_ONCE = 8
"""Requests at a time."""
TIMEOUT_S = 10.0
"""Time for an answer."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""Pause after a failure, doubled with each further one, from the first to the longest."""
MAX_AGE_S = 3_600.0
"""Time for which a message is tried."""
FLUSH_S = 3.0
"""Time for what waits when the server stops."""

_MIN_SECRET, _MAX_SECRET = 24, 64
_SECRET = "whsec_"  # noqa: S105 - the prefix of one
_SECONDS = re.compile("[0-9]{1,6}")
_MAX_ANSWER = 4_096
"""Bytes of an answer that are read, so that the connection can be used again."""


class _Queued(NamedTuple):
    id: str
    body: bytes
    queued_at: float


class _Queue:
    """Messages of one call, in order."""

    def __init__(self) -> None:
        self.messages: deque[_Queued] = deque()
        self.told = 0
        """Number of its latest message, dropped ones counted too."""
        self.failures = 0
        self.due_at = 0.0
        self.busy = False
        self.ended = False


class Webhooks:
    """Sends ``start``, ``change``, ``segment`` and ``end`` of all calls; an observer of a media node.

    Args:
        options: the receiver and the secrets.
        max_waiting, timeout_s, first_pause_s, longest_pause_s, max_age_s: the bounds of this module.
        clock: returns seconds, as ``time.monotonic``.

    Raises:
        SettingsError: the URL or a secret cannot be used.
    """

    def __init__(
        self,
        options: WebhookOptions,
        *,
        max_waiting: int = MAX_WAITING,
        timeout_s: float = TIMEOUT_S,
        first_pause_s: float = FIRST_PAUSE_S,
        longest_pause_s: float = LONGEST_PAUSE_S,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._url, self._keys = check(options)
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._queues: dict[str, _Queue] = {}
        """By the hash of the call; the one that waits for longest first."""
        self._waiting = 0
        self._failures = 0
        """Failures in a row of the receiver as a whole, which hold all calls up."""
        self._failed_at = 0.0
        self._due_at = 0.0
        self._news = asyncio.Event()
        self._closing = False
        self._http: aiohttp.ClientSession | None = None
        self._workers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to send."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_AT_ONCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
        )
        self._workers = [asyncio.create_task(self._work(), name="webhooks") for _ in range(MAX_AT_ONCE)]

    async def close(self, within_s: float = FLUSH_S) -> None:
        """Send what waits, each message once more, and stop. Takes no longer than ``within_s``."""
        self._closing = True
        self._news.set()
        if self._workers:
            await asyncio.wait(self._workers, timeout=within_s)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        if self._waiting:
            logger.warning("%d webhooks were not delivered before the server stopped", self._waiting)
            metrics.WEBHOOKS["unsent"].inc(self._waiting)
            for queue in self._queues.values():
                self._drop(queue, len(queue.messages))

    def on_start(self, call: LiveCall) -> None:
        self._queue(call, Start())

    def on_event(self, call: LiveCall, message: Message) -> None:
        if isinstance(message, (Change, Segment)):
            self._queue(call, message)

    def on_end(self, call: LiveCall, reason: str, usage: Usage) -> None:
        self._queue(call, End(reason=reason), usage=usage)

    def _queue(self, call: LiveCall, message: Message, *, usage: Usage | None = None) -> None:
        shown = call_hash(call.session)
        queue = self._queues.setdefault(shown, _Queue())
        queue.told += 1
        queue.ended = isinstance(message, End)
        if self._waiting >= self._max_waiting:
            metrics.WEBHOOKS["dropped"].inc()
            self._forget(shown, queue)
            return
        now = datetime.now(UTC)
        data: dict[str, Any] = {"call": shown, "seq": queue.told}
        data |= {"name": call.name} if call.name else {}
        data |= {"subject": call.subject} if call.subject is not None else {}
        data |= {"reference": call.reference} if call.reference else {}
        data |= {"tags": call.tags} if call.tags else {}
        if usage is not None:
            data["usage"] = {"audio_s": round(usage.audio_s, 3), "speech_s": round(usage.speech_s, 3)}
        data["message"] = message.to_dict()
        told = {"type": message.type, "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        body = msgspec.json.encode(told | {"data": data})
        queue.messages.append(_Queued(f"{shown}-{queue.told}", body, self._clock()))
        self._waiting += 1
        metrics.WEBHOOKS_WAITING.set(self._waiting)
        self._news.set()

    def _forget(self, shown: str, queue: _Queue) -> None:
        """Forget a call of which nothing more will be sent."""
        if queue.ended and not queue.messages and not queue.busy:
            self._queues.pop(shown, None)

    async def _work(self) -> None:
        while not (self._closing and self._next() is None):
            found = self._next()
            if found is None:
                await self._wait()
                continue
            shown, queue = found
            queue.busy = True
            try:
                await self._send_first(queue)
            finally:
                queue.busy = False
                self._forget(shown, queue)

    def _next(self) -> tuple[str, _Queue] | None:
        """Return a call whose message is due, the one that was served least lately."""
        now = self._clock()
        if self._due_at > now and not self._closing:
            return None
        for shown, queue in self._queues.items():
            if queue.messages and not queue.busy and (queue.due_at <= now or self._closing):
                # It goes behind the others.
                self._queues[shown] = self._queues.pop(shown)
                return shown, queue
        return None

    async def _wait(self) -> None:
        """Wait for a message, or until one is due."""
        now = self._clock()
        dues = [queue.due_at for queue in self._queues.values() if queue.messages and not queue.busy]
        due_at = max(self._due_at, min(dues)) if dues else math.inf
        self._news.clear()
        try:
            async with asyncio.timeout(None if math.isinf(due_at) else max(0.001, due_at - now)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _send_first(self, queue: _Queue) -> None:
        """Send a call's oldest message; it is done with, or has to wait for another try."""
        queued = queue.messages[0]
        began_at = self._clock()
        failure, pause_s = await self._send(queued)
        now = self._clock()
        if failure is None:
            self._failures = queue.failures = 0
            self._due_at = 0.0
            metrics.WEBHOOKS["delivered"].inc()
            metrics.WEBHOOK_SECONDS.observe(max(0.0, now - queued.queued_at))
        else:
            metrics.WEBHOOK_FAILURES[failure].inc()
            if self._closing:
                # The call's later messages would not be in order.
                metrics.WEBHOOKS["unsent"].inc(len(queue.messages))
                self._drop(queue, len(queue.messages))
                return
            # It may be this message alone that fails.
            queue.failures += 1
            queue.due_at = now + (pause_s or self._pause_s(queue.failures))
            if failure != "refused" and began_at >= self._failed_at:
                # Requests that were under way together count as one.
                self._failures += 1
                self._failed_at = now
                self._due_at = now + (pause_s or self._pause_s(self._failures))
            if now - queued.queued_at < self._max_age_s:
                return
            metrics.WEBHOOKS["expired"].inc()
            queue.failures, queue.due_at = 0, 0.0
        self._drop(queue, 1)
        self._news.set()

    def _drop(self, queue: _Queue, count: int) -> None:
        for _ in range(count):
            queue.messages.popleft()
        self._waiting -= count
        metrics.WEBHOOKS_WAITING.set(self._waiting)

    def _pause_s(self, failures: int) -> float:
        longest = min(self._longest_pause_s, math.ldexp(self._first_pause_s, min(failures - 1, 16)))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    async def _send(self, queued: _Queued) -> tuple[metrics.WebhookFailure | None, float]:
        """Send one message; return why it failed, if it did, and the pause that the receiver asks for."""
        assert self._http is not None
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"voxgender/{__version__}",
            **signed(self._keys, queued.id, int(time()), queued.body),
        }
        try:
            # A redirect would send the message to somebody whom nobody has named, perhaps within this network.
            async with self._http.post(self._url, data=queued.body, headers=headers, allow_redirects=False) as response:
                await response.content.read(_MAX_ANSWER)
                if 200 <= response.status < 300:
                    return None, 0.0
                asked = response.headers.get("Retry-After", "")
                pause_s = min(float(asked), self._longest_pause_s) if _SECONDS.fullmatch(asked) else 0.0
                busy = response.status in (408, 425, 429) or response.status >= 500
                self._warn(f"answers {response.status}")
                return ("busy" if busy else "refused"), pause_s
        except TimeoutError:
            self._warn("does not answer in time")
            return "late", 0.0
        except (aiohttp.ClientError, OSError) as error:
            self._warn(f"cannot be reached ({type(error).__name__})")
            return "unreachable", 0.0

    def _warn(self, what: str) -> None:
        # Its path may be a secret.
        logger.warning("the webhooks' receiver %s %s", urlsplit(self._url).hostname, what, extra={"kind": "webhook"})


def check(options: WebhookOptions) -> tuple[str, Sequence[bytes]]:
    """Return the receiver's URL and the keys.

    Raises:
        SettingsError: they cannot be used.
    """
    if not _is_receiver(options.webhook):
        raise SettingsError(
            "--webhook (VOXGENDER_WEBHOOK) takes an http or https URL without a password, as https://app.example/voices"
        )
    keys = [_key(secret) for secret in options.webhook_secret]
    if not keys:
        raise SettingsError(
            'webhooks are signed: set VOXGENDER_WEBHOOK_SECRET, as `echo "whsec_$(openssl rand -base64 32)"` makes one'
        )
    return options.webhook, keys


def signed(keys: Sequence[bytes], id_: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a message (Standard Webhooks 1.0, "Signature scheme"), by each key.

    Args:
        id_: the message's id, the same in each attempt.
        at_s: time of this attempt, seconds since the epoch.
        body: the request's body.
    """
    text = f"{id_}.{at_s}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, text, "sha256")).decode() for key in keys)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_SECRET) or not _MIN_SECRET <= len(key) <= _MAX_SECRET:
        raise SettingsError(
            "--webhook-secret (VOXGENDER_WEBHOOK_SECRET) takes whsec_ and "
            f"{_MIN_SECRET} to {_MAX_SECRET} bytes in base64, "
            'as `echo "whsec_$(openssl rand -base64 32)"` makes one'
        )
    return key


def _is_receiver(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https")
            and "@" not in parts.netloc
            and not parts.fragment
            and url.isascii()
            and url.isprintable()
            and " " not in url
            and is_host(parts.hostname or "")
            and parts.port != 0
        )
    except ValueError:
        return False

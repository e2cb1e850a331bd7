"""Send what happens to calls to the receiver.

Messages of one call arrive in order; those of several calls go out side by side. A receiver that is slow or away holds
up nobody: messages wait in memory, up to a bound, and are tried again until they are too old.
"""

import asyncio
import logging
import math
from contextlib import suppress
from datetime import UTC, datetime
from time import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from voxgender import metrics
from voxgender.protocol import Change, End, Message, Segment, Start, Usage
from voxgender.received import whole_number
from voxgender.roster import LiveCall
from voxgender.sessionids import call_hash
from voxgender.settings import WebhookOptions
from voxgender.version import __version__
from voxgender.webhooks.queues import Queue, Queued, Queues
from voxgender.webhooks.signing import check, signed

logger = logging.getLogger(__name__)

MAX_AT_ONCE = 8
"""Requests at a time."""
TIMEOUT_S = 10.0
"""Time for an answer."""
FLUSH_S = 3.0
"""Time for messages that wait when the server stops."""

_MAX_ANSWER = 4_096
"""Bytes of an answer's body that are read, so that the connection can be used again."""
_BODY_S = 1.0
"""Time for them."""
_MAX_ASKED_S = 999_999
"""Greatest ``Retry-After`` that is heeded, though no pause is as long."""


class Webhooks:
    """Sends ``start``, ``change``, ``segment`` and ``end`` of all calls; an observer of a media node.

    Args:
        options: the receiver and the secrets.
        queues: keep messages until they are due.
        timeout_s: time for an answer.

    Raises:
        SettingsError: the URL or a secret cannot be used.
    """

    def __init__(self, options: WebhookOptions, queues: Queues | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url, self._keys = check(options)
        self._timeout_s = timeout_s
        self.queues = queues or Queues()
        self._news = asyncio.Event()
        self._http: aiohttp.ClientSession | None = None
        self._workers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to send."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_AT_ONCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            # Nobody looks at an answer's body, so it need not be unpacked.
            auto_decompress=False,
        )
        self._workers = [asyncio.create_task(self._work(), name="webhooks") for _ in range(MAX_AT_ONCE)]

    async def close(self, within_s: float = FLUSH_S) -> None:
        """Send what waits, each message once more, and stop. Takes no longer than ``within_s``."""
        self.queues.all_due = True
        self._news.set()
        if self._workers:
            await asyncio.wait(self._workers, timeout=within_s)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        if unsent := self.queues.clear():
            logger.warning("%d webhooks were not delivered before the server stopped", unsent)
            metrics.WEBHOOKS["unsent"].inc(unsent)
        metrics.WEBHOOKS_WAITING.set(0)

    def on_start(self, call: LiveCall) -> None:
        self._add(call, Start())

    def on_event(self, call: LiveCall, message: Message) -> None:
        if isinstance(message, (Change, Segment)):
            self._add(call, message)

    def on_end(self, call: LiveCall, reason: str, usage: Usage) -> None:
        self._add(call, End(reason=reason), usage)

    def _add(self, call: LiveCall, message: Message, usage: Usage | None = None) -> None:
        def encode(number: int) -> bytes:
            return _body(call, number, message, usage)

        if not self.queues.add(call_hash(call.session), encode, is_last=isinstance(message, End)):
            metrics.WEBHOOKS["dropped"].inc()
            return
        metrics.WEBHOOKS_WAITING.set(self.queues.waiting)
        self._news.set()

    async def _work(self) -> None:
        while True:
            queue = self.queues.take()
            if queue is not None:
                try:
                    await self._send_first(queue)
                finally:
                    self.queues.release(queue)
                    metrics.WEBHOOKS_WAITING.set(self.queues.waiting)
            elif self.queues.all_due:
                return
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Wait for a message, or until one is due."""
        pause_s = self.queues.pause_s()
        self._news.clear()
        try:
            async with asyncio.timeout(None if math.isinf(pause_s) else max(0.001, pause_s)):
                await self._news.wait()
        except TimeoutError:
            return

    async def _send_first(self, queue: Queue) -> None:
        """Send a call's oldest message; it is done with, or has to wait for another try."""
        failure, asked_s = await self._send(queue.messages[0])
        if failure is None:
            metrics.WEBHOOK_SECONDS.observe(self.queues.note_success(queue))
            metrics.WEBHOOKS["delivered"].inc()
        else:
            metrics.WEBHOOK_FAILURES[failure].inc()
            if self.queues.all_due:
                # The call's later messages would not be in order.
                metrics.WEBHOOKS["unsent"].inc(len(queue.messages))
                self.queues.drop(queue, len(queue.messages))
                return
            # If it is refused, it may be this message alone that fails.
            if not self.queues.note_failure(queue, asked_s, of_receiver=failure != "refused"):
                return
            metrics.WEBHOOKS["expired"].inc()
        self._news.set()

    async def _send(self, queued: Queued) -> tuple[metrics.WebhookFailure | None, float]:
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
                # The status is the answer. A body that is cut off, or late, does not take it back.
                with suppress(aiohttp.ClientError, OSError):
                    async with asyncio.timeout(_BODY_S):
                        await response.content.read(_MAX_ANSWER)
                if 200 <= response.status < 300:
                    return None, 0.0
                asked_s = whole_number(response.headers.get("Retry-After", ""), _MAX_ASKED_S) or 0.0
                busy = response.status in (408, 425, 429) or response.status >= 500
                self._warn(f"answers {response.status}")
                return ("busy" if busy else "refused"), asked_s
        except TimeoutError:
            self._warn("does not answer in time")
            return "late", 0.0
        except (aiohttp.ClientError, OSError) as error:
            self._warn(f"cannot be reached ({type(error).__name__})")
            return "unreachable", 0.0

    def _warn(self, what: str) -> None:
        # Its path may be a secret.
        logger.warning("the webhooks' receiver %s %s", urlsplit(self._url).hostname, what, extra={"kind": "webhook"})


def _body(call: LiveCall, number: int, message: Message, usage: Usage | None) -> bytes:
    """Return the body of the request that tells a call's message."""
    data: dict[str, Any] = {"call": call_hash(call.session), "seq": number}
    data |= {"name": call.name} if call.name else {}
    data |= {"subject": call.subject} if call.subject is not None else {}
    data |= {"reference": call.reference} if call.reference else {}
    data |= {"tags": call.tags} if call.tags else {}
    if usage is not None:
        data["usage"] = {"audio_s": round(usage.audio_s, 3), "speech_s": round(usage.speech_s, 3)}
    data["message"] = message.to_dict()
    told_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return msgspec.json.encode({"type": message.type, "timestamp": told_at, "data": data})

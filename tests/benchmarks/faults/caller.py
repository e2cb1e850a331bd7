"""A caller who wants results all the time, and acts as the browser client does when none come."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Self

import aiohttp

from tests.benchmarks.faults.wire import Conditions, Wire
from tests.rtc import SDP, Peer, ToneTrack
from voxgender import protocol

QUIET_S = 1.5
"""Without a result, after which a fresh call is made beside the old one (``QUIET_MS`` of client/src/session.js)."""
RETRY_S = 0.5
"""From one try to the next (client/src/reconnect-policy.js: up to a second where nothing answers)."""
CONNECT_S = 3.0
"""For a fresh call to give its first result (``ICE_TIMEOUT_MS`` of client/src/caller.js).

aioice doubles the intervals between its checks, so that a call placed early in an outage looks for its end more and
more rarely.
"""
ANSWER_S = 10.0
"""For the answer to an offer."""
HOP_S = 0.192


class Caller:
    """Speaks without pause through a bad network.

    Args:
        urls: where calls are placed, the first that answers.
        conditions: of the network.
    """

    def __init__(self, urls: Sequence[str], conditions: Conditions) -> None:
        self.arrivals: list[float] = []
        """When each result came."""
        self.seen: Counter[str] = Counter()
        """Other things that the caller met."""
        self.wire: Wire | None = None
        self._urls = list(urls)
        self._conditions = conditions
        self._peer: Peer | None = None
        self._task: asyncio.Task[None] | None = None
        self._listening: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=1.0)
        self._http = aiohttp.ClientSession(timeout=timeout)
        self._task = asyncio.create_task(self._keep_up())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        for task in (self._task, *self._listening):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._peer is not None:
            await self._close(self._peer, self.wire)
        await self._http.close()

    async def result(self, after: float) -> float:
        """Wait for a result that comes after a time; return when it came."""
        while not self.arrivals or self.arrivals[-1] <= after:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return next(at for at in self.arrivals if at > after)

    def longest_gap_s(self, since: float, until: float) -> float:
        """Return the longest time without a result between two times."""
        times = [since, *(at for at in self.arrivals if since < at < until), until]
        return max(later - earlier for earlier, later in pairwise(times))

    async def _keep_up(self) -> None:
        while True:
            began_at = time.monotonic()
            last = self.arrivals[-1] if self.arrivals else began_at
            if self._peer is not None and began_at - last < QUIET_S:
                await asyncio.sleep(0.05)
                continue
            if self._peer is not None:
                self.seen["fresh call"] += 1
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                await self._call_afresh()
            await asyncio.sleep(max(0.0, began_at + RETRY_S - time.monotonic()))

    async def _call_afresh(self) -> None:
        """Place a call, and leave the old one once the new one has given a result, or the old one has."""
        peer = Peer(ToneTrack())
        peer.channels()
        wire = None
        old, old_wire = self._peer, self.wire
        before = len(self.arrivals)
        try:
            answer = await self._offer(peer)
            wire, answer = await Wire.open(self._conditions, answer)
            await peer.accept(answer)
            task = asyncio.create_task(self._listen(peer))
            self._listening.add(task)
            task.add_done_callback(self._listening.discard)
            async with asyncio.timeout(CONNECT_S):
                while len(self.arrivals) == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except BaseException:
            await self._close(peer, wire)
            raise
        self._peer, self.wire = peer, wire
        if old is not None:
            await self._close(old, old_wire)

    async def _offer(self, peer: Peer) -> str:
        offer = "".join(
            line
            for line in (await peer.offer()).splitlines(keepends=True)
            if not line.startswith(("a=candidate", "a=end-of-candidates"))
        )
        for url in self._urls:
            try:
                async with self._http.post(f"{url}/whip", data=offer, headers=SDP) as response:
                    if response.status == 201:
                        return await response.text()
                    self.seen[f"{response.status}"] += 1
            except (aiohttp.ClientError, TimeoutError) as error:
                self.seen["no answer" if isinstance(error, TimeoutError) else "no connection"] += 1
        raise TimeoutError

    async def _listen(self, peer: Peer) -> None:
        while True:
            message = await peer.messages.get()
            if isinstance(message, protocol.Result):
                self.arrivals.append(time.monotonic())
            elif isinstance(message, protocol.Error | protocol.Warning):
                self.seen[message.code] += 1

    async def _close(self, peer: Peer, wire: Wire | None) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(peer.close(), 2)
        if wire is not None:
            wire.close()

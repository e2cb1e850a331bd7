"""Load one's own server with many callers, and measure how many calls it holds, and how well."""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

import aiohttp
import numpy as np

from voxgender.errors import CallError
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.peer.faults import Faults, FaultyLink
from voxgender.peer.interrupt import interruptible
from voxgender.peer.listen import StreamCaller
from voxgender.peer.loadreport import OVERLOADED, LoadReport, Progress, summarise
from voxgender.peer.loadspeech import encode, shares
from voxgender.peer.meter import Meter, Reading
from voxgender.peer.pacer import Pacer
from voxgender.peer.whip import endpoint, is_loopback
from voxgender.protocol import AnyMessage, Result, Warning

CALLS_PER_S = 10.0
"""Greatest rate of new calls: a rush of DTLS handshakes would be another test."""
CONNECTING = 5
"""Calls that may connect at the same time, so that a slow machine does not get all handshakes at once."""
FIRST_RESULT_S = 2.0
"""Time for the first results of connected calls before the measurement begins."""
Transport = Literal["webrtc", "websocket"]
"""Way of the callers' audio."""

_NO_FAULTS = Faults()


async def load(
    url: str,
    *,
    peers: int,
    seconds: float,
    audio: Sequence[Path] = (),
    token: str | None = None,
    transport: Transport = "webrtc",
    allow_remote: bool = False,
    faults: Faults = _NO_FAULTS,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> LoadReport:
    """Place ``peers`` calls, hold them together for ``seconds``, and hang up. Ctrl-C ends early, with a report.

    Args:
        url: the server, ``http://host:port`` or its ``…/whip``.
        audio: files to play over and over; by default synthesised dialogues.
        transport: way of the audio; Opus packets on either.
        allow_remote: call a server that is not on this machine.
        faults: faults of every call's network; an outage hits all calls at once, half-way.
        on_progress: called about once a second.

    Raises:
        AudioError: a file cannot be read.
        CallError: the server is not on this machine, or cannot be reached at all.
    """
    target = endpoint(url)
    if not allow_remote and not is_loopback(target):
        raise CallError(f"{target.host} is not this machine; load your own servers only, and say --allow-remote")
    if transport == "websocket" and faults.any:
        raise CallError("faults are of UDP packets, and TCP mends its own: leave them out with --transport websocket")
    voices = await speech.in_thread(partial(encode, audio, faults.loss))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    pacer = Pacer()
    speeches = shares(voices, peers)
    callers: list[Caller] | list[StreamCaller]
    if transport == "websocket":
        callers = [StreamCaller(url, words, token=token, pacer=pacer) for words in speeches]
    else:
        callers = [
            Caller(url, words, token=token, pacer=pacer, link=FaultyLink(faults, number) if faults.any else None)
            for number, words in enumerate(speeches)
        ]
    async with aiohttp.ClientSession(headers=headers) as http, asyncio.TaskGroup() as group:
        meter = Meter(http, target.with_path(target.path.removesuffix("/whip") + "/metrics"))
        run = _LoadRun(callers, faults, on_progress)
        with interruptible(run.stop):
            idle = await meter.read()
            await run.place_calls(group)
            begin = await meter.read()
            held = await run.hold(seconds)
            end = await meter.read()
            run.hang_up()
    if not held:
        raise CallError(run.commonest_failure or "interrupted before a call was up")
    return run.report((idle, begin, end))


class _LoadRun:
    """The calls of one run."""

    def __init__(
        self, callers: Sequence[Caller | StreamCaller], faults: Faults, on_progress: Callable[[Progress], None]
    ) -> None:
        self._callers = callers
        self._faults = faults
        self._on_progress = on_progress
        self._stopped = asyncio.Event()
        self._placed = 0
        self._connecting = 0
        self._connected: set[Caller | StreamCaller] = set()
        self._stayed: list[Caller | StreamCaller] = []
        self._results = 0
        self._drops = 0
        self._recent: deque[tuple[float, float]] = deque()
        self._failures: Counter[str] = Counter()

    @property
    def commonest_failure(self) -> str:
        return next((reason for reason, _ in self._failures.most_common(1)), "")

    def stop(self) -> None:
        self._stopped.set()

    async def place_calls(self, group: asyncio.TaskGroup) -> None:
        """Place one call after another; return when every one is up or has failed."""
        for caller in self._callers:
            if self._stopped.is_set():
                break
            self._placed += 1
            self._connecting += 1
            group.create_task(self._run_caller(caller))
            self._report_progress(0.0)
            await self._pause(1 / CALLS_PER_S)
            await self._wait_until(lambda: self._connecting < CONNECTING)
        await self._wait_until(lambda: self._connecting == 0)
        deadline = time.monotonic() + FIRST_RESULT_S
        await self._wait_until(lambda: self._without_result == 0 or time.monotonic() > deadline)

    @property
    def _without_result(self) -> int:
        """Return the number of connected calls without a result."""
        return sum(caller.recorder.first_result_ms is None for caller in self._connected)

    async def hold(self, seconds: float) -> int:
        """Wait while the calls go on; return how many are still connected."""
        end = time.monotonic() + seconds
        cutting = asyncio.get_running_loop().call_later(seconds / 2, self._cut)
        try:
            while (left := end - time.monotonic()) > 0 and self._connected and not self._stopped.is_set():
                self._report_progress(left)
                await self._pause(min(1.0, left))
        finally:
            cutting.cancel()
        return len(self._connected)

    def hang_up(self) -> None:
        for caller in self._callers[: self._placed]:
            caller.hang_up()

    def report(self, readings: tuple[Reading, Reading, Reading]) -> LoadReport:
        return summarise(
            [caller.recorder for caller in self._callers[: self._placed]],
            [caller.recorder for caller in self._stayed],
            self._failures,
            readings,
            asked=len(self._callers),
            faults=self._faults,
        )

    async def _run_caller(self, caller: Caller | StreamCaller) -> None:
        def connected() -> None:
            self._connected.add(caller)
            self._connecting -= 1

        try:
            await caller.run(partial(self._on_message, caller), on_connected=connected)
            if caller in self._connected:
                self._stayed.append(caller)
        except CallError as error:
            self._failures[str(error)] += 1
        finally:
            self._connecting -= caller not in self._connected
            self._connected.discard(caller)

    def _on_message(self, caller: Caller | StreamCaller, message: AnyMessage) -> None:
        match message:
            case Result():
                self._results += 1
                self._recent.append((time.monotonic(), caller.recorder.latest_ms))
            case Warning():
                self._drops += message.code == OVERLOADED

    def _cut(self) -> None:
        for caller in self._callers[: self._placed]:
            if caller.link is not None:
                caller.link.cut()

    def _report_progress(self, seconds_left: float) -> None:
        since = time.monotonic() - 1.0
        while self._recent and self._recent[0][0] < since:
            self._recent.popleft()
        latencies = [latency for _, latency in self._recent if not math.isnan(latency)]
        self._on_progress(
            Progress(
                seconds_left,
                len(self._connected),
                sum(self._failures.values()),
                self._results,
                len(self._recent),
                float(np.percentile(latencies, 95)) if latencies else math.nan,
                self._drops,
            )
        )

    async def _wait_until(self, reached: Callable[[], bool]) -> None:
        while not reached() and not self._stopped.is_set():
            await self._pause(0.05)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

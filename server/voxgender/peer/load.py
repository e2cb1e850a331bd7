"""Load one's own server with many callers, and measure how many calls it holds, and how well."""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, cycle, islice, takewhile
from pathlib import Path
from threading import Event
from typing import Literal, NamedTuple

import aiohttp
import msgspec
import numpy as np

from voxgender.errors import CallError
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.peer.faults import Faults, FaultyLink
from voxgender.peer.interrupt import interruptible
from voxgender.peer.listen import StreamCaller
from voxgender.peer.meter import Meter, Reading
from voxgender.peer.pacer import Pacer
from voxgender.peer.report import IN_TIME_MS, Latency, Recorder
from voxgender.peer.speech import PACKET_S, Speech
from voxgender.peer.whip import endpoint, is_loopback
from voxgender.protocol import AnyMessage, Result, Warning

CALLS_PER_S = 10.0
"""Greatest rate of new calls: a rush of DTLS handshakes would be another test."""
CONNECTING = 5
"""Calls that may connect at the same time, so that a slow machine does not get all handshakes at once."""
FIRST_RESULT_S = 2.0
"""Time for the first results of connected calls before the measurement begins."""
VOICES = 2
"""Different dialogues that the callers share; each caller begins at another place."""
MAX_FILE_S = 3_600.0
"""Length of a file that is kept and repeated; files may be endless."""
FLOWING = 0.9
"""Share of a call's expected results that have to arrive; the others may be lost."""
OVERLOADED = "overloaded"
"""Code of the server's warning that windows of a call were dropped."""

Transport = Literal["webrtc", "websocket"]
"""Way of the callers' audio."""

_NO_FAULTS = Faults()


class LoadReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="load_report"):
    """The outcome of a load: each call's report, and the server's own figures while all calls were up."""

    asked: int
    up: int
    """Calls that came up and stayed until they were hung up."""
    held: int
    """Calls of these whose results arrived, with no window dropped, 95 % of them within 200 ms."""
    not_held: dict[str, int]
    """Number of the others by reason: ``silent``, ``dropped``, ``late``."""
    failed: dict[str, int]
    """Calls that did not come up or did not stay, by reason."""
    seconds: float
    """Length of the measurement, with all calls connected; the figures below are of this time."""
    results: int
    results_per_s: float
    lost_results: int
    """Results lost over the calls' whole life."""
    dropped_windows: int | None
    """Windows not classified because the server could not keep up; ``None`` if its metrics cannot be read."""
    warnings: dict[str, int]
    connect_ms: Latency | None
    """Time from the offer until the first packet could be sent."""
    first_result_ms: Latency | None
    """From the offer."""
    latency_ms: Latency | None
    """By the callers' clock: from the sending of a window's last packet, even if it is lost or late on the way, to the
    result's arrival. Windows that end in an outage are left out."""
    worst_call_ms: Latency | None
    """Latency of the call with the highest 95th percentile."""
    server_latency_ms: Latency | None
    server_stages_ms: dict[str, Latency]
    """Time of each stage by the server's ``/metrics``. Percentiles are read off a histogram."""
    recovery_ms: Latency | None
    """Time from an outage's end until results come in time again."""
    not_recovered: int
    """Calls whose results did not come in time again after an outage."""
    server_cpu_percent: float | None
    """Server's CPU time as a share of one core, for all calls together."""
    server_cpu_percent_per_call: float | None
    server_memory_mb: float | None
    server_memory_mb_per_call: float | None
    """Growth since before the first call."""
    callers_cpu_percent: float
    """Callers' CPU time as a share of one core. Near 100 the callers are the bottleneck, not the server."""
    callers_cpu_percent_per_call: float
    faults: Faults
    """Faults of the callers' network."""


class Progress(NamedTuple):
    """The progress of a run."""

    seconds_left: float
    up: int
    failed: int
    results: int
    results_per_s: float
    """Over the last second or so, as ``p95_ms``."""
    p95_ms: float
    """``nan`` where there was no result."""
    drops: int
    """Warnings that windows were dropped."""


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
    voices = await speech.in_thread(partial(_voices, audio, faults.loss))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    pacer = Pacer()
    shares = _shares(voices, peers)
    callers: list[Caller] | list[StreamCaller]
    if transport == "websocket":
        callers = [StreamCaller(url, words, token=token, pacer=pacer) for words in shares]
    else:
        callers = [
            Caller(url, words, token=token, pacer=pacer, link=FaultyLink(faults, number) if faults.any else None)
            for number, words in enumerate(shares)
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
    return run.report(idle, begin, end)


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

    def report(self, idle: Reading, begin: Reading, end: Reading) -> LoadReport:
        recorders = [caller.recorder for caller in self._callers[: self._placed]]
        measured = [recorder.between(begin.at, end.at) for recorder in recorders]
        each = [latency[~np.isnan(latency)] for latency, _ in measured]
        server_latencies = np.concatenate([latency for _, latency in measured])
        seconds = end.at - begin.at
        not_held = Counter(
            reason for caller in self._stayed if (reason := _why_not_held(caller.recorder, begin.at, end.at))
        )
        recoveries = [recovery for recorder in recorders for recovery in recorder.recovery_ms]
        up = len(self._stayed)
        cpu = _difference(begin.cpu_s, end.cpu_s, 100 / seconds)
        own_cpu = (end.own_cpu_s - begin.own_cpu_s) / seconds * 100
        dropped = _difference(begin.dropped, end.dropped, 1)
        return LoadReport(
            asked=len(self._callers),
            up=up,
            held=up - not_held.total(),
            not_held=dict(not_held),
            failed=dict(self._failures.most_common()),
            seconds=round(seconds, 1),
            results=server_latencies.size,
            results_per_s=round(server_latencies.size / seconds, 1),
            lost_results=sum(recorder.lost_results for recorder in recorders),
            dropped_windows=None if dropped is None else round(dropped),
            warnings=dict(sum((recorder.warnings for recorder in recorders), Counter[str]())),
            connect_ms=Latency.of([recorder.connect_ms for recorder in recorders if recorder.connect_ms]),
            first_result_ms=Latency.of([first for r in recorders if (first := r.first_result_ms) is not None]),
            latency_ms=Latency.of(np.concatenate(each)),
            worst_call_ms=max((Latency.of(latency) for latency in each), key=_p95, default=None),
            server_latency_ms=Latency.of(server_latencies),
            server_stages_ms=end.stages_since(begin),
            recovery_ms=Latency.of([recovery for recovery in recoveries if recovery is not None]),
            not_recovered=recoveries.count(None),
            server_cpu_percent=_share(cpu, 1),
            server_cpu_percent_per_call=_share(cpu, up),
            server_memory_mb=_share(end.memory_bytes, 1e6),
            server_memory_mb_per_call=_share(_difference(idle.memory_bytes, end.memory_bytes, 1e-6), up),
            callers_cpu_percent=round(own_cpu, 1),
            callers_cpu_percent_per_call=round(own_cpu / max(1, up), 2),
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


def _why_not_held(recorder: Recorder, begin: float, end: float) -> str | None:
    """Return why a call that stayed up was not held, or None."""
    latencies_ms, _ = recorder.between(begin, end)
    out_s = sum(max(0.0, min(until, end) - max(since, begin)) for since, until in recorder.outages)
    # Results at the edges of the measurement and of an outage are not expected.
    due = math.inf if recorder.hop_ms is None else (end - begin - out_s) * 1000 / recorder.hop_ms - 2
    if latencies_ms.size < FLOWING * due:
        return "silent"
    if recorder.warnings[OVERLOADED]:
        return "dropped"
    latency = Latency.of(latencies_ms[~np.isnan(latencies_ms)])
    return "late" if latency is None or latency.p95 > IN_TIME_MS else None


def _voices(audio: Sequence[Path], loss: float, given_up: Event) -> list[tuple[list[bytes], list[bytes]]]:
    """Encode the speech of all callers once; of a file the first :data:`MAX_FILE_S`."""
    if audio:
        sources = [speech.from_file(path, loss, given_up) for path in audio]
    else:
        sources = [speech.synthesised(seed, loss=loss) for seed in range(VOICES)]

    def first(packets: Iterable[bytes], duration_s: float) -> list[bytes]:
        return list(takewhile(lambda _: not given_up.is_set(), islice(packets, round(MAX_FILE_S / duration_s))))

    return [(first(source.packets, PACKET_S), first(source.wideband or (), 2 * PACKET_S)) for source in sources]


def _shares(voices: Sequence[tuple[list[bytes], list[bytes]]], peers: int) -> Iterator[Speech]:
    """Give every caller endless speech that begins at another place."""
    for number in range(peers):
        packets, wideband = (
            chain(islice(voice, len(voice) * number // peers, None), cycle(voice))
            for voice in voices[number % len(voices)]
        )
        yield Speech(packets, (), wideband)


def _p95(latency: Latency | None) -> float:
    return latency.p95 if latency else -1.0


def _difference(begin: float | None, end: float | None, scale: float) -> float | None:
    return None if begin is None or end is None else (end - begin) * scale


def _share(value: float | None, of: float) -> float | None:
    return None if value is None or not of else round(value / of, 2)

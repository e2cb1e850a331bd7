"""Many callers at once, against one's own server: how many calls it holds, and how well."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, cycle, islice
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from voxgender.errors import CallError
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.peer.interrupt import interruptible
from voxgender.peer.report import Latency
from voxgender.peer.speech import Speech
from voxgender.peer.whip import endpoint, is_loopback
from voxgender.protocol import AnyMessage, Result, Warning

CALLS_PER_S = 10.0
"""Calls are placed one after another at this rate: a rush of DTLS handshakes is another test."""
VOICES = 4
"""Different dialogues that the callers share; each begins somewhere else in its own."""


class LoadReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="load_report"):
    """What became of the calls, and what the server made of them while all were up."""

    asked: int
    held: int
    """Calls that came up and stayed until they were hung up."""
    failed: dict[str, int]
    """The others, by reason."""
    seconds: float
    """Measured, all calls up; the figures below are of this time."""
    results: int
    results_per_s: float
    lost_results: int
    """Over the calls' whole life."""
    dropped_windows: int | None
    """Not classified because the server could not keep up; ``None`` where its metrics cannot be read."""
    warnings: dict[str, int]
    latency_ms: Latency | None
    """By the callers' clock: from the sending of a window's last packet to the result's arrival."""
    server_latency_ms: Latency | None
    server_cpu_percent: float | None
    """Of one core, all calls together."""
    server_cpu_percent_per_call: float | None
    server_memory_mb: float | None
    server_memory_mb_per_call: float | None
    """Growth since before the first call."""
    callers_cpu_percent: float
    """Of one core, all callers together. Near 100 it is they who are slow, not the server."""


class Progress(NamedTuple):
    """Where a run stands."""

    seconds_left: float
    up: int
    failed: int
    results: int


async def load(
    url: str,
    *,
    peers: int,
    seconds: float,
    audio: Sequence[Path] = (),
    token: str | None = None,
    allow_remote: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> LoadReport:
    """Place ``peers`` calls, hold them together for ``seconds``, and hang up. Ctrl-C ends early, with a report.

    Args:
        url: the server, ``http://host:port`` or its ``…/whip``.
        audio: files to play over and over; by default synthesised dialogues.
        allow_remote: call a server that is not on this machine.
        on_progress: called about once a second.

    Raises:
        AudioError: a file cannot be read.
        CallError: the server is not on this machine, or cannot be reached at all.
    """
    target = endpoint(url)
    if not allow_remote and not is_loopback(target):
        raise CallError(f"{target.host} is not this machine; load your own servers only, and say --allow-remote")
    voices = await asyncio.to_thread(_voices, audio)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(headers=headers) as http, asyncio.TaskGroup() as group:
        meter = _Meter(http, target.with_path(target.path.removesuffix("/whip") + "/metrics"))
        run = _Run(on_progress)
        with interruptible(run.stop):
            idle = await meter.read()
            await run.place_calls(group, [Caller(url, words, token=token) for words in _shares(voices, peers)])
            begin = await meter.read()
            held = await run.hold(seconds)
            end = await meter.read()
            run.hang_up()
    if not held:
        raise CallError(run.commonest_failure or "interrupted before a call was up")
    return run.report(idle, begin, end)


class _Reading(NamedTuple):
    """The server's meters and ours, at one moment."""

    at: float
    own_cpu_s: float
    cpu_s: float | None
    memory_bytes: float | None
    dropped: float | None


class _Meter:
    """Reads a server's ``/metrics``, if it shows any."""

    def __init__(self, http: aiohttp.ClientSession, url: URL) -> None:
        self._http = http
        self._url = url

    async def read(self) -> _Reading:
        values: dict[str, float] = {}
        try:
            async with self._http.get(self._url, timeout=aiohttp.ClientTimeout(total=5)) as response:
                if response.ok:
                    for family in text_string_to_metric_families(await response.text()):
                        values.update({sample.name: sample.value for sample in family.samples})
        except (aiohttp.ClientError, TimeoutError, ValueError):
            values = {}
        return _Reading(
            at=time.monotonic(),
            own_cpu_s=time.process_time(),
            cpu_s=values.get("process_cpu_seconds_total"),
            memory_bytes=values.get("process_resident_memory_bytes"),
            dropped=values.get("voxgender_windows_dropped_total"),
        )


class _Run:
    """The calls of one run."""

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        self._on_progress = on_progress
        self._callers: list[Caller] = []
        self._asked = 0
        self._stopped = asyncio.Event()
        self._settled = 0
        self._up = 0
        self._held = 0
        self._results = 0
        self._failures: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()

    @property
    def commonest_failure(self) -> str:
        return next((reason for reason, _ in self._failures.most_common(1)), "")

    def stop(self) -> None:
        self._stopped.set()

    async def place_calls(self, group: asyncio.TaskGroup, callers: Sequence[Caller]) -> None:
        """Place one call after another; return when every one is up or has failed."""
        self._asked = len(callers)
        for caller in callers:
            if self._stopped.is_set():
                break
            self._callers.append(caller)
            group.create_task(self._see_through(caller))
            self._tell(0.0)
            await self._pause(1 / CALLS_PER_S)
        while self._settled < len(self._callers) and not self._stopped.is_set():
            await self._pause(0.1)

    async def hold(self, seconds: float) -> int:
        """Wait while the calls go on. Returns how many still do."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._up and not self._stopped.is_set():
            self._tell(left)
            await self._pause(min(1.0, left))
        return self._up

    def hang_up(self) -> None:
        for caller in self._callers:
            caller.hang_up()

    def report(self, idle: _Reading, begin: _Reading, end: _Reading) -> LoadReport:
        recorders = [caller.recorder for caller in self._callers]
        measured = [recorder.between(begin.at, end.at) for recorder in recorders]
        latencies = np.concatenate([latency for latency, _ in measured])
        server_latencies = np.concatenate([latency for _, latency in measured])
        seconds = end.at - begin.at
        cpu = _difference(begin.cpu_s, end.cpu_s, 100 / seconds)
        dropped = _difference(begin.dropped, end.dropped, 1)
        return LoadReport(
            asked=self._asked,
            held=self._held,
            failed=dict(self._failures.most_common()),
            seconds=round(seconds, 1),
            results=server_latencies.size,
            results_per_s=round(server_latencies.size / seconds, 1),
            lost_results=sum(recorder.lost_results for recorder in recorders),
            dropped_windows=None if dropped is None else round(dropped),
            warnings=dict(self._warnings),
            latency_ms=Latency.of(latencies[~np.isnan(latencies)]),
            server_latency_ms=Latency.of(server_latencies),
            server_cpu_percent=_share(cpu, 1),
            server_cpu_percent_per_call=_share(cpu, self._held),
            server_memory_mb=_share(end.memory_bytes, 1e6),
            server_memory_mb_per_call=_share(_difference(idle.memory_bytes, end.memory_bytes, 1e-6), self._held),
            callers_cpu_percent=round((end.own_cpu_s - begin.own_cpu_s) / seconds * 100, 1),
        )

    async def _see_through(self, caller: Caller) -> None:
        up = False

        def connected() -> None:
            nonlocal up
            up = True
            self._up += 1
            self._settled += 1

        try:
            await caller.run(self._take, on_connected=connected)
            self._held += up
        except CallError as error:
            self._failures[str(error)] += 1
        finally:
            self._up -= up
            self._settled += not up

    def _take(self, message: AnyMessage) -> None:
        match message:
            case Result():
                self._results += 1
            case Warning():
                self._warnings[message.code] += 1

    def _tell(self, seconds_left: float) -> None:
        self._on_progress(Progress(seconds_left, self._up, sum(self._failures.values()), self._results))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()


def _voices(audio: Sequence[Path]) -> list[list[bytes]]:
    """Encode once what all callers say."""
    sources = [speech.from_file(path) for path in audio] or [speech.synthesised(seed) for seed in range(VOICES)]
    return [list(source.packets) for source in sources]


def _shares(voices: Sequence[Sequence[bytes]], peers: int) -> Iterator[Speech]:
    """Give every caller a voice without end, each beginning somewhere else."""
    for number in range(peers):
        voice = voices[number % len(voices)]
        start = len(voice) * number // peers
        yield Speech(chain(islice(voice, start, None), cycle(voice)), ())


def _difference(begin: float | None, end: float | None, scale: float) -> float | None:
    return None if begin is None or end is None else (end - begin) * scale


def _share(value: float | None, of: float) -> float | None:
    return None if value is None or not of else round(value / of, 2)

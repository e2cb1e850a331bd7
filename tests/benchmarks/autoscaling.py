"""A pool that grows under load and shrinks after it: when another replica comes, answers and goes, and what that costs.

The replicas, Ray and the node that loads them share the cores of this machine, so that two replicas classify less than
twice as much. When to start and end a replica is decided by Ray Serve, as ``voxgender pool`` tells it to.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import NamedTuple

import aiohttp
import numpy as np
import psutil

from tests.benchmarks.processes import VOXGENDER, a_server
from tests.benchmarks.tables import Measured, markdown
from voxgender.inference.classifier import Unclassified, Window
from voxgender.peer.voices import dialogue
from voxgender.pool import wire
from voxgender.pool.client import PoolClassifier

LOADED = 5
"""Requests that are always on their way under load: more than the two on average for which one replica is enough."""
TOGETHER = 16
"""Windows in one of them: a turn of a node with so many calls."""
IDLE_PAUSE_S = 0.5
PROBE_S = 0.1
STEADY_S = 15.0
GROWTH_LIMIT_S = 90.0
SHRINK_LIMIT_S = 160.0
"""Ray Serve ends a replica after two minutes of less load, by the mean of 15 s."""


class Sent(NamedTuple):
    """A request that was sent: when it came back, how long it took, and how many windows it lost."""

    at: float
    took_s: float
    lost: int
    patient: bool
    """Whether its windows are of audio that can wait, or of a live call."""


class Pool:
    """A pool's replicas, as those who ask it see them."""

    def __init__(self, url: str) -> None:
        self.url = url.replace("ray", "http", 1) + wire.PATH
        self.answered_at: dict[str, float] = {}
        """Replica, to the time of its first answer."""

    @staticmethod
    def replicas() -> int:
        """Processes of replicas, whether they answer yet or not."""
        lines = (process.info["cmdline"] or () for process in psutil.process_iter(["cmdline"]))
        return sum(any("ServeReplica:voxgender" in part for part in line) for line in lines)

    async def watch(self) -> None:
        """Ask who answers, all the time."""
        async with aiohttp.ClientSession() as http:
            while True:
                async with http.get(self.url) as response:
                    # A proxy whose replicas have all too much to do answers itself.
                    if replica := response.headers.get(wire.REPLICA_HEADER):
                        self.answered_at.setdefault(replica, time.monotonic())
                await asyncio.sleep(PROBE_S)


async def measure(brief: bool) -> Measured:
    options = ("--replicas", "1-2", "--port", "0", "--log-level", "warning")
    async with a_server((*VOXGENDER, "pool", *options)) as url:
        host, port = url.removeprefix("ray://").rsplit(":", 1)
        node = await asyncio.to_thread(PoolClassifier, host, int(port))
        pool = Pool(url)
        watching = asyncio.create_task(pool.watch())
        try:
            return await _measure(pool, node, brief)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await asyncio.to_thread(node.close)


async def _measure(pool: Pool, node: PoolClassifier, brief: bool) -> Measured:
    sent: list[Sent] = []
    marks = [("one replica, loaded", began := time.monotonic())]
    async with _load(node, sent, LOADED, pause_s=0.0):
        started_s = await _until(lambda: pool.replicas() > 1, 5.0 if brief else GROWTH_LIMIT_S)
        marks.append(("another one starts", time.monotonic()))
        answers_s = await _until(lambda: len(pool.answered_at) > 1, 0.0 if brief else GROWTH_LIMIT_S)
        marks.append(("two replicas, loaded", time.monotonic()))
        await asyncio.sleep(1.0 if brief else STEADY_S)
    marks.append(("a request now and then, until one has ended", unloaded := time.monotonic()))
    async with _load(node, sent, 1, pause_s=IDLE_PAUSE_S):
        ended_s = await _until(lambda: pool.replicas() < 2, 2.0 if brief else SHRINK_LIMIT_S)
        marks.append(("one replica again", time.monotonic()))
        await asyncio.sleep(1.0 if brief else STEADY_S)
    marks.append(("", time.monotonic()))
    rows = [
        _row(name, [one for one in sent if start <= one.at < end], end - start)
        for (name, start), (_, end) in pairwise(marks)
    ]
    head = ("while", "for, s", "windows a second", "p50 ms", "p95 ms", "live windows lost", "others lost")
    told = (
        f"The second replica's process was there {_told(started_s)} after the load began, and it answered "
        f"{_told(answers_s)} later; it had ended {_told(ended_s)} after the load. Of "
        f"{_windows(sent, patient=False)} live windows {_lost(sent, patient=False)} were not classified within their "
        f"0.8 s, of {_windows(sent, patient=True)} of audio that can wait {_lost(sent, patient=True)} not within 10 s."
    )
    figures = {
        "rows": rows, "started_s": started_s, "answers_s": answers_s, "ended_s": ended_s,
        "lost": {"live": _lost(sent, patient=False), "patient": _lost(sent, patient=True)},
        "loaded_s": unloaded - began,
    }  # fmt: skip
    return Measured(figures, f"{markdown(head, rows)}\n\n{told}")


def _row(name: str, sent: list[Sent], seconds: float) -> tuple[object, ...]:
    took_ms = [one.took_s * 1_000 for one in sent if not one.patient]
    p50, p95 = np.percentile(took_ms, (50, 95)).tolist() if took_ms else (None, None)
    lost, others = _lost(sent, patient=False), _lost(sent, patient=True)
    return name, seconds, (TOGETHER * len(sent) - lost - others) / seconds, p50, p95, lost, others


def _windows(sent: list[Sent], *, patient: bool) -> int:
    return TOGETHER * sum(one.patient == patient for one in sent)


def _lost(sent: list[Sent], *, patient: bool) -> int:
    return sum(one.lost for one in sent if one.patient == patient)


def _told(seconds: float | None) -> str:
    return "at no time" if seconds is None else f"{seconds:.1f} s"


async def _until(state: Callable[[], bool], limit_s: float) -> float | None:
    """Return the seconds until something is so; None if it is not within the limit."""
    began = time.monotonic()
    while not state():
        if time.monotonic() - began > limit_s:
            return None
        await asyncio.sleep(PROBE_S)
    return time.monotonic() - began


@asynccontextmanager
async def _load(node: PoolClassifier, sent: list[Sent], requests: int, *, pause_s: float) -> AsyncIterator[None]:
    """Have so many requests of live calls on their way at all times, and one more of audio that can wait."""
    voice = dialogue(turn_s=6.0).samples
    windows = [voice[at : at + 16_000] for at in range(0, 3_072 * TOGETHER, 3_072)]
    stop = asyncio.Event()
    kinds = [*[False] * requests, True]
    tasks = [asyncio.create_task(_ask(node, windows, sent, pause_s, stop, patient=patient)) for patient in kinds]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _ask(
    node: PoolClassifier,
    windows: Sequence[Window],
    sent: list[Sent],
    pause_s: float,
    stop: asyncio.Event,
    *,
    patient: bool,
) -> None:
    while not stop.is_set():
        began = time.monotonic()
        asked = node.submit(windows, patient=patient)
        rows = await asyncio.gather(*map(asyncio.wrap_future, asked), return_exceptions=True)
        now = time.monotonic()
        lost = sum(isinstance(row, Unclassified) for row in rows)
        sent.append(Sent(now, now - began, lost, patient))
        # A pool that is away refuses at once.
        await asyncio.sleep(PROBE_S if lost else pause_s)

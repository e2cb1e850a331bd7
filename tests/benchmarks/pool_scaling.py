"""A pool whose replicas follow the load: when the second comes and goes, and what it brings."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from tests.benchmarks.processes import VOXGENDER, a_server
from tests.benchmarks.tables import Measured, markdown
from voxgender.errors import ModelError
from voxgender.inference.classifier import Row, Window
from voxgender.peer.voices import dialogue
from voxgender.pool.client import PoolClassifier

if TYPE_CHECKING:
    from concurrent.futures import Future

MOST = 2
TOGETHER = 16
AHEAD = 12
"""Requests of a node under way at once while it is loaded: three replicas' worth."""
LOADED_S = 45.0
"""Time under load at least, and after another replica has come."""
PATIENCE_S = 180.0
"""Time in which replicas have to come, and to go."""
AFTER_S = 10.0


async def measure(brief: bool) -> Measured:
    command = (*VOXGENDER, "pool", "--replicas", f"1-{MOST}", "--port", "0", "--log-level", "warning")
    async with a_server(command) as url:
        return await asyncio.to_thread(_measure, url, brief)


def _measure(url: str, brief: bool) -> Measured:
    host, port = url.removeprefix("ray://").rsplit(":", 1)
    pool = PoolClassifier(host, int(port), deadline_s=10.0)
    voice = dialogue(turn_s=6.0).samples
    windows = [voice[at : at + 16_000] for at in range(0, voice.size - 16_000, 3_072)][:TOGETHER]
    rows: list[tuple[object, ...]] = []
    try:
        grown_s, one = _load(pool, windows, until=1 if brief else MOST)
        rows.append(("1", "load begins", 0.0, *one))
        if not brief:
            _, more = _load(pool, windows, until=MOST, seconds=LOADED_S / 3)
            rows.append((str(MOST), "another replica answers", grown_s, *more))
            began = time.monotonic()
            while _replicas() > 1 and time.monotonic() - began < PATIENCE_S:
                time.sleep(1.0)
            rows.append((str(_replicas()), "one has ended, without load", time.monotonic() - began, None, None, None))
    finally:
        pool.close()
    head = ("replicas", "when", "after, s", "windows a second", "a request, p95 ms", "windows lost")
    return Measured({"rows": rows}, markdown(head, rows))


def _load(
    pool: PoolClassifier, some: Sequence[Window], *, until: int, seconds: float = 5.0
) -> tuple[float, tuple[float, float, int]]:
    """Keep requests under way for some seconds, and until there are so many replicas.

    Returns:
        The seconds until then, and of the load: windows a second, a request's time (p95, ms), windows lost.
    """
    turns: deque[tuple[float, list[Future[Row]]]] = deque()
    times_ms: list[float] = []
    classified = lost = 0
    began = time.monotonic()
    counted_at, there_s = began, 0.0
    while (now := time.monotonic()) < began + seconds or (not there_s and now < began + PATIENCE_S):
        while len(turns) < AHEAD:
            turns.append((time.monotonic(), pool.submit(some)))
        sent_at, rows = turns.popleft()
        for row in rows:
            lost += _is_lost(row)
        classified += len(rows)
        times_ms.append((time.monotonic() - sent_at) * 1_000)
        if not there_s and time.monotonic() - counted_at > 1.0:
            counted_at = time.monotonic()
            there_s = counted_at - began if _replicas() >= until else 0.0
    took_s = time.monotonic() - began
    for _, rows in turns:
        for row in rows:
            _is_lost(row)
    return there_s, (classified / took_s, float(np.percentile(times_ms, 95)), lost)


def _is_lost(row: "Future[Row]") -> bool:
    try:
        row.result(60)
    except ModelError:
        return True
    return False


def _replicas() -> int:
    """Replicas that are there and have started: Ray renames a process once it runs its actor's code."""
    named: list[dict[str, Any]] = [each.info for each in psutil.process_iter(["cmdline"])]
    return sum(any("ServeReplica:voxgender" in part for part in info["cmdline"] or ()) for info in named)

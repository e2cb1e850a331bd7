"""A pool beside the same model in the node's process: what a window waits more, windows a second, bytes on the wire.

The replica runs beside the node, on the same cores, so that the hop is that of loopback: a network adds its own delay.
"""

import asyncio
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import msgspec
import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from tests.benchmarks.processes import VOXGENDER, a_server
from tests.benchmarks.tables import Measured, markdown
from voxgender.inference import loading
from voxgender.inference.classifier import Row, Window
from voxgender.peer.voices import dialogue
from voxgender.pool import wire
from voxgender.pool.client import PoolClassifier
from voxgender.pool.service import Service

if TYPE_CHECKING:
    from concurrent.futures import Future

SECONDS = 8.0
"""Time for each figure of a row."""
TOGETHER = (1, 8, 32)
"""Windows of one turn of a node."""
AHEAD = 3
"""Turns under way at once where windows a second are counted: a replica is then never idle."""
EMBEDDED, BASE = "embedded", "wav2vec2-base shape"


async def measure(brief: bool) -> Measured:
    rows: list[tuple[object, ...]] = []
    figures: dict[str, Any] = {}
    for name in (EMBEDDED,) if brief else (EMBEDDED, BASE):
        model = EMBEDDED if name == EMBEDDED else str(_base())
        command = (*VOXGENDER, "pool", "--model", model, "--replicas", "1", "--port", "0", "--log-level", "warning")
        async with a_server(command) as url:
            more, of_model = await asyncio.to_thread(_measure, name, model, url, 1.0 if brief else SECONDS)
            rows += more
            figures[name] = of_model
    head = (
        "model", "windows together", "here, ms", "by the pool, p50 ms", "p95 ms", "added, p50 ms",
        "windows a second here", "by the pool",
    )  # fmt: skip
    hop = figures[EMBEDDED]
    told = (
        f"A request without windows takes {hop['empty_ms']:.1f} ms there and back (p50); a window of a second is "
        f"{hop['window_bytes'] / 1_000:.1f} kB on the wire, its answer {hop['answer_bytes']:.0f} bytes. "
        f"Largest difference of a probability: {max(one['difference'] for one in figures.values()):.4f}."
    )
    return Measured(figures, f"{markdown(head, rows)}\n\n{told}")


def _measure(name: str, model: str, url: str, seconds: float) -> tuple[list[tuple[object, ...]], dict[str, Any]]:
    host, port = url.removeprefix("ray://").rsplit(":", 1)
    local = loading.load(model)
    pool = PoolClassifier(host, int(port), deadline_s=30.0)
    try:
        voice = dialogue(turn_s=6.0).samples
        windows = [voice[at : at + 16_000] for at in range(0, voice.size - 16_000, 3_072)][: max(TOGETHER)]
        here = np.concatenate([local(window[np.newaxis]) for window in windows])
        there = np.stack([row.result(60) for row in pool.submit(windows)])
        rows: list[tuple[object, ...]] = []
        for together in TOGETHER:
            some = [windows[number % len(windows)] for number in range(together)]
            batch = np.stack(some)
            here_ms = _times_ms(lambda batch=batch: local(batch), seconds)
            pool_ms = _times_ms(lambda some=some: _wait(pool.submit(some)), seconds)
            rate = _rate(pool, some, seconds)
            p50, p50_here = statistics.median(pool_ms), statistics.median(here_ms)
            p95 = float(np.percentile(pool_ms, 95))
            rows.append((name, together, p50_here, p50, p95, p50 - p50_here, together * 1_000 / p50_here, rate))
        empty_ms = _times_ms(lambda: urlopen(f"http://{host}:{port}{wire.PATH}").read(), min(seconds, 3.0))
        figures = {
            "rows": rows,
            "empty_ms": statistics.median(empty_ms),
            "difference": float(np.abs(here - there).max()),
            **_bytes(windows[0]),
        }
        return rows, figures
    finally:
        pool.close()


def _times_ms(run: Any, seconds: float) -> list[float]:
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1_000)
    return times


def _rate(pool: PoolClassifier, some: Sequence[Window], seconds: float) -> float:
    """Windows a second with ``AHEAD`` turns under way at all times."""
    turns: deque[list[Future[Row]]] = deque(pool.submit(some) for _ in range(AHEAD))
    classified, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        classified += _wait(turns.popleft())
        turns.append(pool.submit(some))
    took_s = time.perf_counter() - began
    for turn in turns:
        _wait(turn)
    return classified / took_s


def _wait(rows: Sequence["Future[Row]"]) -> int:
    for row in rows:
        row.result(60)
    return len(rows)


def _bytes(window: Window) -> dict[str, float]:
    """Bytes of one window's share of a request of eight and of its answer, without HTTP's own few hundred."""
    service = Service(loading.load(EMBEDDED))
    packed = wire.pack(window)
    one = [wire.WindowMessage(key=key, deadline_ms=800, peak=packed.peak, samples=packed.samples) for key in range(8)]
    asked = wire.Request(version=wire.VERSION, model=service.description.id, windows=tuple(one))
    body = msgspec.msgpack.encode(asked)
    (answer,) = service.classify([service.read(body, time.monotonic())])
    return {"window_bytes": len(body) / 8, "answer_bytes": len(answer) / 8}


@cache
def _base() -> Path:
    """A checkpoint of 95 million parameters with random weights, as the hub has it."""
    folder = Path(tempfile.mkdtemp(prefix="voxgender-base-"))
    torch.manual_seed(0)
    config = Wav2Vec2Config(id2label={0: "female", 1: "male"}, label2id={"female": 0, "male": 1})
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def prepare() -> None:
    """Convert the model, which is kept, so that the pool starts in time."""
    loading.load(str(_base()))

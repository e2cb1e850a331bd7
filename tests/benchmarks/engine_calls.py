"""Calls of an engine without a network: windows a second and latency, on a GPU if there is one.

All calls are in this process, and push the built-in voices in real time. What WebRTC costs is left out, and so is
nothing of the analysis: gate, model, decisions, messages.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tests.benchmarks.tables import Measured, markdown
from voxgender import metrics
from voxgender.engine.engine import Engine
from voxgender.engine.loading import load_engine
from voxgender.inference.classifier import Device, Precision
from voxgender.peer.voices import dialogue
from voxgender.protocol import AnyMessage, Result

PIECE_S = 0.064
"""Audio of one push."""
SECONDS = 5.0
WARM_S = 1.5
"""Time before the measuring, in which windows fill and the model's first runs are made."""


class Load(NamedTuple):
    """One row."""

    model: str
    device: Device
    precision: Precision
    calls: int


async def measure(brief: bool) -> Measured:
    from torch import cuda

    device: Device = "cuda" if cuda.is_available() else "cpu"
    counts = (16,) if brief else (64, 128, 256) if device == "cuda" else (16, 32, 64)
    loads = [Load("embedded", device, "auto", calls) for calls in counts]
    figures = [await of(load, 1.0 if brief else SECONDS) for load in loads]
    return Measured({"rows": figures}, table(figures))


def table(figures: Sequence[dict[str, Any]]) -> str:
    head = (
        "model", "device", "precision", "calls", "windows classified a second", "left out a second", "p50 ms", "p95 ms",
        "of it the gate, p50 ms", "the model, p50 ms",
    )  # fmt: skip
    return markdown(head, [tuple(one.values())[: len(head)] for one in figures])


async def of(load: Load, seconds: float) -> dict[str, Any]:
    """Hold calls for some seconds; give the figures of one row."""
    engine = await asyncio.to_thread(
        load_engine, load.model, device=load.device, precision=load.precision, threads=0 if load.device == "cpu" else 1
    )
    try:
        return {**load._asdict(), **await _hold(engine, load.calls, seconds)}
    finally:
        await asyncio.to_thread(engine.close)


async def _hold(engine: Engine, calls: int, seconds: float) -> dict[str, Any]:
    voice = dialogue(turn_s=6.0, pause_s=0.1).samples
    piece = round(PIECE_S * 16_000)
    results: list[Result] = []
    measuring = False

    def note(messages: Sequence[AnyMessage]) -> None:
        if measuring:
            results.extend(message for message in messages if isinstance(message, Result))

    held = [engine.open(note, lambda error: None) for _ in range(calls)]
    ats = [number * 7_919 % (voice.size - piece) for number in range(calls)]
    began = engine.clock()
    pieces, since, left_out = 0, 0.0, 0.0
    while (now := engine.clock()) < began + WARM_S + seconds:
        if not measuring and now >= began + WARM_S:
            measuring, since, left_out = True, now, _left_out()
        for number, call in enumerate(held):
            call.push(voice[ats[number] : ats[number] + piece], engine.clock())
            ats[number] = (ats[number] + piece) % (voice.size - piece)
        pieces += 1
        await asyncio.sleep(max(0.0, began + pieces * PIECE_S - engine.clock()))
    took_s = engine.clock() - since
    for call in held:
        call.abandon()
    scored = [result for result in results if result.scores]
    latency_ms = [result.latency_ms for result in results] or [0.0]
    return {
        "windows_per_s": len(scored) / took_s,
        "left_out_per_s": (_left_out() - left_out) / took_s,
        "p50_ms": float(np.percentile(latency_ms, 50)),
        "p95_ms": float(np.percentile(latency_ms, 95)),
        "gate_ms": float(np.median([result.stages_ms["gate"] for result in scored] or [0.0])),
        "model_ms": float(np.median([result.stages_ms["inference"] for result in scored] or [0.0])),
        "results_per_s": len(results) / took_s,
    }


def _left_out() -> float:
    (told,) = metrics.WINDOWS_DROPPED.collect()
    return next(sample.value for sample in told.samples if sample.name.endswith("_total"))

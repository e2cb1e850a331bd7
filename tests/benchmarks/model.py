"""Models as the server runs them, beside torch's eager transformers with the same weights.

The embedded model also beside itself, its first layers written as convolutions instead of as a filter bank.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification
from transformers.utils.logging import disable_progress_bar

from tests.benchmarks.tables import Measured, markdown
from tests.inference.checkpoints import weights_of
from voxgender.inference import loading
from voxgender.inference.classifier import SAMPLE_RATE_HZ, Precision
from voxgender.inference.conversion import open_network
from voxgender.inference.eager import EagerNetwork
from voxgender.inference.runtime import OnnxNetwork

SECONDS = 1.5
"""Time for which a cell of the table is measured; five times as long for a large model."""

EMBEDDED = "embedded"
LARGE = "wav2vec2-large shape"


class Case(NamedTuple):
    """One row."""

    model: str
    precision: Precision
    threads: int
    window_s: float
    batch: int


CASES = (
    *(Case(EMBEDDED, "fp32", 1, window_s, batch) for window_s in (0.5, 1.0) for batch in (1, 8, 32)),
    Case(LARGE, "int8", 1, 1.0, 1),
    Case(LARGE, "fp32", 2, 1.0, 1),
    Case(LARGE, "int8", 2, 1.0, 1),
    Case(LARGE, "int8", 2, 1.0, 4),
)


def prepare() -> None:
    """Make the large checkpoint's weights and graphs: a minute, and some 4 GB of memory."""
    for case in CASES:
        _ours(case.model, case.precision, case.threads)


async def measure(brief: bool) -> Measured:
    return await asyncio.to_thread(_measure, 0.2 if brief else SECONDS)


def _measure(seconds: float) -> Measured:
    cells: list[dict[str, Any]] = []
    for case in CASES:
        windows = np.random.default_rng(0).normal(0, 0.1, (case.batch, round(case.window_s * SAMPLE_RATE_HZ)))
        networks: list[Callable[[Any], object]] = [_ours(*case[:3]), EagerNetwork(_torch(case.model), normalise=True)]
        if case.model == EMBEDDED:
            networks.append(_convolutions())
        torch.set_num_threads(case.threads)
        least_ms = _least_ms([_bound(run, windows) for run in networks], seconds * (5 if case.model == LARGE else 1))
        ours_ms, eager_ms, *others_ms = (one / case.batch for one in least_ms)
        cells.append(
            {**case._asdict(), "ours_ms": ours_ms, "eager_ms": eager_ms, "convolutions_ms": (*others_ms, None)[0]}
        )
    head = (
        "model", "precision", "threads", "window s", "batch", "voxgender, ms a window", "torch eager, ms a window",
        "as convolutions, ms a window", "times as fast as torch",
    )  # fmt: skip
    table = markdown(head, [(*cell.values(), cell["eager_ms"] / cell["ours_ms"]) for cell in cells])
    parameters = {name: _torch(name).num_parameters() for name in (EMBEDDED, LARGE)}
    return Measured({"parameters": parameters, "cells": cells}, table)


def _bound(run: Callable[[Any], object], windows: Any) -> Callable[[], object]:
    given = windows.astype(np.float32)
    return lambda: run(given)


@cache
def _ours(model: str, precision: Precision, threads: int) -> OnnxNetwork:
    network = _torch(model)
    return open_network(
        network.config.to_dict(), lambda: weights_of(network), normalise=True, precision=precision, threads=threads
    )


@cache
def _convolutions() -> OnnxNetwork:
    """Open the embedded model with one filter a thousandth stronger than its negative, so that they are no bank."""
    network = _torch(EMBEDDED)
    weights = dict(weights_of(network))
    name = "wav2vec2.feature_extractor.conv_layers.0.conv.weight"
    weights[name] = weights[name].copy()
    weights[name][0] *= 1.001
    return open_network(network.config.to_dict(), lambda: weights, normalise=True)


@cache
def _torch(model: str) -> Wav2Vec2ForSequenceClassification:
    disable_progress_bar()
    if model == EMBEDDED:
        return Wav2Vec2ForSequenceClassification.from_pretrained(loading.EMBEDDED_DIRECTORY, dtype=torch.float32)
    torch.manual_seed(0)
    return Wav2Vec2ForSequenceClassification(large_config())


def large_config() -> Wav2Vec2Config:
    """24 layers of 1024, as facebook/wav2vec2-large-xlsr-53: 316 M parameters."""
    return Wav2Vec2Config(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
    )


def _least_ms(contestants: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """The least of turn and turn about: whatever else the machine does only adds to it."""
    least = [float("inf")] * len(contestants)
    for run in contestants:
        run()
    turns, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end or turns < 5:
        for index, run in enumerate(contestants):
            began = time.perf_counter()
            run()
            least[index] = min(least[index], (time.perf_counter() - began) * 1000)
        turns += 1
    return least

"""The embedded model, as the server runs it, beside torch's eager transformers with the same weights. One thread."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2ForSequenceClassification
from transformers.utils.logging import disable_progress_bar

from tests.benchmarks.tables import Measured, markdown
from voxgender.inference import wav2vec2
from voxgender.inference.classifier import SAMPLE_RATE_HZ, Windows

BATCHES = (1, 8, 32)
WINDOWS_S = (0.5, 1.0)
SECONDS = 1.5
"""Of measuring, a cell."""


async def measure(brief: bool) -> Measured:
    return await asyncio.to_thread(_measure, 0.2 if brief else SECONDS)


def _measure(seconds: float) -> Measured:
    ours = wav2vec2.load(wav2vec2.EMBEDDED, threads=1)
    torch.set_num_threads(1)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    plain = Wav2Vec2ForSequenceClassification.from_pretrained(wav2vec2.EMBEDDED_DIRECTORY, dtype=torch.float32)
    plain.train(False)

    @torch.inference_mode()
    def eager(windows: Windows) -> object:
        # What Wav2Vec2FeatureExtractor does first, without its cost: the network alone is compared.
        audio = torch.from_numpy(windows)
        audio = (audio - audio.mean(1, keepdim=True)) / torch.sqrt(audio.var(1, keepdim=True, correction=0) + 1e-7)
        return plain(audio).logits.softmax(1)

    cells: list[dict[str, Any]] = []
    random = np.random.default_rng(0)
    for window_s in WINDOWS_S:
        for batch in BATCHES:
            windows = random.normal(0, 0.1, (batch, round(window_s * SAMPLE_RATE_HZ))).astype(np.float32)
            ours_ms, eager_ms = _medians_ms((lambda: ours(windows), lambda: eager(windows)), seconds)  # noqa: B023
            cells.append(
                {"window_s": window_s, "batch": batch, "ours_ms": ours_ms / batch, "eager_ms": eager_ms / batch}
            )
    table = markdown(
        ("window s", "batch", "voxgender, ms a window", "torch eager, ms a window", "times as fast"),
        [(*cell.values(), cell["eager_ms"] / cell["ours_ms"]) for cell in cells],
    )
    parameters = sum(parameter.numel() for parameter in plain.parameters())
    return Measured({"parameters": parameters, "threads": 1, "cells": cells}, table)


def _medians_ms(contestants: tuple[Callable[[], object], ...], seconds: float) -> list[float]:
    """Medians of turn and turn about, so that whatever else the machine does hits all alike."""
    taken: list[list[float]] = [[] for _ in contestants]
    for run in contestants:
        run()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[0]) < 5:
        for run, times in zip(contestants, taken, strict=True):
            began = time.perf_counter()
            run()
            times.append((time.perf_counter() - began) * 1000)
    return [float(np.median(times)) for times in taken]

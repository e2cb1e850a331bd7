"""Live calls with a model of wav2vec2-large's size: more windows than this machine can classify."""

import asyncio
import os
import tempfile
from functools import cache
from pathlib import Path

import torch
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification
from transformers.utils.logging import disable_progress_bar

from tests.benchmarks.model import large_config
from tests.benchmarks.processes import a_server, load, voxgender_server
from tests.benchmarks.tables import Measured, markdown

MAX_P95_MS = {1: 700.0, 3: 700.0, 10: 1_500.0}
"""Calls at once, to the 95th percentile of the latency that they are to stay within."""
SECONDS = 20.0


def prepare() -> None:
    """Make a checkpoint of random weights, and have it converted: a minute, and some 4 GB of memory."""

    async def start_once() -> None:
        async with a_server(voxgender_server("--model", _checkpoint())):
            pass

    asyncio.run(start_once())


async def measure(brief: bool) -> Measured:
    seconds = 5.0 if brief else SECONDS
    runs = []
    for threads in sorted({1, os.cpu_count() or 1}):
        for calls in (1,) if brief else MAX_P95_MS:
            options = ("--model", _checkpoint(), "--inference-threads", str(threads))
            async with a_server(voxgender_server(*options)) as url:
                runs.append({"threads": threads, **await load(url, peers=calls, seconds=seconds)})
    rows = []
    for run in runs:
        latency = run["latency_ms"] or {}
        windows_per_s = run["results_per_s"] - run["dropped_windows"] / run["seconds"]
        rows.append(
            (
                run["asked"], run["threads"], run["up"], run["results_per_s"], windows_per_s, latency.get("p50"),
                latency.get("p95"), MAX_P95_MS[run["asked"]], run["server_cpu_percent"], run["server_memory_mb"],
            )
        )  # fmt: skip
    head = (
        "calls", "threads", "up", "results a second", "windows classified a second", "p50 ms", "p95 ms", "to reach",
        "server, % of a core", "server MB",
    )  # fmt: skip
    return Measured({"seconds": seconds, "runs": runs}, markdown(head, rows))


@cache
def _checkpoint() -> str:
    directory = Path(tempfile.gettempdir()) / "voxgender-wav2vec2-large"
    if not (directory / "preprocessor_config.json").exists():
        disable_progress_bar()
        torch.manual_seed(0)
        config = large_config()
        config.id2label = {0: "female", 1: "male"}
        Wav2Vec2ForSequenceClassification(config).save_pretrained(directory)
        Wav2Vec2FeatureExtractor().save_pretrained(directory)
    return str(directory)

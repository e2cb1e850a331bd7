"""The loop that voxgender replaces, beside voxgender's own: how far each falls behind live voices. No network.

The old one put every 85 ms packet (4096 samples at 48 kHz) of all callers into one queue, and ran the model on each
packet, one by one: here on the caller's newest second. The new one is the whole of ``analyze``: hops, speech gate,
batches, decisions. Both hear the same endless voices in real time, with the same model on one thread: the embedded
one, and one of the shape of wav2vec2-large (random weights: the arithmetic is the same).
"""

import asyncio
import queue
import threading
import time
from contextlib import aclosing
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame
from prometheus_client import REGISTRY
from transformers import Wav2Vec2ForSequenceClassification

from tests.benchmarks.model import large_config
from tests.benchmarks.tables import Measured, markdown
from tests.inference.checkpoints import weights_of
from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples
from voxgender.engine import Engine
from voxgender.engine.track import analyze
from voxgender.inference import loading
from voxgender.inference.classifier import Classifier
from voxgender.inference.conversion import open_network
from voxgender.inference.loading import CheckpointClassifier
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.protocol import Result

CALLERS = {"embedded": (1, 5, 20), "wav2vec2-large shape": (1, 5)}
SECONDS = 4.0

_PACKET_S = 4096 / 48_000
_FRAME_S = 0.02


class Behind(NamedTuple):
    """Figures of a loop over ``SECONDS`` of every caller's speech."""

    verdicts_per_s: float
    """A caller's, within that time."""
    lag_ms: float
    """Age of the newest audio in the last verdict at the end of that time."""
    unheard: float
    """Share of the windows that were not judged by then: waiting, or dropped."""


async def measure(brief: bool) -> Measured:
    seconds = 2.0 if brief else SECONDS
    torch.manual_seed(0)
    models: dict[str, Classifier] = {"embedded": await asyncio.to_thread(loading.load, loading.EMBEDDED, threads=1)}
    models["wav2vec2-large shape"] = await asyncio.to_thread(_large)
    torch.set_num_threads(1)
    voices = [
        speak((MAN, WOMAN)[seed % 2], seconds + 1.0, seed=seed) for seed in range(max(map(max, CALLERS.values())))
    ]
    rows: list[tuple[object, ...]] = []
    for name, classifier in models.items():
        classifier(np.zeros((1, SAMPLE_RATE_HZ), dtype=np.float32))
        for callers in CALLERS[name][-1:] if brief else CALLERS[name]:
            old = await asyncio.to_thread(_old, classifier, voices[:callers], seconds)
            new = await _new(classifier, voices[:callers], seconds)
            rows += [(name, callers, "old loop", *old), (name, callers, "voxgender", *new)]
    head = ("model", "callers", "loop", "verdicts a second and caller", "behind at the end, ms", "windows unheard")
    shown = [(*row[:4], f"{row[4]:.0f}", f"{row[5]:.0%}") for row in rows]
    return Measured({"seconds": seconds, "rows": rows}, markdown(head, shown))


def _old(classifier: Classifier, voices: list[Samples], seconds: float) -> Behind:
    """A thread that sends, and the one queue that all packets go through."""
    packets: queue.SimpleQueue[tuple[float, Samples]] = queue.SimpleQueue()
    size = round(_PACKET_S * SAMPLE_RATE_HZ)
    each = int(seconds / _PACKET_S)
    began = time.monotonic()

    def send() -> None:
        for number in range(1, each + 1):
            time.sleep(max(0.0, began + number * _PACKET_S - time.monotonic()))
            for voice in voices:
                packets.put((time.monotonic(), voice[max(0, number * size - SAMPLE_RATE_HZ) : number * size]))

    sender = threading.Thread(target=send)
    sender.start()
    judged, newest, taken_s = 0, began, 0.0
    while (left := began + seconds - time.monotonic()) > 0:
        try:
            sent_at, samples = packets.get(timeout=left)
        except queue.Empty:
            break
        padded = np.zeros((1, SAMPLE_RATE_HZ), dtype=np.float32)
        padded[0, SAMPLE_RATE_HZ - samples.size :] = samples
        classifier(padded)
        judged, newest, taken_s = judged + 1, sent_at, time.monotonic() - sent_at
    waiting = not packets.empty()
    now = time.monotonic()
    sender.join()
    # With an empty queue the loop is late by what the last verdict took; the next packet has yet to be spoken.
    lag_s = now - newest if waiting else taken_s
    return Behind(judged / seconds / len(voices), lag_s * 1000, 1 - judged / each / len(voices))


async def _new(classifier: Classifier, voices: list[Samples], seconds: float) -> Behind:
    engine = Engine(classifier)
    late_ms = [0.0] * len(voices)
    judged = in_time = 0
    dropped_before = _dropped()
    end = time.monotonic() + seconds

    async def listen(number: int, voice: Samples) -> None:
        nonlocal judged, in_time
        async with aclosing(analyze(engine, _LiveTrack(voice[: round(seconds * SAMPLE_RATE_HZ)]))) as messages:
            async for message in messages:
                if not isinstance(message, Result) or message.scores is None:
                    continue
                judged += 1
                if time.monotonic() <= end:
                    in_time += 1
                    late_ms[number] = message.latency_ms

    try:
        await asyncio.gather(*(listen(number, voice) for number, voice in enumerate(voices)))
    finally:
        await asyncio.to_thread(engine.close)
    dropped = _dropped() - dropped_before
    return Behind(in_time / seconds / len(voices), max(late_ms), dropped / max(1.0, judged + dropped))


def _dropped() -> float:
    return REGISTRY.get_sample_value("voxgender_windows_dropped_total") or 0.0


class _LiveTrack(MediaStreamTrack):
    """A voice in frames of 20 ms, each due when its last sample was spoken."""

    kind = "audio"

    def __init__(self, samples: Samples) -> None:
        super().__init__()
        self._samples = samples
        self._position = 0
        self._began = time.monotonic()

    async def recv(self) -> AudioFrame:
        size = round(_FRAME_S * SAMPLE_RATE_HZ)
        piece = self._samples[self._position : self._position + size]
        if piece.size < size:
            self.stop()
            raise MediaStreamError
        frame = AudioFrame.from_ndarray(piece[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, self._position, Fraction(1, SAMPLE_RATE_HZ)
        self._position += size
        await asyncio.sleep(max(0.0, self._began + self._position / SAMPLE_RATE_HZ - time.monotonic()))
        return frame


def _large() -> CheckpointClassifier:
    network = Wav2Vec2ForSequenceClassification(large_config())
    compiled = open_network(network.config.to_dict(), lambda: weights_of(network), normalise=True)
    return CheckpointClassifier("wav2vec2-large shape", compiled, ("female", "male"))

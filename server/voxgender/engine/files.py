"""Analyse files by the same steps as live calls, as fast as the model can."""

from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from voxgender.audio.files import read_frames
from voxgender.audio.frames import Frame, Samples, Wave
from voxgender.engine.call_state import CallState, Hop
from voxgender.engine.engine import WINDOW_MS, Engine
from voxgender.engine.messages import Messages
from voxgender.errors import AudioError
from voxgender.inference.classifier import Probabilities, Windows
from voxgender.protocol import VOICES, AnyMessage, Label, Result, Segment, Summary

_FRAMES_AT_ONCE = 32


class FileClassification(NamedTuple):
    """Label of a whole file, from all of its speech; ``label`` is None if there is no speech."""

    label: Label | None
    confidence: float
    speech_s: float
    segments: tuple[Segment, ...]
    results: tuple[Result, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the file's line in the output of ``voxgender classify --json``."""
        return {
            "label": self.label,
            "confidence": round(self.confidence, 4),
            "speech_seconds": round(self.speech_s, 3),
            "segments": [
                {name: value for name, value in segment.to_dict().items() if name not in ("v", "type")}
                for segment in self.segments
            ],
        }

    def __str__(self) -> str:
        if self.label is None:
            return "no speech"
        return f"{self.label} ({self.confidence:.0%}, {self.speech_s:.1f} s of speech)"


MAX_WINDOWS = 400
"""Windows that :func:`speech_windows` takes."""


class _Recorder:
    """Keeps the windows that a model would be given, instead of classifying them."""

    name = "recorder"
    labels = VOICES

    def __init__(self, min_window_ms: int) -> None:
        self.min_window_ms = min_window_ms
        self.windows: list[Samples] = []

    def __call__(self, windows: Windows) -> Probabilities:
        self.windows += list(windows)
        return np.full((len(windows), len(self.labels)), 0.5, dtype=np.float32)


class WindowCutter:
    """Cuts audio into the windows that the pipeline would give a model.

    Args:
        min_window_ms: shortest window that the model can classify.
    """

    def __init__(self, min_window_ms: int = WINDOW_MS) -> None:
        self._recorder = _Recorder(min_window_ms)
        self._engine = Engine(self._recorder)

    def cut(self, source: str | PathLike[str] | Samples) -> list[Samples]:
        """Return the windows of a file, or of samples at 16 kHz, in order; float32, shape ``(samples,)`` each.

        Raises:
            AudioError: the file cannot be read.
        """
        frames = iter([Wave(source)]) if isinstance(source, np.ndarray) else read_frames(source)
        list(_messages(self._engine, self._engine.new_state(), frames))
        windows, self._recorder.windows = self._recorder.windows, []
        return windows


def speech_windows(sources: Sequence[Path | Samples]) -> Windows:
    """Return windows of speech, as a model is given them: float32, shape ``(n, samples)``, at most ``MAX_WINDOWS``.

    Args:
        sources: files, or samples at 16 kHz.

    Raises:
        AudioError: a file cannot be read, or there is no second of speech.
    """
    cutter = WindowCutter()
    windows: list[Samples] = []
    for source in sources:
        windows += cutter.cut(source)
        if len(windows) >= MAX_WINDOWS:
            break
    if not windows:
        raise AudioError("there is no second of speech in the recordings")
    return np.stack(windows[:MAX_WINDOWS])


def analyze_file(engine: Engine, path: str | PathLike[str]) -> Iterator[AnyMessage]:
    """Yield the messages of a live call with this audio, in hops of exactly the engine's length.

    Raises:
        AudioError: the file is missing, is no media file, or holds no audio.
    """
    return _messages(engine, engine.new_state(), read_frames(path))


def classify_file(engine: Engine, path: str | PathLike[str]) -> FileClassification:
    """Classify a file by all of its speech.

    Raises:
        AudioError: the file is missing, is no media file, or holds no audio.
    """
    return classify_frames(engine, read_frames(path))


def classify_frames(engine: Engine, frames: Iterator[Frame]) -> FileClassification:
    """Classify decoded frames by all of their speech.

    Raises:
        AudioError: raised by the frames' iterator.
    """
    state = engine.new_state()
    messages = list(_messages(engine, state, frames))
    segments = tuple(message for message in messages if isinstance(message, Segment))
    label, confidence = state.overall() or (None, 0.0)
    (summary,) = (message for message in messages if isinstance(message, Summary))
    results = tuple(message for message in messages if isinstance(message, Result))
    return FileClassification(label, confidence, summary.speech, segments, results)


def _messages(engine: Engine, state: CallState, frames: Iterator[Frame]) -> Iterator[AnyMessage]:
    messages = Messages()
    state.is_whole = True
    for hops in _hops(state, frames):
        engine.process({state: hops})
        yield from messages.of(hops, None, engine.clock(), engine.hop_ms / 1_000)


def _hops(state: CallState, frames: Iterator[Frame]) -> Iterator[list[Hop]]:
    while some := list(islice(frames, _FRAMES_AT_ONCE)):
        yield [*state.place(some), *state.cut(exact=True)]
    yield list(state.finish())

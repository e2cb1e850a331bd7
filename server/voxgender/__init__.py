"""voxgender tells, live, whether the voice speaking now is heard as male or female."""

from __future__ import annotations

from voxgender.version import __version__

TYPE_CHECKING = False
"""``typing`` is not loaded for it: until ``voxgender.__main__`` runs, Python answers Ctrl-C with a traceback."""
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable
    from os import PathLike
    from typing import Any

    from aiortc import MediaStreamTrack

    from voxgender.audio.pcm import Encoding
    from voxgender.embedding.voice import Voice
    from voxgender.engine.files import FileClassification
    from voxgender.errors import AudioError, ModelError, VoxgenderError
    from voxgender.protocol import (
        AnyMessage,
        Change,
        Error,
        Hello,
        Label,
        Result,
        Scores,
        Segment,
        Summary,
        Warning,
    )

__all__ = [
    "AnyMessage",
    "AudioError",
    "Change",
    "Error",
    "FileClassification",
    "Hello",
    "Label",
    "ModelError",
    "Result",
    "Scores",
    "Segment",
    "Summary",
    "Voice",
    "VoxgenderError",
    "Warning",
    "__version__",
    "analyze",
    "classify",
    "classify_sync",
]


async def analyze(
    source: MediaStreamTrack | AsyncIterable[Any] | Iterable[Any],
    *,
    rate: int | None = None,
    encoding: Encoding | None = None,
    channels: int | None = None,
    model: str | PathLike[str] = "embedded",
) -> AsyncGenerator[AnyMessage, None]:
    """Analyse a voice as it comes: an aiortc track, or PCM from anywhere.

    >>> async for message in analyze(source, rate=16000):
    ...     if message.type == "change":
    ...         print(message.to, "speaks now")

    Yields ``hello`` first, ``summary`` last (``docs/protocol.md``). The model is loaded at the first call, in a
    thread, and shared by all calls that name it; the networks run on one more thread, never on the event loop.

    Args:
        source: a live track of kind ``audio``, read until it ends; or an iterable of chunks, asynchronous or not; or
            an open file or ``asyncio.StreamReader``. Chunks are bytes, arrays of int16 or float32 of any shape, or
            frames that carry their format, such as those of PyAV, LiveKit and Pipecat. It is read no faster than it is
            analysed, and nothing of it is dropped.
        rate: samples a second of bytes and arrays, 8000 to 192000.
        encoding: of bytes: ``s16le`` (default), ``f32le``, ``mulaw`` or ``alaw``.
        channels: channels, interleaved or an axis of arrays, to be judged apart: each message then has its ``channel``.
            By default bytes are one channel, and the channels of arrays and frames are mixed.
        model: ``embedded``, ``off``, a local directory or a hub id of a wav2vec2 classifier.

    Raises:
        ModelError: the model cannot be loaded.
        AudioError: the source is no audio, or of another format than was said.
    """
    from contextlib import aclosing

    from voxgender.embedding import analysis

    following = analysis.analyze(source, rate=rate, encoding=encoding, channels=channels, model=model)
    async with aclosing(following) as messages:
        async for message in messages:
            yield message


async def classify(
    source: str | PathLike[str] | Any,
    *,
    rate: int | None = None,
    encoding: Encoding | None = None,
    channels: int | None = None,
    model: str | PathLike[str] = "embedded",
) -> FileClassification:
    """Classify a file or a recording by all of its speech, on another thread than the event loop's.

    Cancelled, it stops within some seconds of the sound.

    >>> verdict = await classify("voice.wav")
    >>> print(verdict.label, verdict.confidence)

    Args:
        source: a path, a file that is open, or the bytes of a file; or, with ``rate``, samples: bytes, an array of
            int16 or float32 of any shape, or a list of such chunks or of frames.
        rate: samples a second of bytes and arrays.
        encoding: of bytes: ``s16le`` (default), ``f32le``, ``mulaw`` or ``alaw``.
        channels: channels that are interleaved in bytes, or an axis of arrays. They are mixed.
        model: as of :func:`analyze`.

    Raises:
        ModelError: the model cannot be loaded.
        AudioError: there is no such file, or it holds no audio.
    """
    from voxgender.embedding import classification

    return await classification.classify(source, rate=rate, encoding=encoding, channels=channels, model=model)


def classify_sync(
    source: str | PathLike[str] | Any,
    *,
    rate: int | None = None,
    encoding: Encoding | None = None,
    channels: int | None = None,
    model: str | PathLike[str] = "embedded",
) -> FileClassification:
    """Classify a file or a recording on the present thread: :func:`classify` for programs without an event loop."""
    from voxgender.embedding import classification

    return classification.classify_here(source, rate=rate, encoding=encoding, channels=channels, model=model)


_MODULES = {
    "FileClassification": "voxgender.engine.files",
    "Voice": "voxgender.embedding.voice",
    **dict.fromkeys(("AudioError", "ModelError", "VoxgenderError"), "voxgender.errors"),
}
"""Modules of the names that are loaded when they are asked for; those of the others is ``voxgender.protocol``."""


def __getattr__(name: str) -> Any:
    # A program that only names the library loads nothing, and the command line can be interrupted at once.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from voxgender.extras import telling_extras

    with telling_extras():
        return getattr(import_module(_MODULES.get(name, "voxgender.protocol")), name)


def __dir__() -> list[str]:
    return __all__

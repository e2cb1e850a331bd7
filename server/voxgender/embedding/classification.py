"""Classify a file, or sound that is there as a whole."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from voxgender.audio.formatcheck import kind_of_file
from voxgender.embedding.analysis import load
from voxgender.embedding.sources import frames_of, is_file
from voxgender.errors import AudioError
from voxgender.extras import telling_extras

if TYPE_CHECKING:
    from voxgender.audio.frames import Frame
    from voxgender.audio.pcm import Encoding
    from voxgender.engine import Engine
    from voxgender.engine.files import FileClassification


async def classify(
    source: Any, *, rate: int | None, encoding: "Encoding | None", channels: int | None, model: str | PathLike[str]
) -> "FileClassification":
    """Classify a path, a file, bytes, an array or a sequence of them by all of its speech, on another thread.

    The thread stops when this is cancelled: the loop would wait for it at its end.
    """
    engine = await load(model)
    left = threading.Event()
    try:
        return await asyncio.to_thread(_classify, engine, source, rate, encoding, channels, left.is_set)
    finally:
        left.set()


def classify_here(
    source: Any, *, rate: int | None, encoding: "Encoding | None", channels: int | None, model: str | PathLike[str]
) -> "FileClassification":
    """Classify a path, a file, bytes, an array or a sequence of them by all of its speech, on the present thread."""
    with telling_extras():
        from voxgender.engine.loading import shared_engine
    return _classify(shared_engine(model), source, rate, encoding, channels, lambda: False)


def _classify(
    engine: "Engine",
    source: Any,
    rate: int | None,
    encoding: "Encoding | None",
    channels: int | None,
    is_left: Callable[[], bool],
) -> "FileClassification":
    from voxgender.engine.files import classify_frames

    return classify_frames(engine, _until(is_left, _frames(source, rate, encoding, channels)))


def _until(is_left: Callable[[], bool], frames: "Iterable[Frame]") -> "Iterator[Frame]":
    for frame in frames:
        if is_left():
            return
        yield frame


def _frames(source: Any, rate: int | None, encoding: "Encoding | None", channels: int | None) -> "Iterator[Frame]":
    from voxgender.audio.chunks import Chunks

    is_path, is_pcm = isinstance(source, str | PathLike), (rate, encoding, channels) != (None, None, None)
    if is_path and is_pcm:
        raise AudioError(
            f"{fspath(source)}: a file says its own format: leave rate=, encoding= and channels= out, or give the "
            "bytes of a raw file."
        )
    if not is_pcm and isinstance(source, bytes | bytearray) and kind_of_file(source) is not None:
        source = BytesIO(source)
    if is_path or (not is_pcm and is_file(source)):
        from voxgender.audio.files import read_frames

        yield from read_frames(source)
        return
    chunks = Chunks(rate, encoding, channels)
    decoder = chunks.mixed
    for chunk in frames_of(source):
        for packet, _ in chunks.cut(chunk):
            yield from decoder([packet])

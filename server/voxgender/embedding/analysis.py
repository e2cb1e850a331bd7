"""Analyse a source that can wait: nothing of it is dropped."""

import atexit
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from os import PathLike
from typing import TYPE_CHECKING, Any

from voxgender.audio.chunks import Chunks
from voxgender.embedding.sources import chunks_of
from voxgender.embedding.threads import run_aside, wait_at_exit
from voxgender.errors import AudioError
from voxgender.extras import telling_extras
from voxgender.protocol import AnyMessage

if TYPE_CHECKING:
    from voxgender.audio.pcm import Encoding
    from voxgender.engine import Engine
    from voxgender.engine.stream import Stream


PATIENCE_S = 2.0
"""Time that the end of the process gives a model that is being loaded: files are read in less, a download is left."""

_is_importable = False
"""True once the networks' runtimes have been imported."""


async def load(model: str | PathLike[str]) -> "Engine":
    """Return the process's engine with a model, loaded on another thread.

    A model that is there already is had at once, however long others take to be loaded.

    Raises:
        ModelError: the model cannot be loaded.
        ModuleNotFoundError: the ``media`` extra is not installed.
    """
    if _is_importable:
        from voxgender.engine.loading import loaded_engine

        if (engine := loaded_engine(model)) is not None:
            return engine
    return await run_aside(lambda: _load(model))


@atexit.register
def _end() -> None:
    """Stop what runs in native code before the process ends."""
    wait_at_exit(PATIENCE_S)
    if _is_importable:
        from voxgender.engine.loading import halt_all

        halt_all()


def _load(model: str | PathLike[str]) -> "Engine":
    global _is_importable
    # Importing the networks' runtimes would hold up the event loop as much as loading the weights.
    with telling_extras():
        import voxgender.audio.pcmdecoder
        import voxgender.engine.files
        import voxgender.engine.stream
        import voxgender.engine.track  # noqa: F401
        from voxgender.engine.loading import shared_engine
    _is_importable = True
    return shared_engine(model)


async def analyze(
    source: Any, *, rate: int | None, encoding: "Encoding | None", channels: int | None, model: str | PathLike[str]
) -> AsyncGenerator[AnyMessage, None]:
    """Yield ``hello``, then the messages of a source: a track, or chunks of PCM."""
    is_track = hasattr(source, "recv") and hasattr(source, "kind") and not isinstance(source, type)
    if is_track and (rate, encoding, channels) != (None, None, None):
        raise AudioError("A track says its own format: leave rate=, encoding= and channels= out.")
    chunks = None if is_track else chunks_of(source)
    engine = await load(model)
    if chunks is None:
        from voxgender.engine.track import analyze

        messages = analyze(engine, source)
    else:
        messages = _of_chunks(engine, chunks, rate, encoding, channels)
    async with aclosing(messages):
        yield engine.hello(secrets.token_urlsafe(8))
        async for message in messages:
            yield message


async def _of_chunks(
    engine: "Engine", source: Any, rate: int | None, encoding: "Encoding | None", channels: int | None
) -> AsyncGenerator[AnyMessage, None]:
    from voxgender.engine.following import follow
    from voxgender.engine.stream import Stream

    chunks = Chunks(rate, encoding, channels)

    async def read(stream: "Stream") -> None:
        try:
            async for chunk in source:
                await stream.feed(chunks.cut(chunk))
        finally:
            if hasattr(source, "aclose"):
                await source.aclose()
        stream.end()

    follower = follow(lambda on_messages, on_end: Stream(engine, chunks.decoders, on_messages, on_end), read)
    async with aclosing(follower) as messages:
        async for message in messages:
            yield message

"""voxgender tells, live, whether the voice speaking now is heard as male or female."""

from typing import TYPE_CHECKING

from voxgender.errors import VoxgenderError
from voxgender.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiortc import MediaStreamTrack

    from voxgender.engine import Engine
    from voxgender.protocol import Message

__all__ = ["VoxgenderError", "__version__", "analyze"]


async def analyze(track: "MediaStreamTrack", *, model: str = "embedded") -> "AsyncGenerator[Message, None]":
    """Listen to any aiortc audio track, inside any aiortc program.

    >>> async for message in analyze(track):
    ...     if message.type == "change":
    ...         print(message.to, "speaks now")

    Yields ``hello`` first, ``summary`` last (``docs/protocol.md``). The model is loaded at the first call, in a
    thread, and shared by all calls that name it; the networks run on one more thread, never on the event loop.

    Args:
        track: a live track of kind ``audio``, of any rate and layout. It is read until it ends.
        model: ``embedded``, ``off``, a local directory or a hub id of a wav2vec2 classifier.

    Raises:
        ModelError: the model cannot be loaded.
        AudioError: the track carries no audio.
    """
    import asyncio
    import secrets
    from contextlib import aclosing

    def load() -> "Engine":
        # Importing the networks' runtimes would hold up the event loop as much as loading the weights.
        from voxgender.engine.loading import shared_engine

        return shared_engine(model)

    engine = await asyncio.to_thread(load)
    from voxgender.engine.track import analyze

    yield engine.hello(secrets.token_urlsafe(8))
    async with aclosing(analyze(engine, track)) as messages:
        async for message in messages:
            yield message

"""Classify a file, or sound that is there as a whole."""

from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxgender.embedding.sources import frames_of
from voxgender.errors import AudioError

if TYPE_CHECKING:
    from voxgender.audio.frames import Frame
    from voxgender.audio.pcm import Encoding
    from voxgender.engine.files import FileClassification


def classify(
    source: Any, *, rate: int | None, encoding: "Encoding | None", channels: int | None, model: str | PathLike[str]
) -> "FileClassification":
    """Classify a path, bytes, an array or a sequence of them by all of its speech, on the present thread."""
    from voxgender.engine.files import classify_file, classify_frames
    from voxgender.engine.loading import shared_engine

    if isinstance(source, str | PathLike):
        if (rate, encoding, channels) != (None, None, None):
            raise AudioError(
                f"{fspath(source)}: a file says its own format: leave rate=, encoding= and channels= out, or give the "
                "bytes of a raw file."
            )
        return classify_file(shared_engine(model), Path(source))
    frames = _frames(source, rate, encoding, channels)
    return classify_frames(shared_engine(model), frames)


def _frames(source: Any, rate: int | None, encoding: "Encoding | None", channels: int | None) -> Iterator["Frame"]:
    from voxgender.audio.chunks import Chunks

    chunks = Chunks(rate, encoding, channels)
    decoder = chunks.mixed
    for chunk in frames_of(source):
        for packet, _ in chunks.cut(chunk):
            yield from decoder([packet])

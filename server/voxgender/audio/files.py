"""Audio files as 16 kHz mono, whatever container and codec PyAV reads."""

from collections.abc import Iterator
from os import PathLike, fspath

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from voxgender.audio.resampler import Resampler
from voxgender.errors import AudioError


def read_frames(path: str | PathLike[str]) -> Iterator[AudioFrame]:
    """Decode a file's first audio stream, frame by frame. A damaged packet is passed over.

    Raises:
        AudioError: the file is missing, is no media file, or holds no audio.
    """
    name = fspath(path)
    try:
        container = av.open(name, metadata_errors="ignore")
    except FileNotFoundError:
        raise AudioError(f"{name}: no such file") from None
    except (OSError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: not an audio file that FFmpeg reads ({reason})") from None
    with container:
        if not container.streams.audio:
            raise AudioError(f"{name}: holds no audio stream")
        for packet in container.demux(container.streams.audio[0]):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                continue


def read_audio(path: str | PathLike[str]) -> npt.NDArray[np.float32]:
    """Read a whole file.

    Returns:
        float32, shape ``(samples,)``, mono, 16 kHz, full scale ±1.

    Raises:
        AudioError: the file is missing, is no media file, or holds no audio.
    """
    resampler = Resampler()
    pieces = [resampler.convert([frame]) for frame in read_frames(path)]
    pieces.append(resampler.flush())
    audio = np.concatenate(pieces)
    if not audio.size:
        raise AudioError(f"{fspath(path)}: holds no audio that can be decoded")
    return audio

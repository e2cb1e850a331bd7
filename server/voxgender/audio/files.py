"""Audio files as 16 kHz mono, whatever container and codec PyAV reads."""

from collections.abc import Iterator
from itertools import islice
from os import PathLike, fspath

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from voxgender.audio.resampler import Resampler
from voxgender.errors import AudioError

_FRAMES_AT_ONCE = 32
"""Resampling costs the same for one frame as for many."""


def read_frames(path: str | PathLike[str]) -> Iterator[AudioFrame]:
    """Decode a file's first audio stream, frame by frame. What is damaged is passed over.

    Raises:
        AudioError: the file is missing, is no media file, or holds no audio that can be decoded.
    """
    name = fspath(path)
    try:
        # Without its scheme, a name like "12:30.wav" would be taken for an address.
        container = av.open(f"file:{name}", metadata_errors="ignore")
    except FileNotFoundError:
        raise AudioError(f"{name}: no such file") from None
    except (OSError, ValueError, av.error.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: not an audio file that FFmpeg reads ({reason})") from None
    empty = True
    with container:
        if not container.streams.audio:
            raise AudioError(f"{name}: holds no audio stream")
        packets = container.demux(container.streams.audio[0])
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                empty = False
                yield frame
    if empty:
        raise AudioError(f"{name}: holds no audio that can be decoded")


def read_audio(path: str | PathLike[str]) -> npt.NDArray[np.float32]:
    """Read a whole file.

    Returns:
        float32, shape ``(samples,)``, mono, 16 kHz, full scale ±1.

    Raises:
        AudioError: the file is missing, is no media file, or holds no audio that can be decoded.
    """
    resampler = Resampler()
    frames = read_frames(path)
    pieces = []
    while some := list(islice(frames, _FRAMES_AT_ONCE)):
        pieces.append(resampler.convert(some))
    pieces.append(resampler.flush())
    return np.concatenate(pieces)

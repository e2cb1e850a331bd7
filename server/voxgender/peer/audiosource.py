"""Read the audio that ``voxgender listen`` streams: a file of any format, or raw audio from a pipe."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from itertools import chain
from pathlib import Path
from threading import Event
from typing import BinaryIO

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from voxgender.audio.files import read_frames
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.audio.resampler import Resampler
from voxgender.audiostream import MAX_CHANNELS, StreamFormat
from voxgender.embedding.threads import iterate_aside
from voxgender.errors import AudioError

CHUNK = 32_768
"""Bytes that are read, or collected, before they are sent: a second of 16-bit audio at 16 kHz."""


class RawSource:
    """Reads raw audio from a pipe as it comes.

    Args:
        pipe: the pipe.
        form: the format of its audio.
    """

    def __init__(self, pipe: BinaryIO, form: StreamFormat) -> None:
        self.form = form
        self._pipe = pipe

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield pieces of the audio, which may be cut in mid-sample."""
        async with aclosing(iterate_aside(self._read)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _read(self) -> bytes:
        # ``sys.stdin`` is not to be locked by a read that waits when the process ends.
        try:
            data = os.read(self._pipe.fileno(), CHUNK)
        except BlockingIOError:
            raise AudioError("stdin has nothing for now, and does not wait: leave O_NONBLOCK out") from None
        if not data:
            raise StopIteration
        return data


class FileSource:
    """Decodes a file to 16-bit PCM at 16 kHz, its channels mixed or side by side.

    Args:
        path: a file in any format that FFmpeg reads.
        apart: whether its channels stay apart.

    Raises:
        AudioError: the file is missing, is no media file, holds no audio, or has too many channels.
    """

    def __init__(self, path: Path, *, apart: bool = False) -> None:
        frames = read_frames(path)
        first = next(frames, None)
        if first is None:
            raise AudioError(f"{path}: holds no audio that can be decoded")
        channels = first.layout.nb_channels if apart else 1
        if channels > MAX_CHANNELS:
            raise AudioError(f"{path}: has {channels} channels, and {MAX_CHANNELS} at most can be judged apart")
        self.form = StreamFormat(channels=channels)
        self._layout = first.layout.name if apart else None
        self._frames = chain((first,), frames)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield pieces of the audio, which are decoded in a thread. Raises ``AudioError`` where they cannot be."""
        given_up = Event()
        pieces = self._pieces(given_up)
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield piece
        finally:
            given_up.set()

    def _pieces(self, given_up: Event) -> Iterator[bytes]:
        convert = _mixed() if self._layout is None else _apart(self._layout)
        waiting = bytearray()
        for frame in chain(self._frames, (None,)):
            if given_up.is_set():
                return
            waiting += convert(frame)
            if len(waiting) >= CHUNK:
                yield bytes(waiting)
                waiting.clear()
        if waiting:
            yield bytes(waiting)


def _mixed() -> Callable[[AudioFrame | None], bytes]:
    """Return a function that mixes frames to one channel, as the server does; None is the end."""
    resampler = Resampler()

    def convert(frame: AudioFrame | None) -> bytes:
        samples = resampler.flush() if frame is None else resampler.convert([frame])
        return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()

    return convert


def _apart(layout: str) -> Callable[[AudioFrame | None], bytes]:
    """Return a function that keeps the channels of frames apart, interleaved; None is the end."""
    resampler = AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE_HZ)

    def convert(frame: AudioFrame | None) -> bytes:
        converted = resampler.resample(frame)
        return b"".join(bytes(one.planes[0])[: one.samples * 2 * one.layout.nb_channels] for one in converted)

    return convert

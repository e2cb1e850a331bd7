"""Decode one channel of a stream of PCM, G.711 or Opus, on the engine's thread."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Packet, Wave
from voxgender.audiostream import StreamFormat
from voxgender.media.decoder import merged, opus_duration
from voxgender.media.opus import OpusDecoder, OpusError, scratch

_TICKS = 48_000 // SAMPLE_RATE_HZ

Decode = Callable[[Sequence[Packet]], Sequence[Frame]]


def make_decode(form: StreamFormat, channel: int) -> Decode:
    """Make the function that decodes packets of a stream in order, and returns one channel of them.

    Args:
        form: the stream's format; packets hold whole samples of all channels, or one Opus packet each.
        channel: counted from 0.
    """
    if form.encoding == "opus":
        return _Opus(form.channels, channel).decode
    return _Pcm(form, channel).decode


class _Pcm:
    """Picks a channel out of interleaved samples."""

    def __init__(self, form: StreamFormat, channel: int) -> None:
        self._form = form
        self._channel = channel

    def decode(self, packets: Sequence[Packet]) -> list[Frame]:
        form = self._form
        data = b"".join([packet.data for packet in packets])
        if not data:
            return []
        kind = {"s16le": "<i2", "f32le": "<f4"}.get(form.encoding, "u1")
        samples: npt.NDArray[Any] = np.frombuffer(data, kind).reshape(-1, form.channels)[:, self._channel]
        if form.encoding in ("mulaw", "alaw"):
            samples = g711_table(form.encoding)[samples]
        samples = np.ascontiguousarray(samples)
        if samples.dtype == np.int16 and form.rate_hz == SAMPLE_RATE_HZ:
            return [Wave(samples)]
        # A frame of FFmpeg's, which is resampled and whose samples are checked where its other frames are.
        frame = AudioFrame.from_ndarray(
            samples.reshape(1, -1), format="flt" if form.encoding == "f32le" else "s16", layout="mono"
        )
        frame.sample_rate = form.rate_hz
        return [frame]


class _Opus:
    """Decodes Opus packets, and keeps one side of stereo ones."""

    def __init__(self, channels: int, channel: int) -> None:
        self._channels = channels
        self._channel = channel
        self._decoder = OpusDecoder(channels)

    def decode(self, packets: Sequence[Packet]) -> list[Frame]:
        pcm = scratch()
        for packet in merged(packets):
            before = pcm.size
            try:
                self._decoder.decode(packet.data, pcm)
            except OpusError:
                # Silence in its place keeps the stream's clock.
                pcm.size = before
                pcm.add_silence(opus_duration(packet.data) // _TICKS * self._channels)
        samples = pcm.pop().reshape(-1, self._channels)[:, self._channel]
        return [Wave(np.ascontiguousarray(samples))] if samples.size else []


@cache
def g711_table(law: str) -> npt.NDArray[np.int16]:
    """Return the sample of each of the 256 codes of G.711, int16, shape ``(256,)``; ``law`` is mulaw or alaw."""
    codes = np.arange(256)
    if law == "mulaw":
        inverted = ~codes & 0xFF
        magnitude = (((inverted & 0x0F) << 3) + 0x84 << ((inverted >> 4) & 7)) - 0x84
        negative = inverted & 0x80 != 0
    else:
        toggled = codes ^ 0x55
        exponent, mantissa = (toggled >> 4) & 7, (toggled & 0x0F) << 4
        magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
        negative = toggled & 0x80 == 0
    return np.where(negative, -magnitude, magnitude).astype(np.int16)

"""Decode packets of PCM to frames of one channel."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Packet, Wave, silence_not_numbers
from voxgender.audio.mixing import Mixer, mean_weights
from voxgender.audio.pcm import Encoding, PcmFormat
from voxgender.errors import AudioError


class PcmDecoder:
    """Decodes packets of PCM to frames of one channel, on any thread.

    Args:
        format: of the packets.
        channel: counted from 0; None for all of them mixed to one.
    """

    def __init__(self, format: PcmFormat, channel: int | None = 0) -> None:  # noqa: A002 - the field's own word
        if channel is not None and not 0 <= channel < format.channels:
            raise AudioError(f"There is no channel {channel}: there are {format.channels}, counted from 0.")
        self.format = format
        self.channel = channel
        self._mixer = Mixer(mean_weights(format.channels)) if channel is None and format.channels > 1 else None

    def decode(self, packets: Sequence[Packet]) -> list[Frame]:
        """Decode packets in order; those that follow one another without a gap share a frame."""
        return [self._frame(run[0].pts, b"".join([packet.data for packet in run])) for run in self._runs(packets)]

    def _runs(self, packets: Sequence[Packet]) -> Iterator[Sequence[Packet]]:
        size = self.format.frame_bytes
        starts = [0] if packets else []
        for index, (one, after) in enumerate(pairwise(packets), start=1):
            if after.pts != one.pts + len(one.data) // size:
                starts.append(index)
        for start, end in pairwise([*starts, len(packets)]):
            yield packets[start:end]

    def _frame(self, pts: int, data: bytes) -> Frame:
        samples = samples_of(self.format, data)
        if self._mixer is None:
            mono = np.ascontiguousarray(samples[:, self.channel or 0])
        else:
            scale = 1 if samples.dtype == np.float32 else 1 / 32_768
            mono = self._mixer.mix(samples.T * np.float32(scale), self.format.rate_hz)
        if self.format.rate_hz == SAMPLE_RATE_HZ:
            return Wave(mono, pts)
        kind = "flt" if mono.dtype == np.float32 else "s16"
        frame = AudioFrame.from_ndarray(mono.reshape(1, -1), format=kind, layout="mono")
        frame.sample_rate = self.format.rate_hz
        frame.pts, frame.time_base = pts, Fraction(1, self.format.rate_hz)
        return frame


class FormatsDecoder:
    """Decodes packets of several formats to frames of one channel, on any thread.

    Args:
        formats: a packet's payload type is the number of its format; more may be added while decoding.
        channel: counted from 0; None for all of them mixed to one.
    """

    def __init__(self, formats: Sequence[PcmFormat], channel: int | None) -> None:
        self._formats = formats
        self._channel = channel
        self._decoder: tuple[int, PcmDecoder] | None = None

    def decode(self, packets: Sequence[Packet]) -> list[Frame]:
        """Decode packets in order."""
        frames: list[Frame] = []
        for number, run in groupby(packets, key=attrgetter("payload_type")):
            if self._decoder is None or self._decoder[0] != number:
                self._decoder = number, PcmDecoder(self._formats[number], self._channel)
            frames += self._decoder[1].decode(list(run))
        return frames


def samples_of(format: PcmFormat, data: bytes) -> npt.NDArray[Any]:  # noqa: A002 - the field's own word
    """Return the whole samples in some bytes, decoded.

    Returns:
        int16, or float32 of full scale ±1 for ``f32le``; shape ``(samples, channels)``. Floats that are NaN or
        infinite are 0.
    """
    count = len(data) // format.frame_bytes
    stored = np.frombuffer(data, dtype=_SAMPLES[format.encoding], count=count * format.channels)
    raw = stored.reshape(count, format.channels)
    if format.encoding == "f32le":
        return silence_not_numbers(raw.astype(np.float32, copy=False))
    table = _TABLES.get(format.encoding)
    return raw.astype(np.int16, copy=False) if table is None else table.take(raw)


def _expand_mulaw() -> npt.NDArray[np.int16]:
    """Return the sample of each µ-law byte (ITU-T G.711, table 2)."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _expand_alaw() -> npt.NDArray[np.int16]:
    """Return the sample of each A-law byte (ITU-T G.711, table 1)."""
    code = np.arange(256) ^ 0x55
    segment, step = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = np.where(segment == 0, step + 8, step + 0x108 << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_TABLES = {"mulaw": _expand_mulaw(), "alaw": _expand_alaw()}
_SAMPLES: dict[Encoding, np.dtype[Any]] = {
    "s16le": np.dtype("<i2"),
    "f32le": np.dtype("<f4"),
    "mulaw": np.dtype("u1"),
    "alaw": np.dtype("u1"),
}

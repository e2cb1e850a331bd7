"""Take PCM apart: bytes of any size become packets of whole samples, and packets become frames of one channel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Packet, Wave, silence_not_numbers
from voxgender.errors import AudioError

Encoding = Literal["s16le", "f32le", "mulaw", "alaw"]
"""Names of the encodings, as FFmpeg has them: 16-bit integers, floats of full scale ±1, and G.711."""

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
MAX_CHANNELS = 8
PACKET_S = 0.096
"""Longest packet that a chunk is cut into: half a hop, so that a source waits often and for a short time."""


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """A format of PCM; the samples of several channels are interleaved.

    Raises:
        AudioError: there is no such encoding, or the rate or the number of channels is out of bounds.
    """

    rate_hz: int = SAMPLE_RATE_HZ
    encoding: Encoding = "s16le"
    channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise AudioError(f"There is no encoding {self.encoding!r}: choose one of {', '.join(ENCODINGS)}.")
        if not _is_integer(self.rate_hz) or not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise AudioError(
                f"A rate of {self.rate_hz!r} Hz is not taken: give a whole number from {MIN_RATE_HZ} to {MAX_RATE_HZ}."
            )
        if not _is_integer(self.channels) or not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioError(f"{self.channels!r} channels are not taken: give a number from 1 to {MAX_CHANNELS}.")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return _SAMPLES[self.encoding].itemsize * self.channels

    def duration_s(self, data: bytes) -> float:
        """Return how long the whole samples in some bytes last."""
        return len(data) // self.frame_bytes / self.rate_hz

    def samples(self, data: bytes) -> npt.NDArray[Any]:
        """Return the whole samples in some bytes, decoded.

        Returns:
            int16, or float32 of full scale ±1 for ``f32le``; shape ``(samples, channels)``. Floats that are NaN or
            infinite are 0.
        """
        stored = _SAMPLES[self.encoding]
        count = len(data) // self.frame_bytes
        raw = np.frombuffer(data, dtype=stored, count=count * self.channels).reshape(count, self.channels)
        if self.encoding == "f32le":
            return silence_not_numbers(raw.astype(np.float32, copy=False))
        table = _TABLES.get(self.encoding)
        return raw.astype(np.int16, copy=False) if table is None else table.take(raw)


class PcmPackets:
    """Cuts a stream of chunks into packets of whole samples. A chunk may end in mid-sample."""

    def __init__(self, format: PcmFormat, *, pts: int = 0) -> None:  # noqa: A002 - the field's own word
        self.format = format
        self._rest = b""
        self._pts = pts
        self._longest = max(1, int(PACKET_S * format.rate_hz)) * format.frame_bytes

    def cut(self, chunk: bytes | bytearray | memoryview) -> Iterator[tuple[Packet, float]]:
        """Yield the packets that are whole with this chunk, each with its length in seconds.

        ``pts`` counts samples; a packet holds the samples of all channels. Read all of them before the next chunk.
        """
        data = self._rest + bytes(chunk)
        size = self.format.frame_bytes
        end = len(data) - len(data) % size
        self._rest = data[end:]
        for start in range(0, end, self._longest):
            piece = data[start : min(end, start + self._longest)]
            packet = Packet(self._pts, piece)
            self._pts += len(piece) // size
            yield packet, len(piece) // size / self.format.rate_hz

    def followed_by(self, format: PcmFormat) -> "PcmPackets":  # noqa: A002 - the field's own word
        """Return what cuts the rest of the stream, of another format; the clock goes on."""
        return PcmPackets(format, pts=round(self._pts * format.rate_hz / self.format.rate_hz))

    def skip(self, chunk: bytes | bytearray | memoryview) -> float:
        """Leave out a chunk, as if it had been lost: silence stands for it. Return its length in seconds."""
        return sum(duration_s for _, duration_s in self.cut(chunk))


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
        samples = self.format.samples(data)
        if self.channel is None and self.format.channels == 2:
            return self._wrapped(samples.reshape(1, -1), "stereo", pts)
        if self.channel is None and self.format.channels > 2:
            mono = samples.mean(axis=1, dtype=np.float32).astype(samples.dtype)
        else:
            mono = np.ascontiguousarray(samples[:, self.channel or 0])
        if self.format.rate_hz == SAMPLE_RATE_HZ:
            return Wave(mono, pts)
        return self._wrapped(mono.reshape(1, -1), "mono", pts)

    def _wrapped(self, samples: npt.NDArray[Any], layout: str, pts: int) -> AudioFrame:
        kind = "flt" if samples.dtype == np.float32 else "s16"
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=kind, layout=layout)
        frame.sample_rate = self.format.rate_hz
        frame.pts, frame.time_base = pts, Fraction(1, self.format.rate_hz)
        return frame


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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

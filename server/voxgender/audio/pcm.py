"""Cut PCM in chunks of any size into packets of whole samples.

Imports neither numpy nor FFmpeg, so that an event loop can do it before they are loaded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

from voxgender.audio.packets import SAMPLE_RATE_HZ, Packet
from voxgender.errors import AudioError

Encoding = Literal["s16le", "f32le", "mulaw", "alaw"]
"""Names of the encodings, as FFmpeg has them: 16-bit integers, floats of full scale ±1, and G.711."""

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
SAMPLE_BYTES: Mapping[Encoding, int] = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1}
"""Bytes of one sample of one channel."""
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
        # numpy's integers are whole numbers, too.
        object.__setattr__(self, "rate_hz", int(self.rate_hz))
        if not _is_integer(self.channels) or not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioError(f"{self.channels!r} channels are not taken: give a number from 1 to {MAX_CHANNELS}.")
        object.__setattr__(self, "channels", int(self.channels))

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return SAMPLE_BYTES[self.encoding] * self.channels

    def duration_s(self, data: bytes) -> float:
        """Return how long the whole samples in some bytes last."""
        return len(data) // self.frame_bytes / self.rate_hz


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
        """Return the cutter for the rest of the stream, in another format; its clock continues this one's."""
        return PcmPackets(format, pts=round(self._pts * format.rate_hz / self.format.rate_hz))


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)

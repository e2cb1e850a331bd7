"""Decode Opus by libopus, because FFmpeg's wrapper lacks 16 kHz output, in-band FEC and concealment of losses.

The library that PyAV brings is used, or the system's. Its interface is described at
https://opus-codec.org/docs/opus_api-1.5/group__opus__decoder.html and has not changed since 2012.
"""

import ctypes
import ctypes.util
import threading
from functools import cache
from pathlib import Path

import av
import numpy as np

from voxgender.audio.frames import Samples

SAMPLE_RATE_HZ = 16_000

LONGEST = SAMPLE_RATE_HZ * 120 // 1_000
"""Samples of the longest packet, 120 ms (RFC 6716 section 3.2.5, R5)."""


class OpusError(ValueError):
    """A payload that libopus refuses."""


@cache
def library() -> ctypes.CDLL:
    """Load libopus.

    Raises:
        OSError: neither PyAV's nor the system's is there.
    """
    package = Path(av.__file__).parent
    bundled = [*package.parent.glob("av.libs/libopus*"), *package.glob(".dylibs/libopus*")]
    name = str(bundled[0]) if bundled else ctypes.util.find_library("opus") or "libopus.so.0"
    opus = ctypes.CDLL(name)
    opus.opus_decoder_create.argtypes = [ctypes.c_int32, ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
    opus.opus_decoder_create.restype = ctypes.c_void_p
    opus.opus_decoder_destroy.argtypes = [ctypes.c_void_p]
    opus.opus_decoder_destroy.restype = None
    opus.opus_decode_float.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
    ]
    opus.opus_decode_float.restype = ctypes.c_int
    return opus


class OpusDecoder:
    """Decodes one stream to 16 kHz, float32, full scale ±1.

    Args:
        channels: 1, or 2 for interleaved stereo; packets of either kind are decoded to either.
    """

    def __init__(self, channels: int = 1) -> None:
        self.channels = channels
        self._library = library()
        self._opus_decode = self._library.opus_decode_float
        error = ctypes.c_int()
        self._decoder = self._library.opus_decoder_create(SAMPLE_RATE_HZ, channels, ctypes.byref(error))
        if not self._decoder:
            raise MemoryError(f"opus_decoder_create failed with {error.value}")

    def __del__(self) -> None:
        if decoder := getattr(self, "_decoder", None):
            self._library.opus_decoder_destroy(decoder)

    def decode(self, payload: bytes, pcm: "Buffer") -> int:
        """Decode a packet to the end of a buffer; return the number of samples of each channel.

        Raises:
            OpusError: it is no Opus packet.
        """
        return self._decode(payload, pcm, LONGEST, 0)

    def recover(self, payload: bytes, samples: int, pcm: "Buffer") -> int:
        """Recover the ``samples`` lost before a packet by its in-band FEC; conceal those that it does not cover.

        Args:
            payload: the packet after the loss; it is still to be decoded for itself.
            samples: a multiple of 40 (2.5 ms), 1920 (120 ms) at most.
            pcm: receives them.

        Raises:
            OpusError: it is no Opus packet.
        """
        return self._decode(payload, pcm, samples, 1)

    def _decode(self, payload: bytes, pcm: "Buffer", samples: int, fec: int) -> int:
        address = pcm.reserve(samples * self.channels)
        count = self._opus_decode(self._decoder, payload, len(payload), address, samples, fec)
        if count < 0:
            raise OpusError(f"libopus refuses the packet ({count})")
        pcm.size += count * self.channels
        return count  # type: ignore[no-any-return]


class Buffer:
    """A buffer for the decoder's output that is used again and again."""

    def __init__(self) -> None:
        self.size = 0
        self._samples = np.empty(SAMPLE_RATE_HZ, dtype=np.float32)
        self._address = self._samples.ctypes.data

    def reserve(self, count: int) -> int:
        """Make room for ``count`` more samples; return the address to write them to."""
        while self.size + count > self._samples.size:
            self._samples = np.concatenate((self._samples, np.empty_like(self._samples)))
            self._address = self._samples.ctypes.data
        return self._address + self._samples.itemsize * self.size

    def add_silence(self, count: int) -> None:
        """Add ``count`` samples of silence."""
        self.reserve(count)
        self._samples[self.size : self.size + count] = 0
        self.size += count

    def pop(self) -> Samples:
        """Return a copy of the samples, shape ``(samples,)``, and empty the buffer."""
        taken = self._samples[: self.size].copy()
        self.size = 0
        return taken


_local = threading.local()


def scratch() -> Buffer:
    """Return this thread's buffer, empty: a new one costs as much as decoding 20 ms."""
    buffer: Buffer | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = Buffer()
    buffer.size = 0
    return buffer

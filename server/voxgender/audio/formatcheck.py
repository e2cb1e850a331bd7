"""Notice sound that is of another format than was said: it would be analysed as noise, and nobody be told.

Imports no numpy, so that an event loop can do it before that is loaded.
"""

import struct

from voxgender.audio.pcm import Encoding
from voxgender.errors import AudioError

HEAD_BYTES = 4_096
"""Bytes that are looked at together."""
HEADS = 8
"""How often that many bytes with sound in them are looked at."""
_MIN_SOUND = 200
"""Values other than 0 that it takes to tell."""
_VARIED = 16
_SIGNATURES = (
    (0, b"RIFF", "a WAV"),
    (0, b"OggS", "an Ogg"),
    (0, b"fLaC", "a FLAC"),
    (0, b"ID3", "an MP3"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska"),
    (4, b"ftyp", "an MP4"),
    (0, b"#!AMR", "an AMR"),
    (0, b"FORM", "an AIFF"),
    (0, b"caff", "a CAF"),
)


class FormatCheck:
    """Looks at the beginning of a stream of PCM.

    Args:
        encoding: that was said of the bytes.
        is_raw: whether they come as bytes, and not out of arrays or frames, whose type is known.
    """

    def __init__(self, encoding: Encoding, *, is_raw: bool) -> None:
        self._encoding = encoding
        self._is_raw = is_raw
        self._is_first = True
        self._left = HEADS if encoding in ("s16le", "f32le") else 0
        self._head = b""

    def look(self, data: bytes) -> None:
        """Look at the next bytes, until there was sound enough to tell.

        Raises:
            AudioError: they are of another format; the message says of which, and what to do.
        """
        if self._is_first and self._is_raw:
            _check_no_file(data)
        self._is_first = self._is_first and not data
        if not self._left:
            return
        waiting = self._head + data
        for at in range(0, len(waiting) - HEAD_BYTES + 1, HEAD_BYTES):
            self._left -= self._judge(waiting[at : at + HEAD_BYTES])
            if not self._left:
                self._head = b""
                return
        self._head = waiting[len(waiting) - len(waiting) % HEAD_BYTES :]

    def _judge(self, head: bytes) -> bool:
        """Return whether there is sound enough to tell."""
        if head.count(0) > HEAD_BYTES - 2 * _MIN_SOUND:
            return False
        # The upper halves of floats: sign, exponent and the first of the fraction.
        halves: tuple[int, ...] = struct.unpack(f"<{len(head) // 2}H", head)
        upper = [half & 0x7FFF for half in halves[1::2] if half]
        if len(upper) < _MIN_SOUND:
            return False

        def share(low: int, high: int) -> float:
            return sum(low <= half <= high for half in upper) / len(upper)

        # From 3e-20 to 1. Samples of 16 bits are all of them in this range only if they hardly change.
        if self._encoding == "s16le" and self._is_raw and share(0x2000, 0x3F80) > 0.98 and len(set(upper)) > _VARIED:
            raise AudioError("The bytes look like floats of 32 bits: say encoding='f32le', or give the array itself.")
        # From 8 to 8e9, where full scale is 1.
        if self._encoding == "f32le" and share(0x4100, 0x5000) > 0.25:
            raise AudioError(
                "The samples go far beyond the full scale of floats, which is ±1: divide them by 32768 if they were "
                "int16."
            )
        # Beyond 1e10, and no infinity.
        if self._encoding == "f32le" and self._is_raw and share(0x5010, 0x7F7F) > 0.25:
            raise AudioError("The bytes look like no floats of 32 bits: say encoding='s16le' if they are int16.")
        return True


def _check_no_file(data: bytes) -> None:
    if (kind := kind_of_file(data)) is not None:
        raise AudioError(
            f"The bytes begin as {kind} file does, and are no PCM: give the file to classify(), without rate=, or have "
            "it decoded first, as by ffmpeg -i FILE -f s16le -ar 16000 -ac 1 -."
        )


def kind_of_file(data: bytes | bytearray) -> str | None:
    """Name the kind of file that some bytes begin as, with its article; None for none that is known."""
    for at, signature, kind in _SIGNATURES:
        if data[at : at + len(signature)] == signature:
            return kind
    return None

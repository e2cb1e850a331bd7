"""PCM that is of another format than was said is refused: it was analysed as noise, and labelled no speech."""

import numpy as np
import pytest

from tests.support import Samples, noise, sine
from voxgender.audio.chunks import Chunks
from voxgender.audio.formatcheck import HEAD_BYTES
from voxgender.audio.pcm import Encoding
from voxgender.errors import AudioError
from voxgender.peer.voices import WOMAN, speak


@pytest.fixture(scope="module")
def voice() -> Samples:
    spoken = speak(WOMAN, 2.0)
    return spoken + noise(2.0, level=0.001)[: spoken.size]


def take(data: object, encoding: Encoding | None = None, *, each: int = 640) -> None:
    chunks = Chunks(16_000, encoding)
    pieces = [data[at : at + each] for at in range(0, len(data), each)] if isinstance(data, bytes) else [data]
    for piece in pieces:
        list(chunks.cut(piece))


def int16(samples: Samples) -> bytes:
    return (samples * 32_767).astype("<i2").tobytes()


@pytest.mark.parametrize("each", [320, 1_000, 100_000])
def test_floats_whose_encoding_was_not_said(voice: Samples, each: int) -> None:
    """Bindings of sound cards give float32 unless they are told, and ``tobytes`` forgets it."""
    with pytest.raises(AudioError, match="say encoding='f32le'"):
        take(voice.tobytes(), each=each)


def test_floats_after_a_minute_of_silence(voice: Samples) -> None:
    with pytest.raises(AudioError, match="say encoding='f32le'"):
        take(bytes(60 * 16_000 * 4) + voice.tobytes(), each=64_000)


def test_16_bits_that_were_said_to_be_floats(voice: Samples) -> None:
    with pytest.raises(AudioError, match="say encoding='s16le'"):
        take(int16(voice), "f32le")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_int16_that_was_made_floats(voice: Samples, dtype: type) -> None:
    """``scipy.io.wavfile`` gives int16, and ``astype(float)`` does not change its scale."""
    with pytest.raises(AudioError, match="divide them by 32768"):
        take((voice * 32_767).astype(dtype))


@pytest.mark.parametrize(
    ("begins", "kind"),
    [
        (b"RIFF\x24\0\0\0WAVE", "a WAV"),
        (b"ID3\x04", "an MP3"),
        (b"OggS\0", "an Ogg"),
        (b"fLaC\0", "a FLAC"),
        (b"\x1aE\xdf\xa3", "a WebM"),
        (b"\0\0\0\x20ftypM4A ", "an MP4"),
    ],
)
@pytest.mark.parametrize("encoding", [None, "f32le", "mulaw"])
def test_a_whole_file_instead_of_its_samples(begins: bytes, kind: str, encoding: Encoding | None) -> None:
    """An upload was given as it came, with the rate that the first error asked for."""
    with pytest.raises(AudioError, match=f"begin as {kind} "):
        take(begins + bytes(1_000), encoding)


def square(low: int, high: int) -> bytes:
    return np.where(np.arange(HEAD_BYTES) % 100 < 50, low, high).astype("<i2").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        int16(sine(1.0, level=1.0)),
        int16(noise(1.0, level=0.3)),
        int16(noise(1.0, level=0.0001)),
        square(-14_000, 14_000),
        square(14_000, 14_000),
        square(-32_768, 32_767),
        b"\0RIFF" * 4,
    ],
    ids=["sine", "noise", "hiss", "square", "constant", "clipped", "later"],
)
def test_sound_of_16_bits_is_taken(data: bytes) -> None:
    take(data)


@pytest.mark.parametrize(
    "samples",
    [
        sine(1.0, level=1.0),
        sine(1.0, level=4.0),
        noise(1.0, level=1e-6),
        np.full(16_000, np.nan, np.float32),
        np.full(16_000, 1e30, np.float32),
    ],
    ids=["full scale", "12 dB beyond it", "hiss", "no numbers", "damaged"],
)
def test_floats_are_taken(samples: Samples) -> None:
    take(samples)
    take(samples.astype("<f4").tobytes()[: HEAD_BYTES - 4], "f32le")

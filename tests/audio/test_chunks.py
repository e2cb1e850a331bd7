"""Chunks of PCM as programs have them: bytes, arrays of any shape and type, frames of other libraries."""

import ctypes
from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from av.audio.frame import AudioFrame

from tests.support import frame, sine
from voxgender.audio.chunks import Chunks
from voxgender.audio.frames import Wave
from voxgender.audio.resampler import Resampler
from voxgender.errors import AudioError

LEFT = np.arange(1, 401, dtype=np.int16) * 16
RIGHT = -LEFT * 2


@dataclass
class LiveKitFrame:
    """``livekit.rtc.AudioFrame``, by its attributes."""

    data: memoryview
    sample_rate: int
    num_channels: int


@dataclass
class LiveKitEvent:
    frame: LiveKitFrame


@dataclass
class PipecatFrame:
    """``pipecat.frames.frames.AudioRawFrame``, by its attributes."""

    audio: bytes
    sample_rate: int
    num_channels: int


def heard(chunks: Chunks, *given: object) -> list[npt.NDArray[Any]]:
    """The samples of each channel, at 16 kHz and of full scale 32768."""
    packets = [packet for chunk in given for packet, _ in chunks.cut(chunk)]
    told = []
    for decode in chunks.decoders:
        resampler = Resampler()
        told.append(np.concatenate([resampler.convert(decode(packets)), resampler.flush()]) * 32_768)
    return told


@pytest.mark.parametrize(
    "chunk",
    [
        LEFT.tobytes(),
        bytearray(LEFT.tobytes()),
        memoryview(LEFT.tobytes()),
        LEFT.data,
        memoryview(np.repeat(LEFT, 2).data)[::2],
        array("h", LEFT.tolist()),
        (ctypes.c_short * LEFT.size)(*LEFT.tolist()),
        (ctypes.c_byte * LEFT.nbytes).from_buffer_copy(LEFT.tobytes()),
        LEFT,
        LEFT.reshape(1, -1),
        LEFT.reshape(-1, 1),
        LEFT.reshape(1, 1, -1),
        LEFT.astype(">i2"),
        LEFT[::-1][::-1],
        (LEFT / 32_768).astype(np.float32),
        (LEFT / 32_768).astype(np.float64),
        LEFT.astype(np.int32) * 65_536,
        (16_000, LEFT.reshape(1, -1)),
        (LEFT, np.int64(16_000)),
        LiveKitFrame(LEFT.data, 16_000, 1),
        LiveKitEvent(LiveKitFrame(LEFT.data, 16_000, 1)),
        PipecatFrame(LEFT.tobytes(), 16_000, 1),
        frame(LEFT / 32_767, encoding="flt"),
        frame(LEFT / 32_767, encoding="s16p"),
        frame(LEFT / 32_767, encoding="s32"),
    ],
    ids=lambda chunk: type(chunk).__name__,
)
def test_sound_is_the_same_however_it_is_given(chunk: object) -> None:
    (samples,) = heard(Chunks(16_000), chunk)
    assert np.abs(samples - LEFT).max() <= 1


@pytest.mark.parametrize(
    "chunk",
    [
        np.stack([LEFT, RIGHT]),
        np.stack([LEFT, RIGHT], axis=1),
        np.stack([LEFT, RIGHT], axis=1).reshape(-1),
        np.stack([LEFT, RIGHT], axis=1).tobytes(),
        LiveKitFrame(np.stack([LEFT, RIGHT], axis=1).reshape(-1).data, 16_000, 2),
        PipecatFrame(np.stack([LEFT, RIGHT], axis=1).tobytes(), 16_000, 2),
    ],
    ids=["planar", "interleaved", "flat", "bytes", "livekit", "pipecat"],
)
def test_channels_are_told_apart_however_they_are_laid_out(chunk: object) -> None:
    left, right = heard(Chunks(16_000, channels=2), chunk)
    assert (left == LEFT).all()
    assert (right == RIGHT).all()


def test_channels_that_nobody_asked_to_tell_apart_are_mixed() -> None:
    (mixed,) = heard(Chunks(), (16_000, np.stack([LEFT, LEFT * 2])))
    assert mixed[50:-50] == pytest.approx(LEFT[50:-50] * 1.5, abs=1)


def test_a_square_array_is_laid_out_as_those_before_it() -> None:
    planar = np.array([[1, 2, 3], [10, 20, 30]], dtype=np.int16)
    left, right = heard(Chunks(16_000, channels=2), planar, np.array([[4, 5], [40, 50]], dtype=np.int16))
    assert (left.tolist(), right.tolist()) == ([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])


def test_companded_bytes_may_come_in_arrays() -> None:
    (silent,) = heard(Chunks(8_000, "mulaw"), np.full(800, 0xFF, dtype=np.uint8))
    assert silent.size == 1_600
    assert not silent.any()


def test_a_stream_may_change_its_format_and_its_clock_goes_on() -> None:
    chunks = Chunks()
    packets = [
        packet
        for rate in (16_000, 48_000, 8_000)
        for packet, _ in chunks.cut(PipecatFrame((sine(0.5, rate=rate) * 32_767).astype("<i2").tobytes(), rate, 1))
    ]
    (decode,) = chunks.decoders
    frames = decode(packets)
    assert [(one.sample_rate, one.time) for one in frames] == [(16_000, 0.0), (48_000, 0.5), (8_000, 1.0)]


def test_an_empty_chunk_is_nothing() -> None:
    chunks = Chunks(16_000)
    assert [list(chunks.cut(empty)) for empty in (b"", np.zeros(0, dtype=np.int16), b"")] == [[], [], []]


@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 2), (1, 0), (2, 0)])
def test_a_first_chunk_may_be_empty_and_says_nothing_of_the_channels(shape: tuple[int, ...]) -> None:
    """A callback of a sound card that has nothing yet gave (0, 2), which was refused as sound of 0 channels."""
    chunks = Chunks(16_000)
    assert list(chunks.cut(np.zeros(shape, np.int16))) == []
    square = np.array([[1, 2], [3, 4]], np.int16)
    ((packet, _),) = chunks.cut(square)
    assert packet.data == square.tobytes()


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    """They were refused as none: rates that were read from a table or a header are of such types."""
    chunks = Chunks(np.int64(16_000), "s16le", np.int32(2))  # type: ignore[arg-type]
    ((_, length_s),) = chunks.cut(bytes(640))
    assert length_s == 0.01


def test_floats_that_are_no_numbers_are_silence() -> None:
    (samples,) = heard(Chunks(16_000), np.array([np.nan, np.inf, 0.5, 1e300], dtype=np.float64))
    assert samples.tolist() == [0, 0, 16_384, 0]


def test_samples_that_are_masked_are_silence() -> None:
    """They were analysed: numpy gives what is under a mask when it is asked for a plain array."""
    (samples,) = heard(Chunks(16_000), np.ma.masked_array(LEFT, LEFT > 800))
    assert samples.tolist() == [*LEFT[:50], *[0] * 350]


class Tensor:
    """A tensor that is on another device, as those of torch, tensorflow and jax may be."""

    def __array__(self, dtype: object = None, copy: object = None) -> npt.NDArray[Any]:
        raise TypeError("use Tensor.cpu() to copy the tensor to host memory first")


def let_go() -> memoryview:
    view = memoryview(b"1234")
    view.release()
    return view


@pytest.mark.parametrize(
    ("options", "chunk", "told"),
    [
        ({}, b"\0\0", "A bytes does not say its sample rate: give it as rate=, such as rate=16000."),
        ({"rate_hz": 16_000}, np.zeros(4, dtype=np.int64), "An array of int64 is not taken: give int16, or float32"),
        ({"rate_hz": 16_000}, np.zeros(4, dtype=np.uint8), "An array of uint8 is not taken"),
        ({"rate_hz": 16_000}, np.zeros(4, dtype=np.complex64), "An array of complex64 is not taken"),
        ({"rate_hz": 16_000}, np.zeros((3, 4, 5), dtype=np.int16), "An array of shape (3, 4, 5) is not taken"),
        ({"rate_hz": 16_000}, np.zeros((20, 30), dtype=np.int16), "more than 8 channels"),
        ({"rate_hz": 16_000, "channels": 2}, np.zeros((3, 40), dtype=np.int16), "has no axis of 2 channels"),
        ({"rate_hz": 16_000, "channels": 2}, np.zeros(3, dtype=np.int16), "not the same number for each of 2"),
        ({"rate_hz": 8_000}, PipecatFrame(b"", 16_000, 1), "A PipecatFrame of 16000 Hz came where rate=8000 was said"),
        ({"channels": 2}, PipecatFrame(b"", 16_000, 1), "of 1 channel came where channels=2 was said"),
        ({}, PipecatFrame(b"", 0, 1), "A PipecatFrame has no sample rate"),
        ({}, PipecatFrame(b"", 4_000, 1), "4000 Hz is not taken"),
        ({"rate_hz": 16_000, "encoding": "f32le"}, np.zeros(4, dtype=np.int16), "leave encoding= out"),
        ({"rate_hz": 16_000}, "voice.wav", "A text is no PCM: to read a file, give its path to classify()."),
        ({"rate_hz": 16_000}, Tensor(), "A Tensor gives no array (use Tensor.cpu() to copy the tensor"),
        ({"rate_hz": 16_000}, (16_000, Tensor()), "A Tensor gives no array"),
        ({"rate_hz": 16_000}, let_go(), "The memory of a memoryview cannot be read"),
        ({"rate_hz": 16_000}, memoryview(bytes(8)).cast("P"), "A memoryview gives no array"),
        ({"rate_hz": 16_000}, array("q", [1, 2]), "An array of int64 is not taken"),
        ({"rate_hz": 16_000}, None, "A NoneType is no PCM"),
        ({"rate_hz": 16_000}, 7, "A int is no PCM"),
        ({"rate_hz": 16_000}, object(), "A object is no PCM"),
        ({}, AudioFrame(format="s16", layout="mono", samples=4), "An? AudioFrame has no sample rate"),
    ],
)
def test_what_cannot_be_taken_is_said_in_a_sentence(options: dict[str, Any], chunk: object, told: str) -> None:
    with pytest.raises(AudioError) as refused:
        list(Chunks(**options).cut(chunk))
    assert told.replace("An? ", "A ") in str(refused.value)


@pytest.mark.parametrize("options", [{"rate_hz": 7_999}, {"encoding": "opus"}, {"channels": 0}, {"channels": 9}])
def test_options_out_of_bounds_are_refused_before_a_chunk_comes(options: dict[str, Any]) -> None:
    with pytest.raises(AudioError):
        Chunks(**options)


def test_wide_sound_of_16_khz_is_not_filtered() -> None:
    chunks = Chunks(16_000)
    packets = [packet for packet, _ in chunks.cut(LEFT)]
    assert all(isinstance(one, Wave) for one in chunks.decoders[0](packets))

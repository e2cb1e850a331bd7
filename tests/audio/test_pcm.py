"""PCM: formats, chunks of any size, channels, and numbers that are none."""

from itertools import pairwise
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.audio.frame import AudioFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.support import sine
from voxgender.audio.frames import Frame, Packet, Wave
from voxgender.audio.pcm import ENCODINGS, PACKET_S, Encoding, PcmFormat, PcmPackets
from voxgender.audio.pcmdecoder import PcmDecoder, samples_of
from voxgender.audio.resampler import Resampler
from voxgender.errors import AudioError


def packets_of(pcm: PcmFormat, *chunks: bytes) -> list[Packet]:
    packets = PcmPackets(pcm)
    return [packet for chunk in chunks for packet, _ in packets.cut(chunk)]


def sound(frames: list[Frame]) -> npt.NDArray[Any]:
    resampler = Resampler()
    return np.concatenate([resampler.convert(frames), resampler.flush()])


@pytest.mark.parametrize("name", ["mulaw", "alaw"])
def test_g711_is_decoded_as_ffmpeg_does(name: Encoding) -> None:
    decoder = av.CodecContext.create(f"pcm_{name}", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.format, decoder.layout, decoder.sample_rate = "s16", "mono", 8_000
    every = bytes(range(256))
    (frame,) = decoder.decode(av.Packet(every))
    assert samples_of(PcmFormat(8_000, name), every)[:, 0].tolist() == frame.to_ndarray()[0].tolist()


@given(
    st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=8), st.sampled_from(ENCODINGS), st.integers(1, 8)
)
def test_chunks_may_end_anywhere(data: bytes, cuts: list[int], encoding: Encoding, channels: int) -> None:
    pcm = PcmFormat(16_000, encoding, channels)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:end] for start, end in pairwise(edges)]
    packets = packets_of(pcm, *chunks)
    whole = data[: len(data) - len(data) % pcm.frame_bytes]
    assert b"".join(packet.data for packet in packets) == whole
    positions = np.cumsum([0, *(len(packet.data) // pcm.frame_bytes for packet in packets)])
    assert [packet.pts for packet in packets] == positions[:-1].tolist()


def test_a_long_chunk_is_cut_into_short_packets() -> None:
    pcm = PcmFormat(48_000, "f32le", 2)
    lengths = [duration_s for _, duration_s in PcmPackets(pcm).cut(bytes(8 * 48_000))]
    assert sum(lengths) == pytest.approx(1.0)
    assert max(lengths) <= PACKET_S


def test_each_channel_is_decoded_apart_and_all_are_mixed_on_request() -> None:
    pcm = PcmFormat(16_000, channels=3)
    packets = packets_of(pcm, np.array([[1, 20, 300], [2, 40, 600]], dtype="<i2").tobytes())

    def decoded(channel: int | None) -> list[int]:
        (frame,) = PcmDecoder(pcm, channel).decode(packets)
        assert isinstance(frame, Wave)
        return [round(float(sample) * (1 if frame.pcm.dtype == np.int16 else 32_768)) for sample in frame.pcm]

    assert [decoded(channel) for channel in (0, 1, 2, None)] == [[1, 2], [20, 40], [300, 600], [107, 214]]


def test_floats_that_are_no_numbers_are_silence() -> None:
    pcm = PcmFormat(16_000, "f32le")
    data = np.array([0.5, np.nan, np.inf, -np.inf, 1e30, -0.5], dtype="<f4").tobytes()
    (frame,) = PcmDecoder(pcm).decode(packets_of(pcm, data))
    assert isinstance(frame, Wave)
    assert frame.pcm.tolist() == [0.5, 0, 0, 0, 0, -0.5]


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("encoding", ["s16le", "f32le"])
def test_any_rate_becomes_16_khz(rate: int, encoding: Encoding) -> None:
    tone = sine(1.0, rate=rate)
    data = tone.astype("<f4").tobytes() if encoding == "f32le" else (tone * 32_767).astype("<i2").tobytes()
    pcm = PcmFormat(rate, encoding)
    frames = PcmDecoder(pcm).decode(packets_of(pcm, data))
    heard = sound(frames)
    assert heard.size == pytest.approx(16_000, abs=2)
    assert np.abs(heard[1_000:15_000] - sine(1.0)[1_000:15_000]).max() < 0.02


def test_packets_left_out_leave_a_gap_between_frames() -> None:
    pcm = PcmFormat(8_000)
    packets = PcmPackets(pcm)
    first = [packet for packet, _ in packets.cut(bytes(160))]
    assert sum(duration_s for _, duration_s in packets.cut(bytes(1_600))) == pytest.approx(0.1)
    last = [packet for packet, _ in packets.cut(bytes(160))]
    frames = PcmDecoder(pcm).decode([*first, *last])
    assert [frame.time for frame in frames] == [0.0, 0.11]
    assert all(isinstance(frame, AudioFrame) for frame in frames)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((16_000, "pcm16"), "There is no encoding 'pcm16': choose one of s16le, f32le, mulaw, alaw."),
        ((7_999,), "7999 Hz is not taken: give a whole number from 8000 to 192000."),
        ((192_001,), "192001 Hz"),
        ((16_000.5,), "16000.5 Hz"),
        ((True,), "True Hz"),
        ((16_000, "s16le", 0), "0 channels are not taken: give a number from 1 to 8."),
        ((16_000, "s16le", 9), "9 channels"),
        ((16_000, "s16le", "2"), "'2' channels"),
    ],
)
def test_a_format_out_of_bounds_is_refused_in_a_sentence(arguments: tuple[object, ...], told: str) -> None:
    with pytest.raises(AudioError) as refused:
        PcmFormat(*arguments)  # type: ignore[arg-type]
    assert told in str(refused.value)


def test_a_channel_that_is_not_there_is_refused() -> None:
    with pytest.raises(AudioError, match="no channel 2"):
        PcmDecoder(PcmFormat(channels=2), 2)

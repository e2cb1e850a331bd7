"""RTP payloads of each format, whole and broken."""

from fractions import Fraction

import numpy as np
import pytest
from aiortc import RTCRtpCodecParameters
from av import AudioCodecContext, CodecContext
from av.audio.frame import AudioFrame

from voxgender.media.decoder import Decoder, opus_duration

OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48_000, channels=2, payloadType=96)
PCMU = RTCRtpCodecParameters(mimeType="audio/PCMU", clockRate=8_000, channels=1, payloadType=0)
G722 = RTCRtpCodecParameters(mimeType="audio/G722", clockRate=8_000, channels=1, payloadType=9)


def opus_payloads(count: int, *, frame_ms: int = 20, layout: str = "mono") -> list[bytes]:
    """A 300 Hz tone in Opus, one payload a packet."""
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.format, encoder.layout, encoder.sample_rate = "s16", layout, 48_000
    encoder.time_base = Fraction(1, 48_000)
    encoder.options = {"frame_duration": str(frame_ms), "application": "voip"}
    samples = 48 * frame_ms
    channels = 2 if layout == "stereo" else 1
    payloads: list[bytes] = []
    for index in range(count + 3):
        time = (np.arange(samples) + index * samples) / 48_000
        tone = np.repeat((9_000 * np.sin(2 * np.pi * 300 * time)).astype(np.int16), channels).reshape(1, -1)
        frame = AudioFrame.from_ndarray(tone, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, index * samples, Fraction(1, 48_000)
        payloads += [bytes(packet) for packet in encoder.encode(frame)]
    return payloads[:count]


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_opus_of_any_frame_size_becomes_mono_with_true_timestamps(frame_ms: int, layout: str) -> None:
    samples = 48 * frame_ms
    payloads = opus_payloads(10, frame_ms=frame_ms, layout=layout)
    assert {opus_duration(payload) for payload in payloads} == {samples}
    frames = Decoder(OPUS).decode([(index * samples, payload) for index, payload in enumerate(payloads)])
    assert [frame.pts for frame in frames] == [index * samples for index in range(10)]
    assert {frame.layout.name for frame in frames} == {"mono"}
    assert {frame.sample_rate for frame in frames} == {48_000}
    assert sum(frame.samples for frame in frames) == 10 * samples


def test_an_empty_payload_does_not_end_the_stream() -> None:
    """One empty Opus payload made FFmpeg's decoder refuse every later packet with EOFError."""
    payloads = opus_payloads(6)
    payloads[2] = b""
    frames = Decoder(OPUS).decode([(index * 960, payload) for index, payload in enumerate(payloads)])
    assert [frame.pts for frame in frames] == [0, 960, 2880, 3840, 4800]


@pytest.mark.parametrize("broken", [b"\xff" * 3, b"\x03", b"\xfb\xff" + b"\x00" * 40, bytes(range(256)) * 6])
def test_a_broken_payload_costs_its_own_time_only(broken: bytes) -> None:
    payloads = opus_payloads(8)
    payloads[3] = broken
    frames = Decoder(OPUS).decode([(index * 960, payload) for index, payload in enumerate(payloads)])
    assert {0, 960, 1920, 3840, 4800, 5760, 6720} <= {frame.pts for frame in frames}
    tone = frames[-1].to_ndarray().astype(float)
    assert np.abs(tone).max() > 4_000


@pytest.mark.parametrize(
    ("payload", "duration"),
    [
        (b"", 0),
        (bytes([0b00001_0_00]), 960),  # SILK narrowband, 20 ms, one frame
        (bytes([0b00001_0_01]), 1_920),  # two frames
        (bytes([0b00011_0_10]), 5_760),  # two of 60 ms: 120 ms, the most
        (bytes([0b11100_0_00]), 120),  # CELT, 2.5 ms
        (bytes([0b00000_0_11, 3]), 1_440),  # three frames of 10 ms
        (bytes([0b00000_0_11]), 0),  # the count is missing
        (bytes([0b00011_0_11, 3]), 0),  # 180 ms: against RFC 6716 R5
    ],
)
def test_opus_duration_is_read_from_the_toc(payload: bytes, duration: int) -> None:
    assert opus_duration(payload) == duration


def test_g711_decodes_at_8_khz() -> None:
    decoder = Decoder(PCMU)
    payload = bytes([0x80, 0x00] * 80)
    assert decoder.duration(payload) == 160
    (frame,) = decoder.decode([(800, payload)])
    assert (frame.pts, frame.samples, frame.sample_rate, frame.time_base) == (800, 160, 8_000, Fraction(1, 8_000))


def test_g722_is_16_khz_on_an_8_khz_clock() -> None:
    """RFC 3551 section 4.5.2: the clock of G.722 says 8000 by an old mistake."""
    decoder = Decoder(G722)
    payload = b"\xfa" * 160
    assert decoder.duration(payload) == 160
    frames = decoder.decode([(0, payload), (160, payload)])
    assert [frame.pts for frame in frames] == [0, 160]
    assert {(frame.samples, frame.sample_rate) for frame in frames} == {(320, 16_000)}

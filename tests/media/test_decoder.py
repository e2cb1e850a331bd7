"""RTP payloads of each format, whole and broken."""

from fractions import Fraction

import numpy as np
import pytest
from aiortc import RTCRtpCodecParameters
from av import AudioCodecContext, CodecContext
from av.audio.frame import AudioFrame

from voxgender.audio.frames import Frame, Packet, Wave
from voxgender.media.decoder import Decoder, OpusPayloads, make_decoder, merge_packets, opus_duration

OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48_000, channels=2, payloadType=96)
PCMU = RTCRtpCodecParameters(mimeType="audio/PCMU", clockRate=8_000, channels=1, payloadType=0)
G722 = RTCRtpCodecParameters(mimeType="audio/G722", clockRate=8_000, channels=1, payloadType=9)


def opus_payloads(count: int, *, frame_ms: int = 20, layout: str = "mono", right: float = 1.0) -> list[bytes]:
    """A 300 Hz tone in Opus, one payload a packet; the right channel is ``right`` times the left one."""
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
        left = 9_000 * np.sin(2 * np.pi * 300 * time)
        tone = np.stack([left, right * left][:channels], axis=1).astype(np.int16).reshape(1, -1)
        frame = AudioFrame.from_ndarray(tone, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, index * samples, Fraction(1, 48_000)
        payloads += [bytes(packet) for packet in encoder.encode(frame)]
    return payloads[:count]


def opus_decoder() -> Decoder:
    decoder = make_decoder(OPUS)
    assert decoder is not None
    return decoder


def payloads_of(data: list[bytes], *, samples: int = 960) -> list[Packet]:
    return [Packet(index * samples, payload) for index, payload in enumerate(data)]


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_opus_of_any_frame_size_becomes_16_khz_mono_with_true_timestamps(frame_ms: int, layout: str) -> None:
    samples = 48 * frame_ms
    data = opus_payloads(10, frame_ms=frame_ms, layout=layout)
    assert {opus_duration(payload) for payload in data} == {samples}
    (frame,) = opus_decoder().decode(payloads_of(data, samples=samples))
    assert isinstance(frame, Wave)
    assert (frame.pts, frame.clock_rate_hz, frame.sample_rate) == (0, 48_000, 16_000)
    assert frame.samples == 10 * samples // 3


@pytest.mark.parametrize("right", [1.0, -1.0, -0.8, 0.0])
@pytest.mark.parametrize("at_once", [1, 10])
def test_a_voice_with_one_channel_inverted_is_heard_out_of_opus(right: float, at_once: int) -> None:
    """OBS, GStreamer and aiortc send stereo whatever the answer asks for; libopus' own mix of it was silence."""
    packets = payloads_of(opus_payloads(50, layout="stereo", right=right))
    decoder = opus_decoder()
    decoded = [decoder.decode(packets[at : at + at_once]) for at in range(0, 50, at_once)]
    waves = [frame for frames in decoded for frame in frames if isinstance(frame, Wave)]
    samples = np.concatenate([wave.pcm for wave in waves])
    assert samples.dtype == np.float32
    assert samples.size == 16_000
    wanted = 9_000 / 32_768 / np.sqrt(2) * (1.0 if right < 0 else (1 + right) / 2)
    assert np.sqrt(np.mean(samples[4_000:] ** 2)) == pytest.approx(wanted, rel=0.1)


def test_a_stream_that_turns_stereo_goes_on_and_back() -> None:
    mono, inverted = opus_payloads(20), opus_payloads(20, layout="stereo", right=-1.0)
    (first, second) = opus_decoder().decode(payloads_of([*mono[:10], *inverted[:10], *mono[10:]]))
    assert (first.pts, first.samples) == (0, 3_200)
    assert (second.pts, second.samples) == (9_600, 6_400)
    assert level(second, 1_600, 3_200) * 32_768 == pytest.approx(9_000 / np.sqrt(2), rel=0.15)
    assert level(second, 4_800, 6_400) * 32_768 == pytest.approx(9_000 / np.sqrt(2), rel=0.15)


def test_a_gap_in_time_alone_is_left_to_be_silence() -> None:
    """DTX sends nothing for what is silent; there is nothing to recover."""
    data = opus_payloads(4)
    frames = opus_decoder().decode([Packet(0, data[0]), Packet(960, data[1]), Packet(960 * 20, data[2])])
    assert [(frame.pts, frame.samples) for frame in frames] == [(0, 640), (960 * 20, 320)]


def sound(frame: Frame) -> np.ndarray:
    return frame.pcm[None] if isinstance(frame, Wave) else frame.to_ndarray()


def level(frame: Frame, start: int, end: int) -> float:
    return float(np.sqrt(np.mean(sound(frame)[0, start:end].astype(float) ** 2)))


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_a_loss_is_recovered_or_concealed(lost: int) -> None:
    payloads = payloads_of(opus_payloads(20))
    after = 8 + lost
    heard = [*payloads[:8], payloads[after]._replace(after_loss=True), *payloads[after + 1 :]]
    (frame,) = opus_decoder().decode(heard)
    assert frame.samples == 20 * 320
    hole = level(frame, 8 * 320, after * 320)
    assert hole > 0.2 * level(frame, 4 * 320, 8 * 320)


def test_a_loss_too_long_to_conceal_stays_a_gap() -> None:
    payloads = payloads_of(opus_payloads(20))
    heard = [*payloads[:3], payloads[12]._replace(after_loss=True), *payloads[13:]]
    frames = opus_decoder().decode(heard)
    assert [frame.pts for frame in frames] == [0, 12 * 960]


def test_an_empty_payload_does_not_end_the_stream() -> None:
    """One empty Opus payload made FFmpeg's decoder refuse every later packet with EOFError."""
    data = opus_payloads(6)
    data[2] = b""
    frames = opus_decoder().decode(payloads_of(data))
    assert [(frame.pts, frame.samples) for frame in frames] == [(0, 640), (2880, 960)]


@pytest.mark.parametrize("broken", [b"\xff" * 3, b"\x03", b"\xfb\xff" + b"\x00" * 40, bytes(range(256)) * 6])
def test_a_broken_payload_costs_its_own_time_only(broken: bytes) -> None:
    data = opus_payloads(12)
    data[3] = broken
    frames = opus_decoder().decode(payloads_of(data))
    assert frames[0].pts == 0
    assert frames[-1].pts is not None
    assert frames[-1].pts + 3 * frames[-1].samples == 12 * 960
    assert level(frames[-1], frames[-1].samples - 640, frames[-1].samples) > 0.1


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
    decoder = make_decoder(PCMU)
    assert decoder is not None
    payload = bytes([0x80, 0x00] * 80)
    assert decoder.duration(payload) == 160
    assert decoder.decode([Packet(0, b"")]) == []
    (frame,) = decoder.decode([Packet(800, payload)])
    assert isinstance(frame, AudioFrame)
    assert (frame.pts, frame.samples, frame.sample_rate, frame.time_base) == (800, 160, 8_000, Fraction(1, 8_000))


def test_g722_is_16_khz_on_an_8_khz_clock() -> None:
    """RFC 3551 section 4.5.2: the clock of G.722 says 8000 by an old mistake."""
    decoder = make_decoder(G722)
    assert decoder is not None
    payload = b"\xfa" * 160
    assert decoder.duration(payload) == 160
    frames = decoder.decode([Packet(0, payload), Packet(160, payload)])
    assert [frame.pts for frame in frames] == [0, 160]
    assert {(frame.samples, frame.sample_rate) for frame in frames} == {(320, 16_000)}


@pytest.mark.parametrize("sizes", [(1, 40, 80), (251, 252, 253), (255, 256, 1_276), (3,)])
def test_joined_packets_hold_the_frames_of_each(sizes: tuple[int, ...]) -> None:
    """RFC 6716 section 3.2.5, figure 7."""
    packets = [bytes([0x48]) + bytes([number]) * (size - 1) for number, size in enumerate(sizes)]
    packet = merge_packets(packets)
    if len(packets) == 1:
        assert packet == packets[0]
        return
    assert packet[0] == 0x48 | 3
    assert packet[1] == 0x80 | len(packets)
    position, lengths = 2, []
    for _ in packets[:-1]:
        length = packet[position]
        position += 1
        if length >= 252:
            length += 4 * packet[position]
            position += 1
        lengths.append(length)
    lengths.append(len(packet) - position - sum(lengths))
    assert lengths == [size - 1 for size in sizes]
    assert packet[position:] == b"".join(one[1:] for one in packets)


def test_packets_decoded_together_sound_as_each_by_itself() -> None:
    payloads = [Packet(number * 960, data) for number, data in enumerate(opus_payloads(50))]
    together, alone = OpusPayloads(OPUS), OpusPayloads(OPUS)
    (frame,) = together.decode(payloads)
    singly = [sound(one) for payload in payloads for one in alone.decode([payload])]
    np.testing.assert_array_equal(sound(frame), np.concatenate(singly, axis=1))


@pytest.mark.parametrize("first", [1_276, 1_277, 2_000])
@pytest.mark.parametrize("second", [1_276, 1_277, 2_000])
def test_frames_that_are_too_large_are_refused_each_by_itself(first: int, second: int) -> None:
    """The length of a frame above 1275 bytes cannot be written: two in a row ended the call as the server's mistake."""
    voice = [Packet(number * 960, data) for number, data in enumerate(opus_payloads(6))]
    large = [Packet(960 * (3 + number), b"\xfc" + bytes(size - 1)) for number, size in enumerate((first, second))]
    decoder = OpusPayloads(OPUS)
    heard = decoder.decode([*voice[:3], *large, voice[5]])
    refused = sum(size > 1_276 for size in (first, second))
    assert sum(sound(frame).shape[1] for frame in heard) == (6 - refused) * 320


def test_packets_of_other_shapes_are_not_joined() -> None:
    first, second, third = opus_payloads(3)
    double = bytes([first[0] | 1]) + first[1:] + first[1:]  # code 1: two frames of equal size
    payloads = [
        Packet(0, first),
        Packet(960, double),
        Packet(960 + 1_920, second),
        Packet(20_000, third),  # after a gap
    ]
    frames = OpusPayloads(OPUS).decode(payloads)
    assert [(frame.pts, frame.samples) for frame in frames] == [(0, 4 * 320), (20_000, 320)]

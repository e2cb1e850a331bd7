"""A voice in several channels is heard, however they stand to each other."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout

from tests.support import Samples, noise, sine
from voxgender.audio.files import read_audio
from voxgender.audio.frames import Packet
from voxgender.audio.mixing import layout_weights
from voxgender.audio.pcm import Encoding, PcmFormat
from voxgender.audio.pcmdecoder import PcmDecoder
from voxgender.audio.resampler import Resampler

RATE = 16_000


def stereo(left: Samples, right: Samples, *, encoding: str = "s16", each: int = 320) -> list[AudioFrame]:
    made = []
    for start in range(0, left.size, each):
        planes = np.stack([left[start : start + each], right[start : start + each]])
        if encoding.startswith("s16"):
            planes = (planes * 32_767).astype(np.int16)
        if not encoding.endswith("p"):
            planes = planes.T.reshape(1, -1)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(planes), format=encoding, layout="stereo")
        frame.sample_rate = RATE
        made.append(frame)
    return made


def heard(left: Samples, right: Samples, *, at_once: int = 1, encoding: str = "s16") -> Samples:
    made, resampler = stereo(left, right, encoding=encoding), Resampler()
    pieces = [resampler.convert(made[start : start + at_once]) for start in range(0, len(made), at_once)]
    return np.concatenate([*pieces, resampler.flush()])


def level(samples: Samples) -> float:
    return float(np.sqrt(2 * np.mean(samples[800:-800] ** 2)))


def write_wave(path: Path, planes: npt.NDArray[np.float64], *, width: int) -> None:
    """Write planes of full scale ±1 as PCM of so many bytes a sample, as plainly as the format allows."""
    pcm = (planes.T * 2.0 ** (8 * width - 1) * (1 - 2**-12)).astype(f"<i{width}").tobytes()
    channels = len(planes)
    head = struct.pack("<HHIIHH", 1, channels, RATE, RATE * channels * width, channels * width, 8 * width)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(pcm)) + pcm
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


@pytest.mark.parametrize("encoding", ["s16", "s16p", "flt", "fltp"])
@pytest.mark.parametrize("at_once", [1, 10])
@pytest.mark.parametrize("second", [-1.0, -0.9, -1.1, -0.6])
def test_a_voice_with_one_channel_inverted_is_heard(encoding: str, at_once: int, second: float) -> None:
    """A balanced line in a stereo jack: the mean of both channels was silence."""
    sound = sine(1.0, level=0.4)
    out = heard(sound, np.float32(second) * sound, at_once=at_once, encoding=encoding)
    assert level(out) == pytest.approx(0.4 * max(1.0, abs(second)), rel=0.02)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_a_voice_with_one_channel_inverted_is_heard_in_a_wave_file(tmp_path: Path, width: int) -> None:
    """A plain WAV file names no loudspeakers: FFmpeg calls its layout "2 channels", and the voice was silence."""
    path = tmp_path / "voice.wav"
    tone = 0.4 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    write_wave(path, np.stack([tone, -tone]), width=width)
    assert level(read_audio(path)) == pytest.approx(0.4, rel=0.02)


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 7, 8, 9, 16])
def test_a_balanced_line_is_heard_among_any_number_of_channels(tmp_path: Path, channels: int) -> None:
    """Two channels that cancel each other were heard by the louder one; among others they were silence."""
    path = tmp_path / "recorder.wav"
    planes = np.zeros((channels, RATE))
    planes[0] = 0.4 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    planes[1] = -planes[0]
    write_wave(path, planes, width=2)
    assert level(read_audio(path)) == pytest.approx(0.4, rel=0.02)


@pytest.mark.parametrize("channels", [2, 3, 4, 5, 6, 7, 8, 12])
def test_a_voice_on_any_one_of_the_channels_is_heard(tmp_path: Path, channels: int) -> None:
    """FFmpeg takes the fourth of six channels for low frequencies, and leaves it out: a recorder's was silence."""
    path = tmp_path / "recorder.wav"
    for one in range(channels):
        planes = np.zeros((channels, RATE // 4))
        planes[one] = 0.4 * np.sin(2 * np.pi * 300 * np.arange(RATE // 4) / RATE)
        write_wave(path, planes, width=2)
        assert level(read_audio(path)) > 0.4 / (1.5 * channels)


@pytest.mark.parametrize("channels", [2, 3, 8])
@pytest.mark.parametrize(("encoding", "rate"), [("s16le", RATE), ("f32le", 48_000)])
def test_a_balanced_line_is_heard_in_the_samples_of_a_program(channels: int, encoding: Encoding, rate: int) -> None:
    tone = (0.4 * np.sin(2 * np.pi * 300 * np.arange(rate) / rate)).astype(np.float32)
    planes = np.stack([tone, -tone, *(channels - 2) * [np.zeros_like(tone)]])
    stored = (planes.T * 32_767).astype("<i2") if encoding == "s16le" else planes.T
    size = rate // 10 * channels * stored.itemsize
    packets = [
        Packet(at // (channels * stored.itemsize), stored.tobytes()[at : at + size])
        for at in range(0, stored.nbytes, size)
    ]
    decoder, resampler = PcmDecoder(PcmFormat(rate, encoding, channels), None), Resampler()
    out = np.concatenate([resampler.convert(decoder.decode([packet])) for packet in packets])
    assert level(out) == pytest.approx(0.4, rel=0.02)


@pytest.mark.parametrize("layout", ["5.1", "7.1", "quad", "3.0"])
def test_loudspeakers_have_the_weights_of_their_places(layout: str) -> None:
    places = AudioLayout(layout)
    weights = layout_weights(layout, places.nb_channels)
    assert weights.sum() == pytest.approx(1)
    names = [channel.name for channel in places.channels]
    assert [name for name, weight in zip(names, weights, strict=True) if weight == 0] == ["LFE"] * ("LFE" in names)


@pytest.mark.parametrize("channels", [1, 3, 6, 9, 16, 31, 64, 255])
def test_any_number_of_channels_is_mixed(tmp_path: Path, channels: int) -> None:
    """FFmpeg mixes no nine channels: the recording of a microphone array was a traceback."""
    path = tmp_path / "array.wav"
    tone = 0.2 * np.sin(2 * np.pi * 300 * np.arange(RATE // 2) / RATE)
    write_wave(path, np.tile(tone, (channels, 1)), width=2)
    assert 0.05 < level(read_audio(path)) < 0.6


@pytest.mark.parametrize("width", [2, 4, 8])
def test_the_mean_of_many_channels_is_that_of_each(tmp_path: Path, width: int) -> None:
    path = tmp_path / "array.wav"
    tones = np.stack([0.4 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE) for hz in range(200, 2_000, 200)])
    write_wave(path, tones, width=width)
    assert np.allclose(read_audio(path)[:8_000], tones.mean(axis=0)[:8_000], atol=1e-3)


@pytest.mark.parametrize(("second", "mean"), [(1.0, 1.0), (0.5, 0.75), (0.0, 0.5), (-0.2, 0.4)])
def test_other_stereo_is_the_mean_of_its_channels(second: float, mean: float) -> None:
    sound = sine(1.0)
    out = heard(sound, np.float32(second) * sound)
    assert level(out) == pytest.approx(0.5 * mean, rel=0.02)
    assert np.allclose(out[:8_000], (sound + np.float32(second) * sound)[:8_000] / 2, atol=1e-3)


def test_two_voices_on_a_channel_each_are_both_heard() -> None:
    one, other = noise(1.0, seed=1), noise(1.0, seed=2)
    assert np.allclose(heard(one, other)[:8_000], (one + other)[:8_000] / 2, atol=1e-3)


@pytest.mark.parametrize("at_once", [1, 10])
def test_a_channel_that_is_inverted_in_mid_stream_does_not_click(at_once: int) -> None:
    tone = sine(2.0, hz=100, level=0.4)
    right = np.concatenate([tone[:16_000], -tone[16_000:]])
    out = heard(tone, right, at_once=at_once)
    assert np.abs(np.diff(out)).max() < 1.5 * np.abs(np.diff(tone)).max()
    assert level(out[24_000:]) == pytest.approx(0.4, rel=0.02)


def test_the_choice_is_kept_while_channels_are_nearly_as_loud() -> None:
    sound = sine(2.0, level=0.4)
    sway = (1 + 0.1 * np.sign(np.sin(2 * np.pi * 5 * np.arange(sound.size) / RATE))).astype(np.float32)
    out = heard(sound, -sway * sound)
    assert min(level(out[start : start + 4_000]) for start in range(0, 28_000, 2_000)) > 0.35


@pytest.mark.parametrize("silent", [0.0, 1e-6])
def test_silence_stays_silent(silent: float) -> None:
    sound = np.full(RATE, silent, dtype=np.float32)
    assert np.abs(heard(sound, -sound, encoding="flt")).max() <= 1e-6

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.packet import Packet

from voxgender.errors import AudioError
from voxgender.peer import speech
from voxgender.peer.speech import Speech
from voxgender.peer.voices import MAN, speak


def tone(hz: float, seconds: float, rate_hz: int, layout: str = "mono") -> AudioFrame:
    channels = 2 if layout == "stereo" else 1
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    interleaved = np.repeat((wave * 32767).astype(np.int16), channels)[None]
    frame = AudioFrame.from_ndarray(interleaved, format="s16", layout=layout)
    frame.sample_rate = rate_hz
    return frame


def decode(packets: Iterable[bytes]) -> np.ndarray:
    """Give 48 kHz samples."""
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.rate, decoder.layout, decoder.format = 48_000, "mono", "s16"
    frames = [frame for packet in packets for frame in decoder.decode(Packet(packet))]
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]) / 32768


def frequency_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(spectrum.argmax() * 48_000 / samples.size)


def write_wav(path: Path, samples: np.ndarray, rate_hz: int = 16_000) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        frame = AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("rate_hz", "layout"), [(8_000, "mono"), (16_000, "mono"), (44_100, "stereo"), (48_000, "stereo")]
)
def test_any_rate_and_layout_becomes_20_ms_packets_of_the_same_sound(rate_hz: int, layout: str) -> None:
    packets = list(speech.encode([tone(440, 1.0, rate_hz, layout)]))

    assert len(packets) == pytest.approx(50, abs=1)
    sound = decode(packets)
    assert sound.size == len(packets) * speech.PACKET_SAMPLES
    assert frequency_hz(sound[4800:43200]) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(sound[4800:43200] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_small_frames_lose_nothing_at_their_seams() -> None:
    whole = tone(300, 1.0, 44_100).to_ndarray().astype(np.int16)
    pieces = []
    for start in range(0, whole.shape[1], 441):
        piece = AudioFrame.from_ndarray(
            np.ascontiguousarray(whole[:, start : start + 441]), format="s16", layout="mono"
        )
        piece.sample_rate = 44_100
        pieces.append(piece)

    assert list(speech.encode(pieces)) == list(speech.encode([tone(300, 1.0, 44_100)]))


def test_a_change_of_rate_in_mid_stream_keeps_the_clock_true() -> None:
    packets = list(speech.encode([tone(440, 0.5, 16_000), tone(440, 0.5, 44_100, "stereo")]))

    assert len(packets) == pytest.approx(50, abs=1)
    sound = decode(packets)
    assert frequency_hz(sound[2400:21600]) == pytest.approx(440, abs=3)
    assert frequency_hz(sound[26400:45600]) == pytest.approx(440, abs=3)


def test_the_test_signal_says_who_speaks_when() -> None:
    signal = speech.synthesised()

    assert [turn.label for turn in signal.turns] == ["male", "female"]
    packets = list(signal.packets)
    assert len(packets) * speech.PACKET_S == pytest.approx(signal.turns[1].end + 0.5, abs=0.04)


def test_a_file_is_played_whole_and_its_first_speech_found(tmp_path: Path) -> None:
    silence = np.random.default_rng(0).normal(0.0, 3e-4, 16_000)
    path = write_wav(tmp_path / "late.wav", np.concatenate([silence, speak(MAN, 2.0)]))

    found = speech.from_file(path)

    (turn,) = found.turns
    assert turn.label is None
    assert turn.start == pytest.approx(1.0, abs=0.2)
    assert len(list(found.packets)) == pytest.approx(150, abs=1)


def test_a_file_without_speech_has_no_turns(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "noise.wav", np.random.default_rng(0).normal(0.0, 0.01, 16_000))

    assert speech.from_file(path).turns == ()


def test_a_file_without_audio_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        speech.from_file(tmp_path / "missing.wav")
    (tmp_path / "text.txt").write_text("no sound")
    with pytest.raises(AudioError, match=r"text\.txt"):
        speech.from_file(tmp_path / "text.txt")


def test_a_receiver_gets_the_bandwidth_it_asks_for() -> None:
    """RFC 7587 section 6.1: a browser encodes no more than the answer's ``maxplaybackrate``."""
    words = speech.synthesised()
    asking = "v=0\r\na=fmtp:111 minptime=10;maxplaybackrate=16000;useinbandfec=1\r\na=ptime:40\r\n"
    (wide, *_), (full, *_) = words.asked_for_by(asking), words.asked_for_by("v=0\r\na=fmtp:111 minptime=10\r\n")
    # RFC 6716 section 3.1: 8 to 11 is SILK, wideband; from 12 on there is more in it.
    assert 8 <= wide[0] >> 3 <= 11
    assert full[0] >> 3 >= 12
    assert (speech.packet_times(wide), speech.packet_times(full)) == (2, 1)
    assert list(Speech([b"x"], ()).asked_for_by(asking)) == [b"x"]


def test_a_packet_that_cannot_be_read_takes_a_packets_time() -> None:
    assert [speech.packet_times(payload) for payload in (b"", b"\x03", b"\x00")] == [1, 1, 1]

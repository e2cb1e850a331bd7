from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support import Samples, frames, sine
from voxgender.audio.files import read_audio, read_frames
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.errors import AudioError

SECONDS = 2.0
NOT_AUDIO = r"not an audio file|holds no audio"


def write(path: Path, codec: str, sound: Samples, *, rate: int = 48_000, layout: str = "mono") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        for made in frames(sound, rate=rate, layout=layout):
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return path


def level(samples: Samples) -> float:
    return float(np.sqrt(2 * np.mean(samples[3_200:-3_200] ** 2)))


@pytest.fixture
def ogg(tmp_path: Path) -> Path:
    return write(tmp_path / "tone.ogg", "libopus", sine(SECONDS, rate=48_000))


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("tone.wav", "pcm_s16le", 8_000, "mono"),
        ("tone.wav", "pcm_s16le", 44_100, "stereo"),
        ("tone.wav", "pcm_f32le", 16_000, "mono"),
        ("tone.flac", "flac", 48_000, "stereo"),
        ("tone.mp3", "libmp3lame", 44_100, "stereo"),
        ("tone.ogg", "libopus", 48_000, "mono"),
        ("tone.m4a", "aac", 44_100, "stereo"),
        ("tone.webm", "libopus", 48_000, "stereo"),
    ],
)
def test_a_tone_reads_the_same_from_every_format(tmp_path: Path, name: str, codec: str, rate: int, layout: str) -> None:
    path = write(tmp_path / name, codec, sine(SECONDS, rate=rate), rate=rate, layout=layout)
    heard = read_audio(path)
    assert heard.dtype == np.float32
    assert heard.ndim == 1
    # Lossy codecs add a little silence at either end; LAME turns the level down by 5 %.
    assert heard.size / SAMPLE_RATE_HZ == pytest.approx(SECONDS, abs=0.1)
    assert level(heard) == pytest.approx(0.5, rel=0.1)
    spectrum = np.abs(np.fft.rfft(heard[3_200:19_200] * np.hanning(16_000)))
    assert int(spectrum.argmax()) == 440


def test_a_lossless_file_is_read_to_the_last_sample(tmp_path: Path) -> None:
    sound = sine(1.2345, rate=48_000)
    assert read_audio(write(tmp_path / "a.wav", "pcm_s16le", sound)).size == pytest.approx(sound.size / 3, abs=1)


def test_the_sound_of_a_film_is_read(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8))
        for packet in (*video.encode(picture), *video.encode(None)):
            container.mux(packet)
        for made in frames(sine(1.0)):
            container.mux(audio.encode(made))
        container.mux(audio.encode(None))
    assert read_audio(path).size == 16_000


@pytest.mark.parametrize("name", ["12:30.wav", "http:tone.wav", "50%.wav", "what?.wav", "männlich ♂.wav", "-f.wav"])
def test_a_file_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = write(tmp_path / "plain.wav", "pcm_s16le", sine(0.5), rate=16_000)
    path.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read_audio(name).size == 8_000


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav: no such file$"):
        read_audio(tmp_path / "nowhere.wav")


def test_a_directory_is_no_audio_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="not an audio file that FFmpeg reads"):
        read_audio(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "notes.wav", "notes.opus", "notes"])
def test_a_text_file_is_no_audio_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("Male or female?\n" * 1_000)
    with pytest.raises(AudioError, match=NOT_AUDIO) as caught:
        read_audio(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["empty.wav", "empty.ogg", "empty"])
def test_an_empty_file_is_no_audio_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(AudioError, match=NOT_AUDIO):
        read_audio(tmp_path / name)


def test_a_wave_file_without_samples_holds_no_audio(tmp_path: Path) -> None:
    path = write(tmp_path / "header.wav", "pcm_s16le", sine(0.5), rate=16_000)
    path.write_bytes(path.read_bytes()[:-16_000])
    with pytest.raises(AudioError, match="holds no audio that can be decoded"):
        read_audio(path)
    with pytest.raises(AudioError, match="holds no audio that can be decoded"):
        list(read_frames(path))


def test_a_silent_film_holds_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "silent.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), dtype=np.uint8))
        for packet in (*video.encode(picture), *video.encode(None)):
            container.mux(packet)
    with pytest.raises(AudioError, match="holds no audio stream"):
        read_audio(path)


def test_of_a_file_cut_short_the_beginning_is_read(ogg: Path) -> None:
    whole = read_audio(ogg)
    data = ogg.read_bytes()
    ogg.write_bytes(data[: len(data) * 2 // 3])
    heard = read_audio(ogg)
    assert 0.2 * whole.size < heard.size < whole.size


def test_a_hole_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "tone.mp3", "libmp3lame", sine(4.0, rate=44_100), rate=44_100)
    whole = read_audio(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(data)
    heard = read_audio(path)
    assert 0.8 * whole.size < heard.size <= whole.size
    assert level(heard[-16_000:]) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_is_an_audio_error_or_some_audio(ogg: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(ogg.read_bytes())
    for position in random.integers(0, len(data), 40):
        data[position] = random.integers(256)
    ogg.write_bytes(data)
    with suppress(AudioError):
        assert read_audio(ogg).size


def test_a_file_is_closed_when_its_reader_goes(ogg: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("no /proc to count open files in")
    before = len(list(descriptors.iterdir()))
    reader = read_frames(ogg)
    next(reader)
    assert len(list(descriptors.iterdir())) == before + 1
    reader.close()
    assert len(list(descriptors.iterdir())) == before

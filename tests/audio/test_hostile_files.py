"""Files that are made to do harm, and files that only look odd."""

import os
import signal
import struct
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from tests.audio.test_files import level, write
from tests.support import frame, frames, sine
from tests.waits import block_until
from voxgender.audio.files import read_audio, read_frames
from voxgender.errors import AudioError

REFUSED = r"not an audio file that FFmpeg reads|holds no audio|cannot be decoded|cannot be read"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A tone that no other file is to be heard as."""
    return write(tmp_path / "other.wav", "pcm_s16le", sine(1.0), rate=16_000)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
    "hls that names itself": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{itself}\n",
    "hls of playlists": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{itself}\n",
    "hls of schemes": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nconcat:{other}|{other}\n#EXT-X-ENDLIST\n",
    "hls with a key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{other}"\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n',
    "hls with a map": '#EXTM3U\n#EXT-X-MAP:URI="{other}"\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n',
    "m3u": "#EXTM3U\n#EXTINF:1,a\n{other}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{other}'\n",
    "ffconcat that names itself": "ffconcat version 1.0\nfile '{itself}'\n" * 3,
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "dash": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period><AdaptationSet>"
    "<Representation><BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "asx": "<asx version='3.0'><entry><ref href='{other}'/></entry></asx>",
    "pls": "[playlist]\nFile1={other}\nNumberOfEntries=1\n",
    "rtsptext": "RTSPtext\nrtsp://127.0.0.1:1/x\n",
    "webvtt": "WEBVTT\n\n00:00.000 --> 00:01.000\n{other}\n",
    "srt": "1\n00:00:00,000 --> 00:00:01,000\n{other}\n",
    "vobsub": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n"
    "timestamp: 00:00:00:000, filepos: 000000000\n",
    "ffmetadata": ";FFMETADATA1\ntitle={other}\n",
    "smil": "<smil><body><audio src='{other}'/></body></smil>",
    "realtext": "<window><a href='{other}'/></window>",
    "microdvd": "{{1}}{{1}}25\n{{2}}{{3}}{other}\n",
    "svg": "<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><image href='{other}'/></svg>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["list.m3u8", "x.mp3", "x.wav", "x"])
def test_a_file_that_names_others_is_refused(tmp_path: Path, other: Path, kind: str, name: str) -> None:
    """An m3u8 of 57 bytes that named itself took 9.3 GB in 30 s, and Ctrl-C did not end it."""
    path = tmp_path / name
    before = psutil.Process().memory_info().rss
    path.write_text(PLAYLISTS[kind].format(other=other, itself=path))
    with pytest.raises(AudioError, match=REFUSED) as caught:
        read_audio(path)
    assert "\n" not in str(caught.value)
    assert psutil.Process().memory_info().rss < before + 50e6


@pytest.mark.parametrize(
    "name",
    [
        *(
            "concat:{}|{}",
            "subfile,,start,0,end,1000,,:{}",
            "data:audio/wav;base64,UklGRg==",
            "pipe:0",
            "async:{}",
            "-",
        ),
        *("http://127.0.0.1:1/x.wav", "rtmp://127.0.0.1/x", "udp://127.0.0.1:5004", "cache:{}", "crypto:{}", "file:{}"),
        *("fd:0", "tee:{}", "lavfi:sine", "sine=f=440", "img%03d.png", "ffrtmphttp://x", "tcp://127.0.0.1:1?listen"),
    ],
)
def test_a_name_is_a_file_and_never_an_address(other: Path, name: str) -> None:
    with pytest.raises(AudioError, match="no such file"):
        read_audio(name.format(other, other))


def box(kind: bytes, *content: bytes) -> bytes:
    payload = b"".join(content)
    return (8 + len(payload)).to_bytes(4, "big") + kind + payload


def with_reference(data: bytes, target: Path) -> bytes:
    """A QuickTime file whose sound lies in another file (QuickTime File Format, data reference atoms)."""
    parents = (b"moov", b"trak", b"mdia", b"minf", b"dinf")
    made = b""
    while data:
        size, kind = int.from_bytes(data[:4], "big"), data[4:8]
        content, data = data[8:size], data[size:]
        if kind in parents:
            content = with_reference(content, target)
        elif kind == b"mdat":
            content = bytes(len(content))
        elif kind == b"dref":
            name = target.name.encode()
            path = str(target).encode()
            path += b"\0" * (len(path) % 2)
            alias = b"".join(
                (
                    bytes(4),  # version, flags: not in this file
                    bytes(10),
                    b"\0" + bytes(27),
                    bytes(12),
                    bytes([len(name)]) + name.ljust(63, b"\0"),
                    bytes(16),
                    (1).to_bytes(2, "big") * 2,
                    bytes(16),
                    (2).to_bytes(2, "big") + len(path).to_bytes(2, "big") + path,
                    b"\xff\xff\0\0",
                )
            )
            content = bytes(4) + (1).to_bytes(4, "big") + box(b"alis", alias)
        made += box(kind, content)
    return made


def test_a_reference_in_a_film_to_another_file_is_not_followed(tmp_path: Path) -> None:
    sound = write(tmp_path / "sound.mov", "pcm_s16le", sine(1.0), rate=16_000)
    path = tmp_path / "reference.mov"
    data = sound.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov"), "offsets into the sound stay as they are"
    path.write_bytes(with_reference(data, sound))
    with av.open(str(path), container_options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert any(np.abs(each.to_ndarray()).max() > 1_000 for each in container.decode(audio=0)), "it is one"
    with pytest.raises(AudioError, match="holds no audio that can be decoded"):
        read_audio(path)


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "socket"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.wav"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "socket":
            os.mknod(path, 0o140600)
    with pytest.raises(AudioError, match="it is no regular file"):
        read_audio(path)


@pytest.mark.parametrize("name", ["x" * 5_000, "a\0b", "loop"])
def test_a_name_that_no_file_can_have_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(AudioError, match="cannot be read"):
        read_audio(name)


def test_a_file_that_grows_while_it_is_read_ends(tmp_path: Path, other: Path) -> None:
    reader = read_frames(other)
    heard = next(reader).samples
    with other.open("ab") as file:
        for each in reader:
            heard += each.samples
            file.write(bytes(100_000))
            file.flush()
            assert heard <= 16_000
    assert heard == 16_000


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2_000_000_000])
def test_a_rate_that_no_audio_has_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "x.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(20_000))
    with pytest.raises(AudioError, match=rf"{rate} samples a second, which is no rate of audio"):
        read_audio(path)


def test_a_file_that_is_longer_than_memory_is_for_is_not_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "x.wav", "pcm_s16le", sine(5.0), rate=16_000)
    with pytest.raises(AudioError, match="lasts more than"):
        read_audio(path, max_s=2)


ENDLESS = """
import sys
from voxgender.audio.files import read_frames
for number, _ in enumerate(read_frames(sys.argv[1])):
    if number == 100:
        print("reading", flush=True)
"""
SEARCHING = """
import sys
from voxgender.audio.files import read_frames
print("reading", flush=True)
next(read_frames(sys.argv[1], max_searched=2**60))
"""


@pytest.fixture(params=["endless", "searching"])
def large_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """200 GB of silence, or of what is not audio."""
    path: Path = tmp_path / request.param
    if request.param == "endless":
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes(20_000))
        data = bytearray(path.read_bytes())
        data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
        path.write_bytes(data)
    else:
        path.write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + b"JUNK\x00\x00\x00\x00" * 10)
    os.truncate(path, 200_000_000_000)
    return path


def test_ctrl_c_ends_the_reading_of_any_file(large_file: Path) -> None:
    """FFmpeg reads and searches in C, where Python does not hear the signal.

    The search of this test was over in an instant, by a bound that it had not lifted, and nothing was interrupted.
    """
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS if large_file.name == "endless" else SEARCHING, str(large_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "reading\n"
            reading = psutil.Process(process.pid)
            begun = reading.io_counters().read_chars
            enough = 50e6 if large_file.name == "endless" else 1e6
            block_until(lambda: reading.io_counters().read_chars > begun + enough)
            assert reading.memory_info().rss < 400e6
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err


@pytest.mark.parametrize(
    "command",
    [
        ("classify", "--model", "off"),
        ("call", "http://127.0.0.1:9", "--audio"),
        ("load", "http://127.0.0.1:9", "--peers", "1", "--audio"),
    ],
    ids=lambda command: command[0],
)
def test_ctrl_c_ends_every_command_that_reads_a_file(large_file: Path, command: tuple[str, ...]) -> None:
    """Callers read in a thread, for which they waited when all else had ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "voxgender.cli", *command, str(large_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        opened = psutil.Process(process.pid)
        block_until(
            lambda: process.poll() is not None or str(large_file) in [file.path for file in opened.open_files()]
        )
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=15)
    finally:
        process.kill()
    # Or 1, where the search was over sooner.
    assert process.returncode in (130, 1), err
    assert "Traceback" not in err
    assert out == ""


def test_a_file_without_audio_is_not_searched_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "searching"
    path.write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + b"JUNK\x00\x00\x00\x00" * 10)
    os.truncate(path, 200_000_000_000)
    with pytest.raises(AudioError, match="holds no audio in 16 MiB of it"):
        list(read_frames(path, max_searched=2**24))


def test_samples_that_are_no_numbers_are_silence_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A few of them made seconds of speech unheard, and nobody was told."""
    path = tmp_path / "x.wav"
    sound = sine(1.0)
    broken = sound.copy()
    broken[[100, 5_000, 9_000]] = [np.nan, np.inf, -np.inf]
    data = write(path, "pcm_f32le", sound, rate=16_000).read_bytes()
    path.write_bytes(data[: -broken.nbytes] + broken.tobytes())
    heard = read_audio(path)
    np.testing.assert_allclose(heard, np.where(np.isfinite(broken), sound, 0), atol=1e-6)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 3 samples are infinite or no numbers, and were taken for silence"
    ]


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [
        *(("wav", codec, 16_000) for codec in ("pcm_u8", "pcm_s24le", "pcm_f64le", "pcm_mulaw", "adpcm_ms")),
        *(("w64", "pcm_s16le", 16_000), ("aiff", "pcm_s16be", 44_100), ("au", "pcm_s16be", 8_000)),
        *(
            ("caf", "pcm_s16le", 44_100),
            ("caf", "alac", 44_100),
            ("flac", "flac", 16_000),
            ("mp3", "libmp3lame", 16_000),
        ),
        *(("adts", "aac", 44_100), ("ac3", "ac3", 48_000), ("eac3", "eac3", 48_000), ("ogg", "libopus", 48_000)),
        *(("ogg", "flac", 44_100), ("mp4", "aac", 44_100), ("mov", "pcm_s16le", 48_000)),
        *(
            ("3gp", "aac", 44_100),
            ("ipod", "alac", 44_100),
            ("matroska", "libopus", 48_000),
            ("webm", "libopus", 48_000),
        ),
        *(("avi", "libmp3lame", 44_100), ("asf", "wmav2", 44_100), ("tta", "tta", 44_100), ("wv", "wavpack", 44_100)),
        *(("mpegts", "aac", 44_100), ("mpeg", "mp2", 44_100), ("flv", "aac", 44_100), ("nut", "pcm_s16le", 44_100)),
        *(("voc", "pcm_u8", 16_000), ("sox", "pcm_s32le", 16_000), ("ircam", "pcm_s16le", 16_000)),
    ],
)
@pytest.mark.parametrize("name", ["sound", "sound.m3u8", "sound.txt"])
def test_sound_is_known_by_what_is_in_the_file_and_not_by_its_name(
    tmp_path: Path, kind: str, codec: str, rate: int, name: str
) -> None:
    path = tmp_path / name
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = 64_000
        for made in frames(sine(2.0, rate=rate), rate=rate):
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    heard = read_audio(path)
    assert level(heard) == pytest.approx(0.5, rel=0.2)
    assert heard.size == pytest.approx(32_000, rel=0.1)


def test_a_frame_of_a_track_may_hold_what_is_no_number() -> None:
    from voxgender.audio.resampler import Resampler

    made = frame(sine(0.1, rate=48_000), rate=48_000, encoding="fltp", layout="stereo")
    planes = made.to_ndarray().copy()
    planes[0, 100], planes[1, 200], planes[0, 300] = np.nan, np.inf, 1e30
    broken = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
    broken.sample_rate = 48_000
    heard = Resampler().convert([broken])
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() < 1


_READING = """
import gc, sys
from voxgender.audio.files import read_audio
from voxgender.errors import AudioError
for _ in range(3):
    try:
        print(round(float(read_audio(sys.argv[1]).std()), 2))
    except AudioError as error:
        print(error)
    gc.collect()
"""


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ((1, 2), "0.35"),
        ((2,), "0.35"),
        ((2, 1), "in an order that cannot be read, 2 channels (FR+FL); mix them first"),
        ((2, 1, 4), "in an order that cannot be read"),
        ((1, 1), "in an order that cannot be read"),
    ],
)
def test_channels_out_of_order_do_not_end_the_program(tmp_path: Path, labels: tuple[int, ...], said: str) -> None:
    """PyAV frees such a layout twice: the process was gone, with a message of the C library."""
    samples = np.repeat(sine(1.0)[:, None], len(labels), axis=1).astype(">f4")
    descriptions = b"".join(struct.pack(">II3f", label, 0, 0, 0, 0) for label in labels)
    chunks = [
        (b"desc", struct.pack(">d4s5I", 16_000, b"lpcm", 1, 4 * len(labels), 1, len(labels), 32)),
        (b"chan", struct.pack(">3I", 0, 0, len(labels)) + descriptions),
        (b"data", struct.pack(">I", 0) + samples.tobytes()),
    ]
    path = tmp_path / "reversed.caf"
    path.write_bytes(b"caff\0\1\0\0" + b"".join(kind + struct.pack(">q", len(of)) + of for kind, of in chunks))
    ran = subprocess.run([sys.executable, "-c", _READING, str(path)], check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count(said) == 3, ran.stdout


@pytest.mark.parametrize(("tag", "channels"), [(0x1234, 1), (0x1234, 0), (0x2222, 3), (0xFFFE, 2), (1, 0)])
def test_a_codec_that_nobody_knows_is_said_in_a_sentence(tmp_path: Path, tag: int, channels: int) -> None:
    """PyAV has no codec context for it, whose layout was looked at: an ``AttributeError``."""
    header = struct.pack("<HHIIHH", tag, channels, 16_000, 32_000 * channels, 2 * channels, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", 16_000) + bytes(16_000)
    path = tmp_path / "unknown.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    with pytest.raises(AudioError, match="decoded"):
        read_audio(path)

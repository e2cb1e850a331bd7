"""``analyze``: PCM from anywhere is told as the file is."""

import asyncio
import io
import os
import sys
import threading
from array import array
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from tests.engine.test_files import write
from tests.support import Samples, TimedTrack, frames, in_real_time, silence, sine
from tests.waits import PATIENCE_S
from voxgender import AnyMessage, AudioError, Change, Segment, Summary, analyze, classify, classify_sync
from voxgender.audio.files import read_audio
from voxgender.engine import Engine, loading
from voxgender.engine.files import analyze_file
from voxgender.engine.loading import OFF
from voxgender.peer.voices import MAN, WOMAN, dialogue, speak

pytestmark = pytest.mark.usefixtures("pitch")

RATE = 16_000


@pytest.fixture(scope="module")
def talk() -> Samples:
    return dialogue().samples


def int16(audio: Samples) -> np.ndarray[Any, np.dtype[np.int16]]:
    return (audio * 32_767).astype(np.int16)


async def told(source: Any, **options: Any) -> list[AnyMessage]:
    async with asyncio.timeout(PATIENCE_S):
        return [message async for message in analyze(source, **options)]


def events(messages: list[AnyMessage]) -> list[dict[str, Any]]:
    return [m.to_dict() for m in messages if isinstance(m, Change | Segment | Summary)]


async def in_pieces(pcm: Any, size: int = 1_000) -> AsyncIterator[Any]:
    for start in range(0, len(pcm), size):
        yield pcm[start : start + size]


@pytest.mark.parametrize(
    "make",
    [
        lambda pcm: pcm,
        lambda pcm: pcm.tobytes(),
        lambda pcm: [pcm],
        lambda pcm: in_pieces(pcm.tobytes(), 3_333),
        lambda pcm: in_pieces(pcm),
        lambda pcm: (pcm[start : start + 999] for start in range(0, pcm.size, 999)),
        lambda pcm: io.BytesIO(pcm.tobytes()),
        lambda pcm: array("h", pcm.tolist()),
    ],
    ids=["array", "bytes", "list", "async bytes", "async arrays", "generator", "file", "array of Python"],
)
async def test_pcm_is_told_as_the_file_is(make: Any, talk: Samples, pitch: Engine, tmp_path: Path) -> None:
    messages = await told(make(int16(talk)), rate=RATE)
    assert messages[0].type == "hello"
    file = list(analyze_file(pitch, write(tmp_path / "talk.wav", talk)))
    assert events(messages) == events(file)
    assert [segment.label for segment in messages if segment.type == "segment"] == ["male", "female"]


async def test_a_stream_reader_is_read(talk: Samples) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(int16(talk).tobytes())
    reader.feed_eof()
    assert [s.label for s in await told(reader, rate=RATE) if isinstance(s, Segment)] == ["male", "female"]


async def test_frames_of_pyav_need_no_rate(talk: Samples) -> None:
    assert [s.label for s in await told(frames(talk)) if isinstance(s, Segment)] == ["male", "female"]


async def test_a_caller_and_an_agent_on_two_channels_are_told_apart() -> None:
    both = np.stack([speak(MAN, 3.0), speak(WOMAN, 3.0)])
    messages = await told(both, rate=RATE, channels=2)
    assert {(s.channel, s.label) for s in messages if isinstance(s, Segment)} == {(0, "male"), (1, "female")}


async def test_telephone_sound_is_taken() -> None:
    import av

    encoder = av.CodecContext.create("pcm_mulaw", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 8_000, "mono", "s16"
    voice = speak(WOMAN, 3.0)[::2]
    data = b"".join(bytes(p) for made in frames(voice, rate=8_000) for p in encoder.encode(made))
    messages = await told(in_pieces(data, 160), rate=8_000, encoding="mulaw", channels=1)
    assert [s.label for s in messages if isinstance(s, Segment)] == ["female"]


async def test_a_source_that_blocks_does_not_block_the_event_loop() -> None:
    may_go_on = threading.Event()

    def microphone() -> Iterator[bytes]:
        yield bytes(3_200)
        assert may_go_on.wait(PATIENCE_S)
        yield bytes(3_200)

    asyncio.get_running_loop().call_later(0.05, may_go_on.set)
    messages = await told(microphone(), rate=RATE)
    assert isinstance(messages[-1], Summary)
    assert messages[-1].duration == pytest.approx(0.2)


async def test_a_source_that_fails_raises_its_error_and_leaves_no_task() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(3_200)
        raise OSError("the microphone is gone")

    with pytest.raises(OSError, match="the microphone is gone"):
        await told(broken(), rate=RATE)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_leaving_early_closes_the_source() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(3_200)
        finally:
            closed.set()

    messages = analyze(endless(), rate=RATE)
    await anext(messages)
    await anext(messages)
    await messages.aclose()
    assert closed.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("source", "options", "told_of"),
    [
        ("voice.wav", {}, "give its path to classify"),
        (Path("voice.wav"), {}, "give its path to classify"),
        (7, {"rate": RATE}, "A int is no source of sound: give an aiortc track, or an iterable"),
        ([b"\0\0"], {}, "give it as rate="),
        ([b"\0\0"], {"rate": 1}, "1 Hz is not taken"),
        ([b"\0\0"], {"rate": RATE, "encoding": "opus"}, "There is no encoding 'opus'"),
        ([[0, 1]], {"rate": RATE}, "A list is no PCM"),
        ([None], {"rate": RATE}, "A NoneType is no PCM"),
        (iter([b"\0\0", None]), {"rate": RATE}, "A NoneType is no PCM"),
        (TimedTrack, {}, "TimedTrack is a class, and no source of sound: give one that was made of it."),
        (bytes, {"rate": RATE}, "bytes is a class"),
    ],
)
async def test_what_is_no_sound_is_refused_in_a_sentence(source: Any, options: dict[str, Any], told_of: str) -> None:
    with pytest.raises(AudioError) as refused:
        await told(source, **options)
    assert told_of in str(refused.value)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_track_says_its_own_format() -> None:
    with pytest.raises(AudioError, match="leave rate="):
        await told(TimedTrack(in_real_time(silence(1.0))), rate=RATE)


async def test_files_and_arrays_are_classified_alike_off_the_loop_and_on_it(tmp_path: Path) -> None:
    voice = np.concatenate([speak(WOMAN, 2.0), silence(0.5)])
    path = write(tmp_path / "woman.wav", voice)
    verdicts = [
        await classify(path),
        classify_sync(str(path)),
        await classify(int16(voice), rate=RATE),
        await classify((RATE, int16(voice).reshape(1, -1))),
        classify_sync([int16(voice).tobytes()], rate=RATE),
        await classify(list(frames(voice))),
    ]
    assert {verdict.label for verdict in verdicts} == {"female"}
    assert len({(v.confidence, v.segments) for v in verdicts}) == 1


_FORK = """
import asyncio, os, sys, threading
import numpy as np
from voxgender import analyze, classify_sync
from voxgender.engine import loading

sound = np.zeros(16_000, np.int16)
classify_sync(sound, rate=16_000)
loading._loading["embedded"].acquire()
child = os.fork()
if child:
    loading._loading["embedded"].release()
    _, status = os.waitpid(child, 0)
    classify_sync(sound, rate=16_000)
    sys.exit(os.waitstatus_to_exitcode(status))


async def told():
    return [message.type async for message in analyze(sound, rate=16_000)]


classify_sync(sound, rate=16_000)
assert asyncio.run(told())[-1] == "summary"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_process_that_is_forked_loads_its_own_model() -> None:
    """It waited for the threads of its parent for ever: workers of Gunicorn with --preload, and of multiprocessing."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _FORK)
    try:
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


_EXIT = """
import threading, time
import numpy as np
from voxgender import classify_sync

sound = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
begun = threading.Event()


class Sound(list):
    def __iter__(self):
        for second in range(1_000):
            if second == 10:
                begun.set()
            yield sound


for _ in range(2):
    threading.Thread(target=lambda: classify_sync(Sound(), rate=16_000), daemon=True).start()
begun.wait()
time.sleep(0.01)
"""


async def test_a_program_may_end_while_the_networks_run() -> None:
    """It ended by SIGABRT, more often than not: terminate called without an active exception."""
    programs = [await asyncio.create_subprocess_exec(sys.executable, "-c", _EXIT, stderr=PIPE) for _ in range(2)]
    async with asyncio.timeout(PATIENCE_S):
        ended = [((await program.communicate())[1], program.returncode) for program in programs]
    assert ended == [(b"", 0)] * 2


class _Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise ZeroDivisionError("of its own")


async def test_a_file_may_be_open_or_in_memory(tmp_path: Path) -> None:
    """An upload had to be written to a disk first; its bytes with a rate were taken for samples, without any speech."""
    path = write(tmp_path / "woman.wav", np.concatenate([speak(WOMAN, 2.0), silence(0.5)]))
    data = path.read_bytes()
    verdict = classify_sync(path)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        file.read()
        assert await classify(file) == await classify(raw) == verdict
        assert not file.closed
    assert await classify(io.BytesIO(data)) == classify_sync(data) == await classify(bytearray(data)) == verdict
    samples = io.BytesIO(int16(read_audio(path)).tobytes())
    assert classify_sync(samples, rate=RATE).label == "female"


@pytest.mark.parametrize(
    ("file", "told_of"),
    [
        (io.BytesIO(), "not an audio file"),
        (io.BytesIO(b"RIFF"), "not an audio file"),
        (io.StringIO("a text"), "mode 'rb'"),
        (_Broken(), "of its own"),
    ],
    ids=["empty", "cut off", "text", "broken"],
)
async def test_an_open_file_that_is_none_is_refused_in_a_sentence(file: Any, told_of: str) -> None:
    with pytest.raises(AudioError, match=told_of):
        await classify(file)


async def test_a_pipe_is_no_file_to_classify() -> None:
    out, into = os.pipe()
    with os.fdopen(out, "rb") as pipe, os.fdopen(into, "wb"), pytest.raises(AudioError, match="cannot be read"):
        await classify(pipe)


async def test_what_is_no_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        await classify(tmp_path / "nothing.wav")
    with pytest.raises(AudioError, match="a file says its own format"):
        await classify("voice.raw", rate=RATE)
    with pytest.raises(AudioError, match="give it as rate="):
        classify_sync(sine(1.0))


async def test_a_classification_that_is_cancelled_stops() -> None:
    """An hour of sound was classified to its end, and a program whose patience was over could not end before."""
    begun, taken = threading.Event(), 0

    class Hours(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            nonlocal taken
            while taken < 100_000:
                taken += 1
                begun.set()
                yield np.zeros(RATE, np.int16)

    verdict = asyncio.create_task(classify(Hours(), rate=RATE))
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.to_thread(begun.wait)
        verdict.cancel()
        await asyncio.wait({verdict})
        await asyncio.get_running_loop().shutdown_default_executor()
    assert verdict.cancelled()
    assert taken < 100_000


async def test_a_model_that_takes_long_to_load_keeps_nobody_waiting_who_uses_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One lock was held while any model was loaded, and those who waited for it filled the event loop's threads."""
    may_end, load_engine = threading.Event(), loading.load_engine

    def load(model: str) -> Engine:
        assert may_end.wait(PATIENCE_S)
        return load_engine(OFF)

    monkeypatch.setattr(loading, "load_engine", load)
    waiting = [asyncio.create_task(told(bytes(320), rate=RATE, model="./slow")) for _ in range(40)]
    await asyncio.sleep(0)
    assert isinstance((await told(bytes(320), rate=RATE))[-1], Summary)
    async with asyncio.timeout(PATIENCE_S):
        await classify(bytes(320), rate=RATE)
        await asyncio.to_thread(may_end.set)
        await asyncio.gather(*waiting)
    monkeypatch.delitem(loading._engines, "./slow")


async def test_a_source_that_was_cancelled_ends_its_reader() -> None:
    """It waited for ever: a generator that awaits a task of its program's, which is then cancelled."""

    async def cancelled() -> AsyncIterator[bytes]:
        yield bytes(3_200)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await told(cancelled(), rate=RATE)


async def test_frames_without_samples_are_nothing(talk: Samples) -> None:
    """One of them ended the analysis with an error of numpy's: encoders and resamplers give such frames."""
    empty = AudioFrame(format="s16", layout="mono", samples=0)
    empty.sample_rate = RATE
    with_empty = [one for made in frames(talk) for one in (empty, made)]
    assert events(await told([*with_empty, empty])) == events(await told(frames(talk)))
    assert isinstance((await told([empty]))[-1], Summary)


async def test_a_file_that_does_not_wait_is_refused_and_not_taken_for_ended() -> None:
    """``read`` of a non-blocking pipe gives None while there is nothing, and the analysis ended there."""
    out, into = os.pipe()
    os.set_blocking(out, False)
    with os.fdopen(out, "rb", buffering=0) as pipe, os.fdopen(into, "wb"), pytest.raises(AudioError, match="not wait"):
        await told(pipe, rate=RATE)

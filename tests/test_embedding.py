import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from aiortc import MediaStreamTrack, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from tests.analysis.models import PATIENCE_S, Pitch
from tests.support import Samples, frames, silence
from voxgender import analyze, embedding
from voxgender.analysis import Analyzer
from voxgender.errors import AudioError, ModelError
from voxgender.peer.voices import WOMAN, speak
from voxgender.protocol import Hello, Message, Result, Segment, Summary


class Speaker(MediaStreamTrack):
    """As any aiortc program would write it: stereo at 48 kHz, a frame whenever it is asked for one."""

    kind = "audio"

    def __init__(self, audio: Samples) -> None:
        super().__init__()
        self._frames = frames(np.repeat(audio, 3), rate=48_000, layout="stereo")

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(0)
        made = next(self._frames, None)
        if made is None:
            self.stop()
            raise MediaStreamError
        return made


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for analyzer in embedding._analyzers.values():
        analyzer.close()
    embedding._analyzers.clear()


async def listen(track: MediaStreamTrack, model: str = "off") -> list[Message]:
    async with asyncio.timeout(PATIENCE_S):
        return [message async for message in analyze(track, model=model)]


async def test_hello_comes_first_and_the_summary_last() -> None:
    messages = await listen(Speaker(speak(WOMAN, 2.0)))
    assert isinstance(messages[0], Hello)
    assert messages[0].model == "off"
    assert isinstance(messages[-1], Summary)
    assert messages[-1].duration == pytest.approx(2.0, abs=0.01)
    assert [type(message) for message in messages].count(Hello) == 1
    assert any(isinstance(message, Result) for message in messages)


async def test_many_tracks_at_once_share_one_analyzer() -> None:
    before = set(threading.enumerate())
    heard = await asyncio.gather(listen(Speaker(speak(WOMAN, 2.0))), listen(Speaker(silence(1.5))))
    assert len({messages[0].session for messages in heard}) == 2
    speaking, silent = heard
    assert any(isinstance(message, Segment) for message in speaking)
    assert not any(isinstance(message, Segment) for message in silent)
    assert silent[-1].duration == pytest.approx(1.5, abs=0.01)
    begun = [thread.name for thread in set(threading.enumerate()) - before]
    # None where an earlier test has loaded the same model already.
    assert begun.count("voxgender-inference") <= 1


async def test_the_verdict_is_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "make_analyzer", lambda settings: Analyzer(Pitch()))
    # Slower than the tracks above: here no window may be lost.
    monkeypatch.setattr("voxgender.analysis.judge.MAX_BEHIND", 1_000)
    messages = await listen(Speaker(speak(WOMAN, 3.0)), model="pitch")
    assert [message.label for message in messages if isinstance(message, Segment)] == ["female"]


async def test_the_model_in_the_package_is_the_default() -> None:
    async with aclosing(analyze(Speaker(silence(0.5)))) as messages:
        hello = await anext(messages)
    assert isinstance(hello, Hello)
    assert hello.model == "embedded"


async def test_leaving_early_leaves_no_task() -> None:
    async with aclosing(analyze(Speaker(speak(WOMAN, 3.0)), model="off")) as messages:
        for _ in range(4):
            await anext(messages)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_it_works_in_one_event_loop_after_another() -> None:
    for _ in range(2):
        assert isinstance(asyncio.run(listen(Speaker(silence(0.5))))[-1], Summary)


async def test_a_model_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing"):
        await listen(Speaker(silence(0.5)), model=str(tmp_path / "nothing"))


async def test_a_video_track_is_refused() -> None:
    with pytest.raises(AudioError, match="not a video track"):
        await listen(VideoStreamTrack())


def test_importing_it_imports_neither_torch_nor_aiortc() -> None:
    program = (
        "import sys\nfrom voxgender import analyze\nsys.exit(bool({'torch', 'aiortc', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

import asyncio
import gc
import json
import logging
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from tests.analysis.models import PATIENCE_S, Fixed, Held, Pitch
from tests.support import Samples, frames, noise, silence
from voxgender.analysis import Analyzer
from voxgender.analysis.beat import Slot
from voxgender.analysis.judge import Job, Verdicts
from voxgender.analysis.listener import Listener, Taken
from voxgender.audio.files import read_audio
from voxgender.errors import AudioError
from voxgender.inference import wav2vec2
from voxgender.inference.batcher import Done
from voxgender.inference.classifier import Classifier
from voxgender.peer.voices import MAN, WOMAN, Dialogue, dialogue, speak
from voxgender.protocol import Change, Message, Result, Segment, Summary, Warning
from voxgender.training.manifest import read_manifest, with_split

HOP_S = 0.192


class Lockstep(MediaStreamTrack):
    """Gives a hop of sound, then waits until its result was heard: a live track on any machine, however slow."""

    kind = "audio"

    def __init__(self, audio: Samples) -> None:
        super().__init__()
        self._frames = frames(audio, each_s=HOP_S)
        self._heard = asyncio.Semaphore(1)

    def heard(self) -> None:
        self._heard.release()

    async def recv(self) -> AudioFrame:
        made = next(self._frames, None)
        if made is None:
            raise MediaStreamError
        await self._heard.acquire()
        return made


class Eager(MediaStreamTrack):
    """Gives all that it has, at once."""

    kind = "audio"

    def __init__(self, audio: Samples) -> None:
        super().__init__()
        self._frames = frames(audio)
        self.ended = asyncio.Event()

    async def recv(self) -> AudioFrame:
        made = next(self._frames, None)
        if made is None:
            self.ended.set()
            raise MediaStreamError
        return made


class Halting(Eager):
    """Stops after some frames, until it is let."""

    def __init__(self, audio: Samples, *, frames: int) -> None:
        super().__init__(audio)
        self._left = frames
        self.halted = asyncio.Event()
        self.go_on = asyncio.Event()

    async def recv(self) -> AudioFrame:
        if not self._left:
            self.halted.set()
            await self.go_on.wait()
        self._left -= 1
        return await super().recv()


@pytest.fixture(autouse=True)
def no_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no stalled track."""
    monkeypatch.setattr("voxgender.audio.hops.STALL_S", math.inf)


@pytest.fixture(scope="module")
def talk() -> Dialogue:
    return dialogue()


@pytest.fixture
def make() -> Iterator[Callable[..., Analyzer]]:
    made: list[Analyzer] = []

    def analyzer(classifier: Classifier | None) -> Analyzer:
        made.append(Analyzer(classifier))
        return made[-1]

    yield analyzer
    for one in made:
        one.close()


def write(path: Path, audio: Samples) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for made in frames(audio):
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return path


async def follow(analyzer: Analyzer, track: Lockstep) -> AsyncIterator[Message]:
    async with aclosing(analyzer.analyze(track)) as messages:
        async for message in messages:
            if isinstance(message, Result):
                track.heard()
            yield message


async def listen(analyzer: Analyzer, audio: Samples) -> list[Message]:
    async with asyncio.timeout(PATIENCE_S):
        return [message async for message in follow(analyzer, Lockstep(audio))]


def only(kind: type, messages: list[Message]) -> list:
    return [message for message in messages if isinstance(message, kind)]


async def test_a_conversation_is_heard_as_it_was_spoken(make: Callable[..., Analyzer], talk: Dialogue) -> None:
    messages = await listen(make(Pitch()), talk.samples)
    assert [(change.from_, change.to) for change in only(Change, messages)] == [
        ("no_speech", "male"),
        ("male", "female"),
    ]
    segments = only(Segment, messages)
    assert [segment.label for segment in segments] == ["male", "female"]
    for segment, turn in zip(segments, talk.turns, strict=True):
        assert segment.start == pytest.approx(turn.start, abs=0.25)
        assert segment.end == pytest.approx(turn.end, abs=0.25)
    assert isinstance(messages[-1], Summary)
    assert len(only(Summary, messages)) == 1
    assert messages[-1].duration == pytest.approx(talk.samples.size / 16_000, abs=0.001)


async def test_results_follow_one_another_without_a_gap(make: Callable[..., Analyzer], talk: Dialogue) -> None:
    results = only(Result, await listen(make(Pitch()), talk.samples))
    assert [result.seq for result in results] == list(range(1, len(results) + 1))
    assert all(before.end == pytest.approx(after.start, abs=0.002) for before, after in pairwise(results))
    assert results[-1].end == pytest.approx(talk.samples.size / 16_000, abs=0.001)
    assert {result.label for result in results} >= {"no_speech", "male", "female"}


async def test_calls_at_once_do_not_hear_each_other(make: Callable[..., Analyzer]) -> None:
    """The design that this one replaced mixed all callers in one buffer and told every answer to everyone."""
    analyzer = make(Pitch())
    man, woman = (np.concatenate([speak(voice, 3.0), silence(0.7)]).astype(np.float32) for voice in (MAN, WOMAN))
    heard = await asyncio.gather(*(listen(analyzer, audio) for audio in (man, woman, noise(3.7), man)))
    assert [[segment.label for segment in only(Segment, messages)] for messages in heard] == [
        ["male"],
        ["female"],
        [],
        ["male"],
    ]


async def test_a_file_and_a_live_track_give_the_same(
    make: Callable[..., Analyzer], talk: Dialogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file has no need to wait for others.
    monkeypatch.setattr(Slot, "frames_too_late", lambda *_, **__: 0)
    analyzer = make(Pitch())
    live = await listen(analyzer, talk.samples)
    file = list(analyzer.analyze_file(write(tmp_path / "talk.wav", talk.samples)))
    assert [message for message in live if not isinstance(message, Result)] == [
        message for message in file if not isinstance(message, Result)
    ]
    assert [(r.start, r.end, r.label, r.scores) for r in only(Result, live)] == [
        (r.start, r.end, r.label, r.scores) for r in only(Result, file)
    ]


def test_a_file_is_judged_as_a_whole(make: Callable[..., Analyzer], tmp_path: Path) -> None:
    verdict = make(Pitch()).classify_file(write(tmp_path / "woman.wav", speak(WOMAN, 4.0)))
    assert verdict.label == "female"
    assert verdict.confidence > 0.75
    assert verdict.speech_s == pytest.approx(4.0, abs=0.6)
    assert str(verdict).startswith("female (")
    plain = json.loads(json.dumps(verdict.to_dict()))
    assert set(plain) == {"label", "confidence", "speech_seconds", "segments"}
    assert plain["segments"] == [
        {"start": round(s.start, 3), "end": round(s.end, 3), "label": "female", "confidence": round(s.confidence, 4)}
        for s in verdict.segments
    ]


@pytest.mark.parametrize("audio", [silence(3), noise(3), noise(3, level=0.0005)])
def test_a_file_with_nobody_in_it_has_no_label(make: Callable[..., Analyzer], tmp_path: Path, audio: Samples) -> None:
    model = Pitch()
    verdict = make(model).classify_file(write(tmp_path / "nobody.wav", audio))
    assert verdict.to_dict() == {"label": None, "confidence": 0.0, "speech_seconds": 0.0, "segments": []}
    assert str(verdict) == "no speech"
    assert {result.label for result in verdict.results} == {"no_speech"}
    assert model.heard == []


def test_noise_that_sounds_like_speech_has_no_label_where_the_model_knows_better(
    make: Callable[..., Analyzer], tmp_path: Path
) -> None:
    model = Fixed(("male", "female", "other"), (0.05, 0.05, 0.9))
    verdict = make(model).classify_file(write(tmp_path / "parrot.wav", speak(WOMAN, 3.0)))
    assert verdict.label is None
    assert verdict.segments == ()


def test_a_word_of_a_third_of_a_second_is_judged(make: Callable[..., Analyzer], tmp_path: Path) -> None:
    word = np.concatenate([silence(1.0), speak(WOMAN, 0.4), silence(1.0)]).astype(np.float32)
    verdict = make(Pitch()).classify_file(write(tmp_path / "word.wav", word))
    assert verdict.label == "female"


def test_a_file_that_is_none_is_refused(make: Callable[..., Analyzer], tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no such file"):
        make(None).classify_file(tmp_path / "nothing.wav")
    with pytest.raises(AudioError, match="no such file"):
        list(make(None).analyze_file(tmp_path / "nothing.wav"))


async def test_without_a_model_speech_is_told_from_silence(make: Callable[..., Analyzer], talk: Dialogue) -> None:
    analyzer = make(None)
    messages = await listen(analyzer, talk.samples)
    assert analyzer.hello("me").model == "off"
    assert {result.label for result in only(Result, messages)} == {"no_speech", "uncertain"}
    assert [segment.label for segment in only(Segment, messages)] == ["uncertain", "uncertain"]


def test_hello_says_what_listens(make: Callable[..., Analyzer]) -> None:
    hello = make(Pitch()).hello("me")
    assert (hello.session, hello.model, hello.window_ms, hello.hop_ms) == ("me", "pitch", 1_000, 192)


async def test_a_model_that_cannot_keep_up_costs_windows_and_not_memory(make: Callable[..., Analyzer]) -> None:
    model = Held()
    analyzer = make(model)
    track = Eager(np.tile(speak(MAN, 4.0), 30))
    messages: list[Message] = []

    async def collect() -> None:
        async with aclosing(analyzer.analyze(track)) as source:
            messages.extend([message async for message in source])

    async with asyncio.timeout(PATIENCE_S):
        collecting = asyncio.create_task(collect())
        await track.ended.wait()
        waiting = sum(type(thing) is Job for thing in gc.get_objects())
        # Those in hand and those that wait, of 625 hops.
        assert waiting <= 3 * analyzer._batcher.max_waiting
        model.may_go_on.set()
        await collecting
    assert "overloaded" in {warning.code for warning in only(Warning, messages)}
    assert isinstance(messages[-1], Summary)
    assert messages[-1].duration == pytest.approx(120.0, abs=0.01)


async def test_one_call_that_floods_the_model_takes_nothing_from_another(make: Callable[..., Analyzer]) -> None:
    analyzer = make(Pitch())
    flood = asyncio.create_task(_drain(analyzer, Eager(np.tile(speak(MAN, 4.0), 30))))
    messages = await listen(analyzer, np.concatenate([speak(WOMAN, 3.0), silence(1.0)]).astype(np.float32))
    await flood
    assert [segment.label for segment in only(Segment, messages)] == ["female"]
    assert only(Warning, messages) == []


async def _drain(analyzer: Analyzer, track: MediaStreamTrack) -> list[Message]:
    async with aclosing(analyzer.analyze(track)) as source:
        return [message async for message in source]


async def test_a_caller_that_does_not_come_for_its_messages_costs_no_memory(
    make: Callable[..., Analyzer], monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners: list[Listener] = []

    class Kept(Listener):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            listeners.append(self)

    monkeypatch.setattr("voxgender.analysis.analyzer._MAX_BEHIND", 10)
    monkeypatch.setattr("voxgender.analysis.analyzer.Listener", Kept)
    analyzer = make(None)
    track = Eager(noise(60))
    async with asyncio.timeout(PATIENCE_S), aclosing(analyzer.analyze(track)) as source:
        messages = [await anext(source)]
        await track.ended.wait()
        messages += [message async for message in source]
    # What was passed over is no longer waited for, or later hops would end where no packet does.
    assert [listener._judging for listener in listeners] == [0]
    # The end of the call is always told, whatever was lost before it.
    assert 1 <= len(only(Result, messages)) <= 12
    assert only(Result, messages)[-1].end == pytest.approx(60.0)
    assert "overloaded" in {warning.code for warning in only(Warning, messages)}
    assert isinstance(messages[-1], Summary)
    assert messages[-1].duration == pytest.approx(60.0)


async def test_what_is_missed_while_the_caller_has_the_news_of_it_is_not_forgotten(
    make: Callable[..., Analyzer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counted as being judged for ever, and later hops ended where no packet does."""
    listeners: list[Listener] = []

    class Telling(Listener):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            listeners.append(self)

        def hear(self, taken: Taken, done: Done[Verdicts] | None) -> Iterator[Message]:
            yield from super().hear(taken, done)
            if done is None and taken.samples > 5 * HOP_S * 16_000:
                yield Warning(code="missed", message="more than five hops")

    monkeypatch.setattr("voxgender.analysis.analyzer._MAX_BEHIND", 10)
    monkeypatch.setattr("voxgender.analysis.analyzer.Listener", Telling)
    track = Halting(noise(60), frames=1_000)
    async with asyncio.timeout(PATIENCE_S), aclosing(make(None).analyze(track)) as source:
        await anext(source)
        await track.halted.wait()
        async for message in source:
            if isinstance(message, Warning) and message.code == "missed":
                break
        track.go_on.set()
        await track.ended.wait()
        async for _ in source:
            pass
    assert [listener._judging for listener in listeners] == [0]


async def test_a_track_that_stops_giving_is_told_of(
    make: Callable[..., Analyzer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxgender.audio.hops.STALL_S", 0.0)
    monkeypatch.setattr("voxgender.analysis.listener.NO_MEDIA_S", 0.0)
    track = Lockstep(silence(10.0))
    async with asyncio.timeout(PATIENCE_S), aclosing(make(None).analyze(track)) as source:
        async for message in source:
            if isinstance(message, Warning):
                break
    assert message.code == "no_media"


async def test_leaving_early_leaves_nothing_behind(make: Callable[..., Analyzer], talk: Dialogue) -> None:
    analyzer = make(Pitch())
    threads = threading.active_count()
    for count in (1, 5, 30):
        async with aclosing(follow(analyzer, Lockstep(talk.samples))) as messages:
            for _ in range(count):
                await anext(messages)
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert threading.active_count() == threads


async def test_a_caller_that_is_cancelled_leaves_no_task(make: Callable[..., Analyzer]) -> None:
    model = Held()
    calling = asyncio.create_task(listen(make(model), speak(MAN, 4.0)))
    assert await asyncio.to_thread(model.started.acquire, timeout=PATIENCE_S)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert asyncio.all_tasks() == {asyncio.current_task()}
    model.may_go_on.set()


async def test_a_model_that_fails_ends_the_call_with_its_error_and_not_the_next_call(
    make: Callable[..., Analyzer], caplog: pytest.LogCaptureFixture
) -> None:
    failing = threading.Event()
    failing.set()

    def say(_: Samples) -> tuple[float, ...]:
        if failing.is_set():
            raise FloatingPointError("the weights have rotted")
        return (0.9, 0.1)

    analyzer = make(Fixed(("male", "female"), say))
    with pytest.raises(FloatingPointError, match="the weights have rotted"):
        await _drain(analyzer, Eager(speak(MAN, 8.0)))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    failing.clear()
    assert only(Segment, await listen(analyzer, speak(MAN, 3.0)))[0].label == "male"
    with caplog.at_level(logging.ERROR, "asyncio"):
        gc.collect()
        await asyncio.sleep(0)
    # asyncio complains of errors that nobody asked for.
    assert caplog.records == []


async def test_closing_the_analyzer_fails_its_calls_without_cancelling_their_tasks(
    make: Callable[..., Analyzer],
) -> None:
    """All audio was given at once: where the thread woke late, one batch held it, and nothing was left to fail."""
    model = Held()
    analyzer = make(model)
    track = Halting(speak(MAN, 8.0), frames=100)
    calling = asyncio.create_task(_drain(analyzer, track))
    assert await asyncio.to_thread(model.started.acquire, timeout=PATIENCE_S)
    closing = asyncio.create_task(asyncio.to_thread(analyzer.close))
    while not analyzer._batcher._closed:  # noqa: ASYNC110 - nobody else needs an event for it
        await asyncio.sleep(0)
    track.go_on.set()
    model.may_go_on.set()
    await closing
    with pytest.raises(RuntimeError, match="closed"):
        await calling


async def test_a_video_track_is_refused(make: Callable[..., Analyzer]) -> None:
    with pytest.raises(AudioError, match="not a video track"):
        await _drain(make(None), VideoStreamTrack())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_track_that_is_dead_from_the_start_is_an_empty_call(make: Callable[..., Analyzer]) -> None:
    (summary,) = await _drain(make(Pitch()), Eager(silence(0)))
    assert summary == Summary(duration=0.0, speech=0.0, male=0.0, female=0.0, uncertain=0.0, segments=0)


async def test_the_model_in_the_package_hears_live_what_it_hears_in_the_file(
    make: Callable[..., Analyzer], speech: Path
) -> None:
    clips = [clip for clip in with_split(read_manifest(speech / "manifest.csv"), "dev") if clip.label == "female"]
    analyzer = make(wav2vec2.load(wav2vec2.EMBEDDED))
    path = clips[0].path
    file = list(analyzer.analyze_file(path))
    live = await listen(analyzer, read_audio(path))
    assert only(Segment, file)
    assert [(s.label, s.start, s.end) for s in only(Segment, live)] == [
        (s.label, pytest.approx(s.start, abs=0.04), pytest.approx(s.end, abs=0.04)) for s in only(Segment, file)
    ]

"""Live tracks through the engine: ``analyze`` from the first frame to the summary."""

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from aiortc import MediaStreamTrack, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame
from av.audio.frame import AudioFrame

from tests.clock import run_virtual
from tests.engine.models import Fixed, Held, Pitch
from tests.engine.still import StillEngine
from tests.support import Samples, TimedTrack, frame, frames, in_real_time, noise, silence, sine
from tests.waits import PATIENCE_S
from voxgender.audio.files import read_audio
from voxgender.engine import Engine
from voxgender.engine.call import MAX_WAITING_S
from voxgender.engine.files import analyze_file
from voxgender.engine.track import MAX_AHEAD_S, MAX_LEFT_S, analyze
from voxgender.errors import AudioError
from voxgender.inference import loading
from voxgender.inference.classifier import Classifier
from voxgender.peer.voices import MAN, WOMAN, Dialogue, dialogue, speak
from voxgender.protocol import Change, Message, Result, Segment, Summary, Warning
from voxgender.training.manifest import read_manifest, with_split
from voxgender.unread import MAX_UNREAD

HOP_S = 0.192


class Lockstep(MediaStreamTrack):
    """Gives a hop of sound, then waits until its result was told: a live track on any machine, however slow."""

    kind = "audio"

    def __init__(self, audio: Samples) -> None:
        super().__init__()
        self._frames = frames(audio, each_s=HOP_S)
        self._told = asyncio.Semaphore(1)

    def told(self) -> None:
        self._told.release()

    async def recv(self) -> AudioFrame:
        made = next(self._frames, None)
        if made is None:
            raise MediaStreamError
        await self._told.acquire()
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
        self.go_on = asyncio.Event()

    async def recv(self) -> AudioFrame:
        if not self._left:
            await self.go_on.wait()
        self._left -= 1
        return await super().recv()


@pytest.fixture(scope="module")
def talk() -> Dialogue:
    return dialogue()


@pytest.fixture
def make() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def engine(classifier: Classifier | None) -> Engine:
        # A busy machine is no track that has stopped giving; test_call.py has those, on a virtual clock.
        made.append(Engine(classifier, silence_s=1_000.0))
        return made[-1]

    yield engine
    for one in made:
        one.close()


async def follow(engine: Engine, track: Lockstep) -> AsyncGenerator[Message, None]:
    async with aclosing(analyze(engine, track)) as messages:
        async for message in messages:
            if isinstance(message, Result):
                track.told()
            yield message


async def listen(engine: Engine, audio: Samples) -> list[Message]:
    async with asyncio.timeout(PATIENCE_S):
        return [message async for message in follow(engine, Lockstep(audio))]


async def drain(engine: Engine, track: MediaStreamTrack) -> list[Message]:
    async with asyncio.timeout(PATIENCE_S), aclosing(analyze(engine, track)) as source:
        return [message async for message in source]


M = TypeVar("M", bound=Message)


def only(kind: type[M], messages: Sequence[Message]) -> list[M]:
    return [message for message in messages if isinstance(message, kind)]


async def test_a_conversation_is_told_as_it_was_spoken(make: Callable[..., Engine], talk: Dialogue) -> None:
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


async def test_results_follow_one_another_without_a_gap(make: Callable[..., Engine], talk: Dialogue) -> None:
    results = only(Result, await listen(make(Pitch()), talk.samples))
    assert [result.seq for result in results] == list(range(1, len(results) + 1))
    assert all(before.end == pytest.approx(after.start, abs=0.002) for before, after in pairwise(results))
    assert results[-1].end == pytest.approx(talk.samples.size / 16_000, abs=0.001)
    assert {result.label for result in results} >= {"no_speech", "male", "female"}


async def test_calls_at_once_do_not_hear_each_other(make: Callable[..., Engine]) -> None:
    """The design that this one replaced mixed all callers in one buffer and told every answer to everyone."""
    engine = make(Pitch())
    man, woman = (np.concatenate([speak(voice, 3.0), silence(0.7)]).astype(np.float32) for voice in (MAN, WOMAN))
    told = await asyncio.gather(*(listen(engine, audio) for audio in (man, woman, noise(3.7), man)))
    assert [[segment.label for segment in only(Segment, messages)] for messages in told] == [
        ["male"],
        ["female"],
        [],
        ["male"],
    ]


async def test_a_file_and_a_live_track_give_the_same(
    make: Callable[..., Engine], talk: Dialogue, tmp_path: Path
) -> None:
    from tests.engine.test_files import write

    engine = make(Pitch())
    live = await listen(engine, talk.samples)
    file = list(analyze_file(engine, write(tmp_path / "talk.wav", talk.samples)))
    assert [message for message in live if not isinstance(message, Result)] == [
        message for message in file if not isinstance(message, Result)
    ]
    assert [(r.start, r.end, r.label, r.scores) for r in only(Result, live)] == [
        (r.start, r.end, r.label, r.scores) for r in only(Result, file)
    ]


async def test_without_a_model_speech_is_told_from_silence(make: Callable[..., Engine], talk: Dialogue) -> None:
    messages = await listen(make(None), talk.samples)
    assert {result.label for result in only(Result, messages)} == {"no_speech", "uncertain"}
    assert [segment.label for segment in only(Segment, messages)] == ["uncertain", "uncertain"]


def test_the_last_millisecond_in_the_resampler_is_not_lost() -> None:
    async def main() -> None:
        messages = await drain(StillEngine(None), TimedTrack(in_real_time(sine(1.0, rate=48_000), rate=48_000)))
        assert only(Result, messages)[-1].end == pytest.approx(1.0, abs=1e-4)

    run_virtual(main())


async def test_a_track_faster_than_the_model_waits_and_loses_nothing(make: Callable[..., Engine]) -> None:
    """29 of 33 s that a track of somebody's own gave at once were dropped, and every segment was ``uncertain``."""
    model = Held()
    engine = make(model)
    track = Eager(np.concatenate([np.tile(speak(MAN, 4.0), 8), silence(1.0)]))
    async with asyncio.timeout(PATIENCE_S):
        collecting = asyncio.create_task(drain(engine, track))
        assert await asyncio.to_thread(model.started.acquire, timeout=PATIENCE_S)
        (calls,) = engine._loops.values()
        (call,) = calls._calls
        assert call._waiting_s <= call._buffer_s + 0.1
        assert not track.ended.is_set()
        model.may_go_on.set()
        messages = await collecting
    assert only(Warning, messages) == []
    assert {segment.label for segment in only(Segment, messages)} == {"male"}
    assert isinstance(messages[-1], Summary)
    assert messages[-1].duration == pytest.approx(33.0, abs=0.01)


class Queued(MediaStreamTrack):
    """Gives what it was given; its ``recv`` forgets ``readyState``, as tracks of somebody's own do."""

    kind = "audio"

    def __init__(self, made: Iterable[AudioFrame] = ()) -> None:
        super().__init__()
        self.queue: asyncio.Queue[AudioFrame] = asyncio.Queue()
        for one in made:
            self.queue.put_nowait(one)

    async def recv(self) -> AudioFrame:
        return await self.queue.get()


async def test_a_track_that_is_stopped_while_it_is_waited_for_ends(make: Callable[..., Engine]) -> None:
    """It was waited for, for ever."""
    track = Queued(frames(sine(1.0)))
    messages: list[Message] = []
    async with asyncio.timeout(PATIENCE_S), aclosing(analyze(make(None), track)) as source:
        async for message in source:
            messages.append(message)
            if len(messages) == 2:
                track.stop()
    assert only(Summary, messages)[0].duration == pytest.approx(1.0)
    assert track.listeners("ended") == []


async def test_of_a_track_that_was_stopped_before_what_it_still_has_is_read(make: Callable[..., Engine]) -> None:
    track = Queued(frames(sine(3.0)))
    track.stop()
    assert only(Summary, await drain(make(None), track))[0].duration == pytest.approx(3.0)


@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_a_track_that_gives_frames_for_ever_after_its_end_is_left(pause_s: float) -> None:
    class Endless(Queued):
        async def recv(self) -> AudioFrame:
            await asyncio.sleep(pause_s)
            return frame(silence(0.02))

    async def main() -> None:
        track = Endless()
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, track.stop) if pause_s else loop.call_soon(track.stop)
        (summary,) = only(Summary, await drain(StillEngine(None), track))
        assert summary.duration == pytest.approx(1.0 if pause_s else MAX_LEFT_S, abs=0.5)

    run_virtual(main())


@pytest.mark.parametrize("base", [Fraction(1, 1_000), Fraction(1, 8_000), Fraction(1, 10**9), Fraction(0)])
def test_timestamps_of_another_rate_than_they_say_are_not_believed(base: Fraction) -> None:
    """A time base of milliseconds made a gap of 0.3 s after each frame of 20 ms."""

    async def main() -> None:
        timed = []
        for at_s, made in in_real_time(sine(6.0)):
            made.time_base = base
            timed.append((at_s, made))
        messages = await drain(StillEngine(None), TimedTrack(timed))
        assert only(Summary, messages)[0].duration == pytest.approx(6.0, abs=MAX_AHEAD_S + 0.05)

    run_virtual(main())


def test_a_gap_that_the_clock_on_the_wall_has_too_is_believed() -> None:
    async def main() -> None:
        before, after = in_real_time(sine(2.0)), in_real_time(sine(2.0), from_s=9.0)
        messages = await drain(StillEngine(None), TimedTrack([*before, *after]))
        assert only(Summary, messages)[0].duration == pytest.approx(11.0, abs=0.2)

    run_virtual(main())


async def test_a_frame_without_a_rate_is_refused_in_a_sentence(make: Callable[..., Engine]) -> None:
    bare = AudioFrame.from_ndarray(np.zeros((1, 320), dtype=np.int16), layout="mono")
    with pytest.raises(AudioError, match="0 samples a second: set sample_rate of each frame"):
        await drain(make(None), Queued([bare]))
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_call_that_floods_the_engine_takes_nothing_from_another(make: Callable[..., Engine]) -> None:
    engine = make(Pitch())
    flood = asyncio.create_task(drain(engine, Eager(np.tile(speak(MAN, 4.0), 30))))
    messages = await listen(engine, np.concatenate([speak(WOMAN, 3.0), silence(1.0)]).astype(np.float32))
    await flood
    assert [segment.label for segment in only(Segment, messages)] == ["female"]
    assert only(Warning, messages) == []


def test_a_caller_that_does_not_come_for_its_messages_costs_no_memory_and_no_event() -> None:
    """Its audio waits, and the oldest goes: where a call's audio always goes."""

    async def main() -> None:
        engine = StillEngine(None)
        async with aclosing(analyze(engine, TimedTrack(in_real_time(sine(150.0), each_s=0.1)))) as source:
            messages = [await anext(source)]
            await asyncio.sleep(200.0)
            (call,) = next(iter(engine._loops.values()))._calls
            assert call._waiting_s <= MAX_WAITING_S
            messages += [message async for message in source]
        results = only(Result, messages)
        assert len(results) <= MAX_UNREAD + 2 * MAX_WAITING_S / HOP_S
        assert results[-1].end == pytest.approx(150.0)
        assert "overloaded" in {warning.code for warning in only(Warning, messages)}
        assert isinstance(messages[-1], Summary)
        assert messages[-1].duration == pytest.approx(150.0)

    run_virtual(main())


async def test_leaving_early_leaves_nothing_behind(make: Callable[..., Engine], talk: Dialogue) -> None:
    engine = make(Pitch())
    await listen(engine, silence(0.5))
    threads = threading.active_count()
    for count in (1, 5, 30):
        async with aclosing(follow(engine, Lockstep(talk.samples))) as messages:
            for _ in range(count):
                await anext(messages)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert engine._loops == {}
    assert threading.active_count() == threads


async def test_a_caller_that_is_cancelled_leaves_no_task(make: Callable[..., Engine]) -> None:
    model = Held()
    calling = asyncio.create_task(listen(make(model), speak(MAN, 4.0)))
    assert await asyncio.to_thread(model.started.acquire, timeout=PATIENCE_S)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert asyncio.all_tasks() == {asyncio.current_task()}
    model.may_go_on.set()


async def test_a_model_that_fails_ends_the_call_with_its_error_and_not_the_next_call(
    make: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    failing = threading.Event()
    failing.set()

    def say(_: Samples) -> tuple[float, ...]:
        if failing.is_set():
            raise FloatingPointError("the weights have rotted")
        return (0.9, 0.1)

    engine = make(Fixed(("male", "female"), say))
    with pytest.raises(FloatingPointError, match="the weights have rotted"):
        await drain(engine, Eager(speak(MAN, 8.0)))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    failing.clear()
    assert only(Segment, await listen(engine, speak(MAN, 3.0)))[0].label == "male"
    with caplog.at_level(logging.ERROR, "asyncio"):
        gc.collect()
        await asyncio.sleep(0)
    # asyncio complains of errors that nobody asked for.
    assert caplog.records == []


async def test_closing_the_engine_ends_its_calls_without_cancelling_their_tasks(make: Callable[..., Engine]) -> None:
    model = Held()
    engine = make(model)
    track = Halting(speak(MAN, 8.0), frames=100)
    calling = asyncio.create_task(drain(engine, track))
    assert await asyncio.to_thread(model.started.acquire, timeout=PATIENCE_S)
    closing = asyncio.create_task(asyncio.to_thread(engine.close))
    with pytest.raises(RuntimeError, match="closed"):
        await calling
    model.may_go_on.set()
    await closing


async def test_an_engine_that_is_closed_takes_no_call(make: Callable[..., Engine]) -> None:
    engine = make(None)
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        await drain(engine, Eager(silence(1.0)))


async def test_a_video_track_is_refused(make: Callable[..., Engine]) -> None:
    with pytest.raises(AudioError, match="an audio track is wanted, not a video track"):
        await drain(make(None), VideoStreamTrack())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_track_that_says_audio_and_gives_pictures_is_refused(make: Callable[..., Engine]) -> None:
    class Liar(MediaStreamTrack):
        kind = "audio"

        async def recv(self) -> VideoFrame:
            return VideoFrame(16, 16)

    with pytest.raises(AudioError, match="VideoFrame"):
        await drain(make(None), Liar())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_track_that_fails_says_so_and_leaves_no_task(make: Callable[..., Engine]) -> None:
    class Broken(MediaStreamTrack):
        kind = "audio"

        async def recv(self) -> AudioFrame:
            raise OSError("the microphone is gone")

    engine = make(None)
    with pytest.raises(OSError, match="the microphone is gone"):
        await drain(engine, Broken())
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert engine._loops == {}


async def test_a_track_that_is_dead_from_the_start_is_an_empty_call_and_not_read_again(
    make: Callable[..., Engine],
) -> None:
    class Counted(MediaStreamTrack):
        kind = "audio"
        asked = 0

        async def recv(self) -> AudioFrame:
            self.asked += 1
            raise MediaStreamError

    track = Counted()
    (summary,) = await drain(make(Pitch()), track)
    assert summary == Summary(duration=0.0, speech=0.0, male=0.0, female=0.0, uncertain=0.0, segments=0)
    assert track.asked == 1


async def test_a_track_that_never_waits_keeps_nobody_from_their_turn(make: Callable[..., Engine]) -> None:
    class Endless(MediaStreamTrack):
        kind = "audio"
        given = 0

        async def recv(self) -> AudioFrame:
            self.given += 1
            return frame(sine(0.02), at_s=self.given * 0.02)

    engine = make(None)
    async with asyncio.timeout(PATIENCE_S), aclosing(analyze(engine, Endless())) as endless:
        assert await anext(endless) is not None
        messages = await listen(engine, silence(2.0))
    assert isinstance(messages[-1], Summary)


async def test_an_empty_frame_is_nothing_and_frames_without_end_that_are_empty_end_with_their_track(
    make: Callable[..., Engine],
) -> None:
    """It was an error of numpy's, and it ended the call: encoders that are flushed give such frames."""
    empty = AudioFrame(format="s16", layout="mono", samples=0)
    empty.sample_rate = 16_000

    class Emptying(MediaStreamTrack):
        kind = "audio"
        given = 0

        async def recv(self) -> AudioFrame:
            self.given += 1
            if self.given == 100:
                self.stop()
            return frame(sine(0.02), at_s=self.given * 0.01) if self.given % 2 and self.given < 100 else empty

    async with asyncio.timeout(PATIENCE_S):
        messages = [message async for message in analyze(make(None), Emptying())]
    assert only(Summary, messages)[0].duration == pytest.approx(50 * 0.02)


async def test_a_track_may_end_as_a_generator_does(make: Callable[..., Engine]) -> None:
    """``return await anext(frames)`` as ``recv``: RuntimeError, async generator raised StopAsyncIteration."""

    class Generated(Eager):
        async def recv(self) -> AudioFrame:
            try:
                return await super().recv()
            except MediaStreamError:
                raise StopAsyncIteration from None

    messages = [message async for message in analyze(make(None), Generated(sine(1.0)))]
    assert only(Summary, messages)[0].duration == pytest.approx(1.0)


async def test_a_class_that_does_not_make_itself_a_track_is_told_how(make: Callable[..., Engine]) -> None:
    """One that forgot ``super().__init__()`` had no attribute ``_MediaStreamTrack__ended``."""

    class Forgetful(Eager):
        def __init__(self) -> None:
            pass

    with pytest.raises(AudioError, match="call super"):
        await anext(analyze(make(None), Forgetful()))


async def test_the_model_in_the_package_hears_live_what_it_hears_in_the_file(
    make: Callable[..., Engine], speech: Path
) -> None:
    clips = [clip for clip in with_split(read_manifest(speech / "manifest.csv"), "dev") if clip.label == "female"]
    engine = make(loading.load(loading.EMBEDDED))
    path = clips[0].path
    file = list(analyze_file(engine, path))
    live = await listen(engine, read_audio(path))
    assert only(Segment, file)
    assert [segment.label for segment in only(Segment, live)] == [segment.label for segment in only(Segment, file)]
    for heard, read in zip(only(Segment, live), only(Segment, file), strict=True):
        assert (heard.start, heard.end) == pytest.approx((read.start, read.end), abs=0.04)

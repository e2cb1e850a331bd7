"""Streams that can wait: nothing is dropped, all is classified, channels are judged apart."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from tests.clock import run_virtual
from tests.engine.models import Fixed, Held, Pitch
from tests.engine.still import StillEngine
from tests.engine.test_files import write
from tests.support import Samples, silence, sine
from tests.waits import PATIENCE_S, until
from voxgender.audio.pcm import Encoding, PcmFormat, PcmPackets
from voxgender.audio.pcmdecoder import PcmDecoder
from voxgender.engine import Engine
from voxgender.engine.files import analyze_file
from voxgender.engine.schedule import BUSY_CALLS
from voxgender.engine.stream import Stream
from voxgender.inference.classifier import Classifier
from voxgender.peer.voices import MAN, WOMAN, dialogue, speak
from voxgender.protocol import AnyMessage, Change, Message, Result, Segment, Summary, Warning

M = TypeVar("M", bound=Message)


class Told:
    """A stream, what was told of it, and how it ended."""

    def __init__(self, engine: Engine, pcm: PcmFormat, *, start_s: float = 0.0) -> None:
        self.pcm = pcm
        self.messages: list[AnyMessage] = []
        self.errors: list[Exception | None] = []
        self.over = asyncio.Event()
        self.news = asyncio.Event()
        decoders = [PcmDecoder(pcm, channel).decode for channel in range(pcm.channels)]
        self.stream = Stream(engine, decoders, self._on_messages, self._on_end, start_s=start_s)
        self.packets = PcmPackets(pcm)

    def only(self, kind: type[M]) -> list[M]:
        return [message for message in self.messages if isinstance(message, kind)]

    async def has(self, kind: type[Message]) -> None:
        """Wait for a message of this kind."""
        while not self.only(kind):
            self.news.clear()
            await self.news.wait()

    async def feed(self, audio: Samples, *, chunk: int = 3_201) -> None:
        """Feed sound, shape ``(samples,)`` or ``(samples, channels)``, in chunks that end in mid-sample."""
        data = encoded(audio, self.pcm)
        for start in range(0, len(data), chunk):
            await self.stream.feed(self.packets.cut(data[start : start + chunk]))

    async def end(self) -> None:
        self.stream.end()
        async with asyncio.timeout(PATIENCE_S):
            await self.over.wait()

    def _on_messages(self, messages: Sequence[AnyMessage]) -> None:
        self.messages += messages
        self.news.set()

    def _on_end(self, error: Exception | None) -> None:
        self.errors.append(error)
        self.over.set()


def encoded(audio: Samples, pcm: PcmFormat) -> bytes:
    if pcm.encoding == "f32le":
        return audio.astype("<f4").tobytes()
    return (audio * 32_767).astype("<i2").tobytes()


def of_audio(messages: Sequence[Message]) -> list[object]:
    """Return what messages say, without the times that the analysis took."""
    return [
        (m.start, m.end, m.label, m.confidence, m.scores) if isinstance(m, Result) else m.to_dict() for m in messages
    ]


@pytest.mark.parametrize("chunk", [1, 2_001, 10**6])
async def test_a_stream_as_fast_as_it_can_be_is_told_as_the_file(
    make: Callable[[Classifier | None], Engine], tmp_path: Path, chunk: int
) -> None:
    """All of 33 s that came at once but the last 4 were dropped, and the segments were ``uncertain``."""
    engine = make(Pitch())
    talk = dialogue().samples[: 16_000 * 3] if chunk == 1 else np.tile(dialogue().samples, 2)
    told = Told(engine, PcmFormat())
    await told.feed(talk, chunk=chunk)
    await told.end()
    assert of_audio(told.messages) == of_audio(list(analyze_file(engine, write(tmp_path / "talk.wav", talk))))
    assert told.only(Warning) == []
    assert told.errors == [None]


@pytest.mark.parametrize("encoding", ["s16le", "f32le"])
async def test_channels_are_judged_apart(make: Callable[[Classifier | None], Engine], encoding: Encoding) -> None:
    told = Told(make(Pitch()), PcmFormat(16_000, encoding, 2))
    both = np.stack([speak(MAN, 3.0), speak(WOMAN, 3.0)], axis=1)
    await told.feed(np.concatenate([both, np.zeros((16_000, 2), dtype=np.float32)]))
    await told.end()
    assert {(segment.channel, segment.label) for segment in told.only(Segment)} == {(0, "male"), (1, "female")}
    assert sorted(summary.channel or 0 for summary in told.only(Summary)) == [0, 1]
    assert told.errors == [None]
    assert all(message.to_dict()["channel"] == message.channel for message in told.messages)


async def test_one_channel_is_not_named(make: Callable[[Classifier | None], Engine]) -> None:
    told = Told(make(None), PcmFormat())
    await told.feed(silence(1.0))
    await told.end()
    assert all("channel" not in message.to_dict() for message in told.messages)


async def test_the_clock_may_start_later(make: Callable[[Classifier | None], Engine]) -> None:
    engine = make(Pitch())
    audio = np.concatenate([speak(MAN, 2.0), silence(1.0)])
    first, resumed = Told(engine, PcmFormat()), Told(engine, PcmFormat(), start_s=60.0)
    for told in (first, resumed):
        await told.feed(audio)
        await told.end()
    assert [change.at for change in resumed.only(Change)] == [change.at + 60 for change in first.only(Change)]
    assert [(s.start, s.end) for s in resumed.only(Segment)] == [
        (s.start + 60, s.end + 60) for s in first.only(Segment)
    ]
    assert resumed.only(Result)[0].start == 60.0
    assert resumed.only(Summary) == first.only(Summary)


async def test_a_stream_waits_for_the_engine_and_keeps_little(make: Callable[[Classifier | None], Engine]) -> None:
    model = Held()
    told = Told(make(model), PcmFormat())
    feeding = asyncio.create_task(told.feed(np.tile(speak(MAN, 4.0), 10)))
    assert await asyncio.to_thread(model.started.acquire, timeout=PATIENCE_S)
    (call,) = told.stream._calls
    await until(lambda: call._has_space._waiters)
    assert call._waiting_s <= call._buffer_s + 0.1
    assert not feeding.done()
    model.may_go_on.set()
    async with asyncio.timeout(PATIENCE_S):
        await feeding
    await told.end()
    assert told.only(Summary)[0].duration == pytest.approx(40.0)


async def test_a_stream_whose_messages_are_not_read_waits(make: Callable[[Classifier | None], Engine]) -> None:
    told = Told(make(None), PcmFormat())
    told.stream.hold()
    feeding = asyncio.create_task(told.feed(sine(5.0)))
    await asyncio.sleep(0)
    assert told.messages == []
    told.stream.release()
    async with asyncio.timeout(PATIENCE_S):
        await feeding
    await told.end()
    assert told.only(Summary)[0].duration == pytest.approx(5.0)


async def test_what_can_be_said_is_said_on_request_and_the_stream_goes_on(
    make: Callable[[Classifier | None], Engine],
) -> None:
    told = Told(make(Pitch()), PcmFormat())
    await told.feed(speak(MAN, 2.0))
    told.stream.finalize()
    async with asyncio.timeout(PATIENCE_S):
        await told.has(Segment)
    assert told.only(Segment)[0].label == "male"
    assert told.only(Segment)[0].end == pytest.approx(2.0, abs=0.1)
    await told.feed(speak(MAN, 2.0))
    await told.end()
    assert [segment.label for segment in told.only(Segment)] == ["male", "male"]
    assert len(told.only(Change)) == 1
    assert told.only(Summary)[0].duration == pytest.approx(4.0)


async def test_a_model_that_fails_ends_all_channels_with_its_error(make: Callable[[Classifier | None], Engine]) -> None:
    def fail(_: Samples) -> tuple[float, ...]:
        raise FloatingPointError("the weights have rotted")

    engine = make(Fixed(("male", "female"), fail))
    told = Told(engine, PcmFormat(channels=2))
    both = np.tile(speak(MAN, 8.0), (2, 1)).T
    async with asyncio.timeout(PATIENCE_S):
        # Feeding a stream that has ended must not wait for ever.
        await told.feed(both)
        await told.over.wait()
    assert [str(error) for error in told.errors] == ["the weights have rotted"]
    assert told.stream.ended
    assert engine._loops == {}


async def test_a_stream_that_is_abandoned_while_it_waits_leaves_nothing(
    make: Callable[[Classifier | None], Engine],
) -> None:
    model = Held()
    engine = make(model)
    told = Told(engine, PcmFormat())
    feeding = asyncio.create_task(told.feed(np.tile(speak(MAN, 3.0), 10)))
    assert await asyncio.to_thread(model.started.acquire, timeout=PATIENCE_S)
    told.stream.abandon()
    async with asyncio.timeout(PATIENCE_S):
        await feeding
    assert engine._loops == {}
    assert told.errors == []
    model.may_go_on.set()


def test_a_stream_that_pauses_has_the_clock_of_its_audio() -> None:
    async def main() -> None:
        told = Told(StillEngine(None), PcmFormat())
        for _ in range(10):
            await told.feed(sine(0.5))
            await asyncio.sleep(7.0)
        await told.end()
        assert told.only(Summary)[0].duration == pytest.approx(5.0)
        assert told.only(Warning) == []

    run_virtual(main())


def test_streams_in_real_time_are_taken_together_by_a_busy_engine() -> None:
    """Each would cost a run of the networks of its own."""

    async def main() -> None:
        engine = StillEngine(None)
        many = [Told(engine, PcmFormat()) for _ in range(BUSY_CALLS)]
        for _ in range(100):
            await asyncio.gather(*(told.feed(sine(0.02)) for told in many))
            await asyncio.sleep(0.02)
        sizes = [calls for _, calls in engine.turns[2:]]
        assert sum(sizes) / len(sizes) > BUSY_CALLS * 0.9
        for told in many:
            await told.end()
            assert told.only(Summary)[0].duration == pytest.approx(2.0)

    run_virtual(main())


def test_a_fast_stream_gets_more_than_real_time_from_a_busy_engine() -> None:
    async def main() -> None:
        engine = StillEngine(None)
        many = [Told(engine, PcmFormat()) for _ in range(BUSY_CALLS)]
        fast = Told(engine, PcmFormat())
        began = engine.clock()
        await fast.feed(sine(60.0))
        await fast.end()
        assert engine.clock() - began < 6.0
        assert {round(r.end - r.start, 6) for r in fast.only(Result)[:-1]} == {0.192}
        for told in many:
            await told.end()

    run_virtual(main())


@pytest.mark.parametrize(
    ("model", "turns"),
    [
        (None, [(2, True), (32, False), (2, True), (8, False), (1, True)]),
        (Pitch(), [(2, True), (16, False), (2, True), (16, False), (1, True), (8, False)]),
    ],
)
async def test_fast_streams_take_every_second_turn_at_most(
    make: Callable[[Classifier | None], Engine], model: Classifier | None, turns: list[tuple[int, bool]]
) -> None:
    engine = make(model)
    live, fast = ([engine.open(lambda _: None, lambda _: None) for _ in range(count)] for count in (40, 5))
    engine._due, engine._due_ahead = [(0.0, call) for call in live], list(fast)
    taken = [engine._next()[1] for _ in turns]
    assert [(len(calls), calls[0] in fast) for calls in taken] == turns
    for call in (*live, *fast):
        call.abandon()

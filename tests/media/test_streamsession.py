"""Streams of audio: the same labels as of files, however fast or slow they come."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext

from tests.amrwb import efficient, encoded
from tests.engine.models import Held, Pitch
from tests.support import Samples, frames, silence, sine
from tests.waits import until
from voxgender import amrwb
from voxgender.audiostream import Encoding, StreamFormat
from voxgender.engine import Engine
from voxgender.engine.files import analyze_file
from voxgender.errors import StreamEnded
from voxgender.media.streamsession import MAX_UNREAD, StreamSession
from voxgender.peer import speech
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.protocol import AnyMessage, Change, Result, Segment, Summary, Usage, decode


@pytest.fixture(scope="module")
def dialogue() -> Samples:
    pieces = [silence(0.5), speak(MAN, 4.0), silence(1.0), speak(WOMAN, 4.0), silence(0.7)]
    return np.concatenate(pieces).astype(np.float32)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(Pitch())
    yield engine
    engine.close()


def coded(samples: Samples, encoding: str) -> bytes:
    """Sound as a client sends it."""
    pcm = (samples * 32_767).astype("<i2")
    match encoding:
        case "s16le":
            return pcm.tobytes()
        case "f32le":
            return samples.astype("<f4").tobytes()
    context = av.CodecContext.create("g722" if encoding == "g722" else f"pcm_{encoding}", "w")
    assert isinstance(context, AudioCodecContext)
    context.format, context.layout, context.sample_rate = "s16", "mono", 16_000
    packets = [packet for frame in frames(samples) for packet in context.encode(frame)]
    return b"".join(bytes(packet) for packet in packets)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


async def all_of(session: StreamSession, audio: Iterable[bytes]) -> list[AnyMessage]:
    """Push as fast as it is taken; all messages."""
    session.connect()

    async def push() -> None:
        for piece in audio:
            await session.push(piece)
        await session.finish()

    pushing = asyncio.create_task(push())
    messages = [decode(text) async for text in until_end(session)]
    await pushing
    await session.leave()
    return messages


async def until_end(session: StreamSession) -> AsyncIterator[str]:
    """The messages of a stream that ends in good order."""
    with suppress(StreamEnded):
        async for text in session.messages():
            yield text


def events(messages: Iterable[AnyMessage]) -> list[object]:
    """Return what is final, rounded as two codecs agree on it."""
    return [
        (message.type, round(message.start, 1), message.label)
        if isinstance(message, Segment)
        else (message.type, round(message.at, 1), message.to)
        for message in messages
        if isinstance(message, Segment | Change)
    ]


async def test_a_stream_at_any_speed_gets_the_labels_of_the_file(
    engine: Engine, dialogue: Samples, tmp_path: Path
) -> None:
    """33 s pushed at once once lost most of it, and every segment became uncertain."""
    path = tmp_path / "dialogue.wav"
    write_wav(path, dialogue)
    of_file = [decode(message.to_json()) for message in analyze_file(engine, path)]
    data = coded(dialogue, "s16le")
    messages = await all_of(StreamSession("id", engine, StreamFormat()), pieces(data, 4_000))
    for kind in (Segment, Change):
        assert [one for one in messages if isinstance(one, kind)] == [one for one in of_file if isinstance(one, kind)]
    (summary,), (summary_of_file,) = ([one for one in of if isinstance(one, Summary)] for of in (messages, of_file))
    # A file is nobody's call, so nothing counts as used.
    assert msgspec.structs.replace(summary, usage=None) == summary_of_file
    assert summary.usage == Usage(summary.duration, summary.speech)
    heard = [(one.start, one.end, one.label) for one in messages if isinstance(one, Result)]
    assert heard == [(round(one.start, 3), round(one.end, 3), one.label) for one in of_file if isinstance(one, Result)]


def write_wav(path: Path, samples: Samples) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for frame in frames(samples):
            container.mux(stream.encode(frame))


@pytest.mark.parametrize("encoding", ["f32le", "mulaw", "alaw", "g722"])
async def test_every_encoding_is_heard_alike(engine: Engine, dialogue: Samples, encoding: Encoding) -> None:
    plain = await all_of(StreamSession("id", engine, StreamFormat()), pieces(coded(dialogue, "s16le"), 9_000))
    form = StreamFormat(encoding=encoding, rate_hz=8_000 if encoding == "g722" else 16_000)
    assert events(await all_of(StreamSession("id", engine, form), pieces(coded(dialogue, encoding), 9_001))) == events(
        plain
    )


async def test_opus_packets_are_heard(engine: Engine) -> None:
    form = StreamFormat(encoding="opus", rate_hz=48_000)
    packets = list(speech.synthesised().packets)
    messages = await all_of(StreamSession("id", engine, form), packets)
    assert [one.to for one in messages if isinstance(one, Change)] == ["male", "female"]
    (summary,) = (one for one in messages if isinstance(one, Summary))
    assert summary.duration == pytest.approx(len(packets) * 0.02, abs=0.001)


@pytest.mark.parametrize("layout", ["aligned", "efficient"])
async def test_amr_wb_is_heard_and_its_pauses_keep_the_clock(engine: Engine, layout: str) -> None:
    man, woman = (
        [frame for payload in encoded(speak(voice, 3.0)) for frame in amrwb.frames(payload)] for voice in (MAN, WOMAN)
    )
    comfort_noise = bytes((9 << 3 | 4,)) + bytes(5)
    frames_ = [*man, *50 * [comfort_noise, amrwb.NO_DATA], *woman]
    pack = amrwb.payload if layout == "aligned" else efficient
    payloads = [pack(frames_[start : start + 3]) for start in range(0, len(frames_), 3)]
    form = StreamFormat(encoding="amrwb", rate_hz=16_000)
    messages = await all_of(StreamSession("id", engine, form), payloads)
    assert [one.to for one in messages if isinstance(one, Change)] == ["male", "female"]
    (summary,) = (one for one in messages if isinstance(one, Summary))
    assert summary.duration == pytest.approx(len(frames_) * amrwb.FRAME_S, abs=0.001)


@pytest.mark.parametrize("payload", [b"\xf0", b"\xf0\x44" + bytes(9), amrwb.payload([amrwb.NO_DATA] * 3)])
async def test_what_is_no_amr_wb_of_as_many_channels_ends_the_stream(engine: Engine, payload: bytes) -> None:
    session = StreamSession("id", engine, StreamFormat(encoding="amrwb", rate_hz=16_000, channels=2))
    with pytest.raises(StreamEnded, match="no packet of Opus or AMR-WB"):
        await session.push(payload)


async def test_channels_keep_their_sides(engine: Engine) -> None:
    man, woman = speak(MAN, 3.0), speak(WOMAN, 3.0)
    size = min(man.size, woman.size)
    for encoding in ("s16le", "mulaw"):
        sides = [
            np.frombuffer(coded(side[:size], encoding), "<i2" if encoding == "s16le" else "u1") for side in (man, woman)
        ]
        data = np.stack(sides, axis=1).tobytes()
        form = StreamFormat(encoding=encoding, channels=2)
        messages = await all_of(StreamSession("id", engine, form), pieces(data, 10_001))
        labels = {(one.channel, one.label) for one in messages if isinstance(one, Segment)}
        assert labels == {(0, "male"), (1, "female")}


async def test_a_source_that_is_too_fast_waits_and_nothing_is_dropped() -> None:
    model = Held()
    engine = Engine(model)
    session = StreamSession("id", engine, StreamFormat())
    session.connect()
    taken_s = 0.0

    async def push() -> None:
        nonlocal taken_s
        for piece in pieces(coded(speak(MAN, 6.0), "s16le"), 3_200):
            await session.push(piece)
            taken_s += 0.1
        await session.finish()

    pushing = asyncio.create_task(push())
    try:
        await asyncio.to_thread(model.started.acquire)
        (call,) = session._stream._calls
        await until(lambda: call._has_space._waiters)
        held_s = taken_s
        # The audio that the engine has, and the audio that waits for it.
        assert held_s <= 2.0
        assert session.last_active_at > 0
        model.may_go_on.set()
        messages = [decode(text) async for text in until_end(session)]
        await pushing
    finally:
        model.may_go_on.set()
        await session.leave()
        engine.close()
    (summary,) = (one for one in messages if isinstance(one, Summary))
    assert summary.duration == pytest.approx(6.0, abs=0.1)
    assert not any(message.type == "warning" for message in messages)


async def test_a_client_that_does_not_read_stops_its_own_stream(engine: Engine) -> None:
    session = StreamSession("id", engine, StreamFormat())
    session.connect()
    tone = coded(sine(0.5), "s16le")

    async def push() -> None:
        while True:
            await session.push(tone)

    pushing = asyncio.create_task(push())
    try:
        (call,) = session._stream._calls
        await until(lambda: session._held and call._has_space._waiters)
        unread = len(session._unread)
        assert MAX_UNREAD <= unread <= MAX_UNREAD + 20
        texts = session.messages()
        for _ in range(unread):
            await anext(texts)
        # Room again.
        await anext(texts)
        await texts.aclose()
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        await session.leave()

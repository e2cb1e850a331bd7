"""A peer's data on data channels is bounded, and its acknowledgement can be waited for."""

import asyncio
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.rtcsctptransport import DataChunk, ForwardTsnChunk, SackChunk, tsn_plus_one

from tests.media.aiortc_internals.pair import Pair, a_pair, on_loopback
from tests.waits import until
from voxgender import metrics
from voxgender.media.aiortc_internals.closing import close
from voxgender.media.aiortc_internals.sctp import (
    CHUNKS_AT_ONCE,
    MAX_CHANNELS_OPEN,
    MAX_FRAGMENTS,
    MAX_HOLES,
    MAX_MESSAGE,
    MAX_STREAMS,
    MAX_UNFINISHED,
    bound,
    wait_delivered,
)


async def test_delivered_is_false_without_an_association() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    assert not await wait_delivered(pc, 0.1)
    pc.createDataChannel("x")
    assert not await wait_delivered(pc, 0.1)
    await pc.close()


async def test_a_message_is_delivered_when_the_peer_has_acknowledged_it_and_not_before() -> None:
    """Sent it is at once: ``bufferedAmount`` is nought then."""
    async with a_pair() as pair:
        assert await wait_delivered(pair.caller, 5)
        vars(pair.connection)["data_received"] = lambda data, component: None
        pair.channel.send("x")
        assert not await wait_delivered(pair.caller, 0.2)
        assert pair.channel.bufferedAmount == 0
        del vars(pair.connection)["data_received"]
        assert await wait_delivered(pair.caller, 10)


async def test_messages_that_still_wait_to_be_sent_are_not_delivered() -> None:
    async with a_pair() as pair:
        for _ in range(40):
            pair.channel.send(bytes(50_000))
        assert pair.channel.bufferedAmount > 0
        assert not await wait_delivered(pair.caller, 0.0)
        assert await wait_delivered(pair.caller, 10)
        assert pair.channel.bufferedAmount == 0


class Bounded:
    """A pair whose callee is bounded, and what its caller can send past aiortc's own rules."""

    def __init__(self, pair: Pair, excesses: "asyncio.Queue[str]") -> None:
        self.pair = pair
        self.excesses = excesses
        self.ours: Any = pair.callee.sctp
        self.theirs: Any = pair.caller.sctp

    async def send(
        self, data: bytes, *, kind: int = 51, stream: int | None = None, flags: int = 3, skip: int = 0
    ) -> None:
        """Send one data chunk; ``skip`` leaves out so many before it. Flags: 2 the first piece, 1 the last."""
        chunk = DataChunk(flags=flags)
        self.theirs._local_tsn = (self.theirs._local_tsn + skip) % (1 << 32)
        chunk.tsn = self.theirs._local_tsn
        chunk.stream_id = self.pair.channel.id if stream is None else stream
        chunk.protocol, chunk.user_data = kind, data
        chunk.stream_seq = 0
        self.theirs._local_tsn = tsn_plus_one(chunk.tsn)
        await self.theirs._send_chunk(chunk)
        await asyncio.sleep(0)

    def watch(self) -> list[bytes]:
        """Return the packets that have been handled, from now on."""
        handled: list[bytes] = []
        handle = self.ours._handle_data

        async def watched(packet: bytes) -> None:
            try:
                await handle(packet)
            finally:
                handled.append(packet)

        vars(self.ours)["_handle_data"] = watched
        return handled

    async def excess(self) -> str:
        return await asyncio.wait_for(self.excesses.get(), 20)


@asynccontextmanager
async def a_bounded_pair(*, chunks_at_once: float = CHUNKS_AT_ONCE) -> AsyncIterator[Bounded]:
    excesses: asyncio.Queue[str] = asyncio.Queue()

    def before_answer(callee: RTCPeerConnection) -> None:
        on_loopback(callee)
        bound(callee, excesses.put_nowait, chunks_at_once=chunks_at_once)

    async with a_pair(before_answer) as pair:
        # It is answered what it did not ask for, which aiortc takes no better than we did.
        bound(pair.caller, lambda _: None, chunks_at_once=chunks_at_once)
        yield Bounded(pair, excesses)


async def holes(bounded: Bounded) -> None:
    """aiortc sorted all of them with each packet: the loop stood still for 3.5 s."""
    for _ in range(MAX_HOLES + 10):
        await bounded.send(b"x", skip=1)


async def fragments(bounded: Bounded) -> None:
    """33 MB of pieces without an end were kept."""
    await bounded.send(bytes(1_000), flags=2)
    for _ in range(MAX_UNFINISHED // 1_000 + 10):
        await bounded.send(bytes(1_000), flags=0)


async def small_fragments(bounded: Bounded) -> None:
    """Each was looked at with each that came."""
    await bounded.send(b"x", flags=2)
    for _ in range(MAX_FRAGMENTS + 10):
        await bounded.send(b"x", flags=0)


async def unordered_fragments(bounded: Bounded) -> None:
    """The same where none is the first."""
    for _ in range(MAX_FRAGMENTS + 10):
        await bounded.send(b"x", flags=4)


async def large_message(bounded: Bounded) -> None:
    """The SDP announces ``a=max-message-size:262144``, which nobody held a peer to."""
    pieces = MAX_MESSAGE // 1_000 + 1
    for number in range(pieces):
        await bounded.send(bytes(1_000), kind=53, flags=2 * (number == 0) + (number == pieces - 1))


async def long_label(bounded: Bounded) -> None:
    """300 channels with labels of 60 kB cost 13 MB."""
    bounded.pair.caller.createDataChannel("x" * 60_000)


async def channels(bounded: Bounded) -> None:
    for number in range(MAX_CHANNELS_OPEN + 10):
        bounded.pair.caller.createDataChannel(f"channel {number}")


async def streams(bounded: Bounded) -> None:
    """A stream needs no channel."""
    for number in range(MAX_STREAMS + 10):
        await bounded.send(b"x", stream=1_000 + number)


async def skipped_streams(bounded: Bounded) -> None:
    """FORWARD TSN (RFC 3758) names hundreds of streams at once."""
    chunk = ForwardTsnChunk()
    chunk.cumulative_tsn = bounded.theirs._local_tsn
    chunk.streams = [(number, 1) for number in range(280)]
    await bounded.theirs._send_chunk(chunk)


EXCESSES: dict[Callable[[Bounded], Awaitable[None]], str] = {
    holes: "missing before",
    fragments: "bytes of messages without an end",
    small_fragments: "pieces of messages without an end",
    unordered_fragments: "pieces of messages without an end",
    large_message: "larger message than was announced",
    long_label: "too long",
    channels: "too many data channels",
    streams: "too many data channels",
    skipped_streams: "too many data channels",
}


@pytest.mark.parametrize("send", EXCESSES, ids=lambda send: send.__name__)
async def test_each_thing_that_a_peer_makes_grow_has_a_bound(
    send: Callable[[Bounded], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        # The rate is lifted, because the bounds behind it are meant.
        async with a_bounded_pair(chunks_at_once=1e6) as bounded:
            await send(bounded)
            assert EXCESSES[send] in await bounded.excess()
            streams = bounded.ours._inbound_streams.values()
            kept = sum(len(chunk.user_data) for stream in streams for chunk in stream.reassembly)
            assert kept <= MAX_UNFINISHED + 1_500
            # Nothing more is read.
            handled = bounded.watch()
            await bounded.send(b"one more", skip=1)
            await until(lambda: any(b"one more" in packet for packet in handled))
            assert bounded.excesses.empty()
    assert not caplog.records


async def test_a_message_as_large_as_was_announced_passes() -> None:
    async with a_bounded_pair() as bounded:
        received: asyncio.Queue[bytes] = asyncio.Queue()
        channel = bounded.ours._data_channels[bounded.pair.channel.id]
        channel.on("message", received.put_nowait)
        bounded.theirs._remote_max_message_size = MAX_MESSAGE
        bounded.pair.channel.send(bytes(MAX_MESSAGE))
        assert len(await received.get()) == MAX_MESSAGE
        assert bounded.excesses.empty()


MALFORMED: dict[str, Callable[[Bounded], Awaitable[None]]] = {
    "a text that is not UTF-8": lambda bounded: bounded.send(b"\xff\xfe"),
    "a label that is not UTF-8": lambda bounded: bounded.send(
        struct.pack("!BBHLHH", 3, 0, 0, 0, 2, 0) + b"\xff\xfe", kind=50, stream=77
    ),
    "an open of a channel that is open": lambda bounded: bounded.send(
        struct.pack("!BBHLHH", 3, 0, 0, 0, 0, 0), kind=50
    ),
    "an acknowledgement for no channel": lambda bounded: bounded.send(b"\x02", kind=50, stream=99),
    "no known DCEP message": lambda bounded: bounded.send(b"\x63\x00", kind=50),
    "an open that is cut off": lambda bounded: bounded.send(b"\x03\x00\x00", kind=50, stream=78),
    "a label that is longer than its message": lambda bounded: bounded.send(
        struct.pack("!BBHLHH", 3, 0, 0, 0, 60_000, 60_000), kind=50, stream=79
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_malformed_messages_are_ignored_without_a_word(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each ended the call with a traceback of aiortc, as a warning in the log."""
    with caplog.at_level(logging.INFO):
        async with a_bounded_pair() as bounded:
            received: asyncio.Queue[str] = asyncio.Queue()
            bounded.ours._data_channels[bounded.pair.channel.id].on("message", received.put_nowait)
            bounded.theirs._outbound_stream_seq[bounded.pair.channel.id] = 1
            await MALFORMED[kind](bounded)
            await bounded.send(b"later", flags=7)
            assert await received.get() == "later"
            assert bounded.excesses.empty()
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("kind", "value"),
    [(192, b"\0\0"), (192, b"\0\0\0\1\0"), (7, b"\0"), (1, b"\0"), (2, b""), (130, b"\0\x0d\0\5\0"), (0, b"\0")],
)
async def test_malformed_chunks_end_it_without_a_word(
    kind: int, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    class Chunk(SackChunk):
        def __bytes__(self) -> bytes:
            return struct.pack("!BBH", kind, 0, 4 + len(value)) + value + bytes(-len(value) % 4)

    with caplog.at_level(logging.INFO):
        async with a_bounded_pair() as bounded:
            handled = bounded.watch()
            await bounded.theirs._send_chunk(Chunk())
            await until(lambda: any(bytes(Chunk()) in packet for packet in handled))
            assert bounded.excesses.qsize() <= 1
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


async def test_acknowledgements_of_what_was_never_sent_are_not_counted_through() -> None:
    """One packet names 296 ranges of 65,536 numbers each, and aiortc counts through all of them."""
    async with a_bounded_pair() as bounded:
        ignored = metrics.CHUNKS_IGNORED._value.get()
        lie = SackChunk()
        lie.cumulative_tsn = (bounded.ours._local_tsn - 1) % (1 << 32)
        lie.gaps = [(1, 65_535)] * 280
        await bounded.theirs._send_chunk(lie)
        await until(lambda: metrics.CHUNKS_IGNORED._value.get() > ignored)
        assert await wait_delivered(bounded.pair.callee, 5)


async def test_chunks_beyond_a_rate_are_lost_on_the_way_and_the_call_goes_on() -> None:
    at_once = 20
    async with a_bounded_pair(chunks_at_once=at_once) as bounded:
        ignored = metrics.CHUNKS_IGNORED._value.get()
        received: asyncio.Queue[str] = asyncio.Queue()
        bounded.ours._data_channels[bounded.pair.channel.id].on("message", received.put_nowait)
        sent = 0
        # Not more than it takes to lose one: what follows has something missing before it, and that is bounded as well.
        while metrics.CHUNKS_IGNORED._value.get() == ignored:
            await bounded.send(b"x", flags=7)
            sent += 1
            if sent % 50 == 0:
                await asyncio.sleep(0.005)
        assert received.qsize() < sent
        assert bounded.excesses.empty()


async def test_closing_leaves_nothing_of_it() -> None:
    async with a_bounded_pair() as bounded:
        assert {"_handle_data", "_data_channel_receive"} <= vars(bounded.ours).keys()
        await close(bounded.pair.callee)
        assert not {"_handle_data", "_data_channel_receive"} & vars(bounded.ours).keys()

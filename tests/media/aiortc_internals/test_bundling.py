"""Messages that come together go together, and reach aiortc's own peer as they would one by one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, cast

import pytest
from aiortc import RTCDataChannel, RTCPeerConnection, RTCSctpTransport
from aiortc.rtcsctptransport import (
    USERDATA_MAX_LENGTH,
    WEBRTC_STRING,
    SackChunk,
    ShutdownAckChunk,
    parse_packet,
    serialize_packet,
    tsn_plus_one,
)

from tests.media.aiortc_internals.pair import Pair, a_pair, on_loopback
from voxgender.media.aiortc_internals.bundling import LARGEST_PACKET, bundle, release
from voxgender.media.aiortc_internals.closing import close
from voxgender.media.aiortc_internals.sctp import wait_delivered
from voxgender.peer.link import impair

HEADERS = 8 + 40
"""Bytes of UDP's header and IPv6's."""
IPV6_MTU = 1_280
RESULT = 280
"""Bytes of a result of a room's voice, about."""


class Line:
    """A link that notes the size of DTLS datagrams, and loses some of all that goes either way."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.loses: Callable[[], bool] = lambda: False
        self.loses_sent: Callable[[], bool] = lambda: False

    def send(self, datagram: bytes, out: Callable[[bytes], object]) -> None:
        if is_dtls(datagram):
            self.sizes.append(len(datagram))
            if self.loses() or self.loses_sent():
                return
        out(datagram)

    def admits(self) -> bool:
        return not self.loses()


def is_dtls(datagram: bytes) -> bool:
    return 19 < datagram[0] < 64


class Server:
    """A pair's callee, which bundles, and what it sends on its end of a channel."""

    def __init__(self, pair: Pair, channel: RTCDataChannel) -> None:
        self.pair = pair
        self.channel = channel
        self.sctp = cast("Any", pair.callee.sctp)
        self.line = Line()
        self.packets: list[list[Any]] = []
        """Chunks of each packet."""
        impair(pair.callee, self.line)
        ssl = self.sctp.transport._ssl
        self._send, ssl.send = ssl.send, self._watched

    def _watched(self, data: bytes) -> int:
        self.packets.append(parse_packet(data)[3])
        return int(self._send(data))

    async def until_acknowledged(self) -> None:
        assert await wait_delivered(self.pair.callee, 10)


@asynccontextmanager
async def a_server(**shape: Any) -> AsyncIterator[tuple[Server, "asyncio.Queue[str]"]]:
    """Connect a server that bundles to a peer that does not; what the peer receives is in the queue."""

    def before_answer(callee: RTCPeerConnection) -> None:
        on_loopback(callee)
        bundle(callee)
        callee.on("datachannel", channels.put_nowait)

    channels: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
    received: asyncio.Queue[str] = asyncio.Queue()
    async with a_pair(before_answer) as pair:
        pair.caller.createDataChannel("results", **shape).on("message", received.put_nowait)
        channel = await channels.get()
        while channel.label != "results":
            channel = await channels.get()
        yield Server(pair, channel), received


def kinds(packet: list[Any]) -> list[str]:
    return [type(chunk).__name__ for chunk in packet]


def message(number: int, size: int = RESULT) -> str:
    return f"{number:06}".ljust(size, "x")


async def test_messages_of_one_turn_share_packets_that_fit_any_path() -> None:
    """A room of eight sent eight packets a turn, and took eight acknowledgements."""
    async with a_server() as (server, received):
        await server.until_acknowledged()
        server.packets.clear()
        server.line.sizes.clear()
        for number in range(8):
            server.channel.send(message(number))
        assert [int((await received.get())[:6]) for _ in range(8)] == list(range(8))
        assert [kinds(packet) for packet in server.packets] == [["DataChunk"] * 3] * 2 + [["DataChunk"] * 2]
        assert max(server.line.sizes) + HEADERS <= IPV6_MTU
        assert server.channel.bufferedAmount == 0


async def test_a_packet_is_filled_to_the_byte_and_no_further() -> None:
    async with a_server() as (server, received):
        await server.until_acknowledged()
        room = LARGEST_PACKET - 12 - 2 * 16
        for over in (0, 1):
            server.packets.clear()
            server.line.sizes.clear()
            server.channel.send(message(1, 600))
            server.channel.send(message(2, room - 600 + over))
            assert [(await received.get())[5] for _ in range(2)] == ["1", "2"]
            assert len(server.packets) == 1 + over
            # 65 bytes are the most that a suite adds: a header, an initial value, a hash and padding.
            assert max(server.line.sizes) + HEADERS <= IPV6_MTU


async def test_a_message_leaves_as_soon_as_the_code_that_sent_it_has_run() -> None:
    async with a_server() as (server, received):
        await server.until_acknowledged()
        server.packets.clear()
        server.channel.send(message(1))
        assert not server.packets
        await asyncio.sleep(0)
        assert [kinds(packet) for packet in server.packets] == [["DataChunk"]]
        assert (await received.get())[5] == "1"


async def test_an_acknowledgement_goes_before_the_messages_that_go_with_it() -> None:
    """RFC 9260 section 6.10: control chunks come first in a packet."""
    async with a_server() as (server, _):
        await server.until_acknowledged()
        server.packets.clear()
        other: asyncio.Queue[str] = asyncio.Queue()
        server.pair.callee.on("datachannel", lambda channel: channel.send("hello"))
        server.pair.caller.createDataChannel("late").on("message", other.put_nowait)
        assert await other.get() == "hello"
        # The acknowledgement of the peer's DATA, and DCEP's own, which is DATA.
        assert kinds(server.packets[0]) == ["SackChunk", "DataChunk"]
        assert all(kinds(packet) == sorted(kinds(packet), reverse=True) for packet in server.packets)


async def test_no_more_is_under_way_than_the_congestion_window_lets() -> None:
    async with a_server() as (server, received):
        await server.until_acknowledged()
        window = server.sctp._cwnd
        server.packets.clear()
        sizes = (RESULT, 4 * USERDATA_MAX_LENGTH, *[RESULT] * 40)
        for number, size in enumerate(sizes):
            server.channel.send(message(number, size))
        await asyncio.sleep(0)
        flown = sum(len(chunk.user_data) for packet in server.packets for chunk in packet)
        assert window <= flown == server.sctp._flight_size < window + USERDATA_MAX_LENGTH
        assert server.channel.bufferedAmount > 0
        assert [len(await received.get()) for _ in sizes] == list(sizes)
        await server.until_acknowledged()
        assert server.sctp._flight_size == 0


async def test_all_of_a_reliable_channel_arrives_in_order_through_loss() -> None:
    async with a_server() as (server, received):
        random = Random(7)
        server.line.loses = lambda: random.random() < 0.15
        # A second is the least time after which SCTP sends again what nothing came after.
        server.sctp._rto = 0.05
        server.sctp._update_rto = lambda _: None
        sent = 0
        for _ in range(40):
            for _ in range(8):
                server.channel.send(message(sent))
                sent += 1
            await asyncio.sleep(0.005)
        assert [int((await received.get())[:6]) for _ in range(sent)] == list(range(sent))
        server.line.loses = lambda: False
        await server.until_acknowledged()
        assert server.sctp._flight_size == 0
        assert max(server.line.sizes) + HEADERS <= IPV6_MTU
        again = [chunk.tsn for packet in server.packets for chunk in packet if type(chunk).__name__ == "DataChunk"]
        assert len(again) > len(set(again)), "nothing was lost"


async def test_what_an_unreliable_channel_loses_is_skipped_and_holds_nothing_up() -> None:
    async with a_server(ordered=False, maxRetransmits=0) as (server, received):
        await server.until_acknowledged()
        lost = iter([False, True])
        server.line.loses_sent = lambda: next(lost, False)
        server.packets.clear()
        for turn in range(6):
            for number in range(3):
                server.channel.send(message(3 * turn + number))
            await asyncio.sleep(0.02)
        await server.until_acknowledged()
        came = [int((await received.get())[:6]) for _ in range(received.qsize())]
        data = [chunk.tsn for packet in server.packets for chunk in packet if type(chunk).__name__ == "DataChunk"]
        assert len(data) == len(set(data)) == 18, "sent again"
        assert came == [number for number in range(18) if number not in (3, 4, 5)]
        assert server.sctp._flight_size == 0
        assert server.sctp._last_sacked_tsn == (server.sctp._local_tsn - 1) % (1 << 32)


async def test_a_channel_that_closes_delivers_its_last_messages_first() -> None:
    """The chunk that resets a stream is not bundled, and comes after the messages."""
    async with a_server() as (server, received):
        closed = asyncio.Event()
        server.channel.on("close", closed.set)
        for number in range(5):
            server.channel.send(message(number))
        server.channel.close()
        await closed.wait()
        assert [int((await received.get())[:6]) for _ in range(5)] == list(range(5))
        assert all(kinds(packet) == ["ReconfigChunk"] for packet in server.packets if "ReconfigChunk" in kinds(packet))


async def as_aiortc(server: Server, text: str) -> Any:
    """Return the chunk that aiortc would make of a message."""
    sctp = server.sctp
    own, sctp._transmit = sctp._transmit, lambda: asyncio.sleep(0)
    channel = server.channel
    await sctp._send(
        channel.id, WEBRTC_STRING, text.encode(), max_retransmits=channel.maxRetransmits, ordered=channel.ordered
    )
    sctp._transmit = own
    return sctp._outbound_queue.pop()


@pytest.mark.parametrize("shape", [{}, {"ordered": False}, {"ordered": False, "maxRetransmits": 0}])
async def test_a_message_is_the_chunk_that_aiortc_would_have_made(shape: dict[str, Any]) -> None:
    async with a_server(**shape) as (server, _):
        await server.until_acknowledged()
        theirs = await as_aiortc(server, "x")
        server.channel.send("x")
        await asyncio.sleep(0)
        ours = server.sctp._sent_queue[0]
        same = vars(theirs).keys() - {"_in_flight", "_sent_count", "_sent_time", "tsn", "stream_seq"}
        assert {name: getattr(ours, name) for name in same} == {name: getattr(theirs, name) for name in same}
        assert (ours._in_flight, ours._sent_count) == (True, 1)
        assert ours.tsn == tsn_plus_one(theirs.tsn)
        assert ours.stream_seq == theirs.stream_seq + server.channel.ordered


STATE = (
    "_last_sacked_tsn", "_advanced_peer_ack_tsn", "_flight_size", "_cwnd", "_ssthresh", "_partial_bytes_acked", "_rto",
    "_srtt", "_rttvar", "_fast_recovery_exit", "_forward_tsn_chunk", "_forward_tsn_streams",
)  # fmt: skip


def acknowledgement(server: Server, count: int, **fields: Any) -> bytes:
    """Return a packet that acknowledges so many of the chunks that are under way."""
    sctp = server.sctp
    chunk = SackChunk()
    chunk.cumulative_tsn = (sctp._last_sacked_tsn + count) % (1 << 32)
    chunk.advertised_rwnd = 1 << 20
    tag = fields.pop("tag", sctp._local_verification_tag)
    for name, value in fields.items():
        setattr(chunk, name, value)
    return serialize_packet(5000, 5000, tag, chunk)


@asynccontextmanager
async def three_under_way() -> AsyncIterator[Server]:
    """Let three messages be sent whose acknowledgements are lost."""
    async with a_server() as (server, _):
        await server.until_acknowledged()
        server.line.loses_sent = lambda: True
        for number in range(3):
            server.channel.send(message(number))
        await asyncio.sleep(0)
        assert len(server.sctp._sent_queue) == 3
        yield server


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_an_acknowledgement_leaves_what_aiortc_would_leave(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    async with three_under_way() as server:
        sctp = server.sctp
        data = acknowledgement(server, count)
        before = {name: getattr(sctp, name) for name in STATE}
        sent = list(sctp._sent_queue)
        left: list[tuple[Any, ...]] = []
        for handle in (partial(RTCSctpTransport._handle_data, sctp), sctp._handle_data):
            for name, value in before.items():
                setattr(sctp, name, value)
            sctp._sent_queue.clear()
            sctp._sent_queue.extend(sent)
            for chunk in sent:
                chunk._in_flight = True
            await handle(data)
            left.append((*(getattr(sctp, name) for name in STATE), list(sctp._sent_queue), bool(sctp._t3_handle)))
        assert left[0] == left[1]
        assert left[1][-2:] == (sent[count:], count < 3)


@pytest.mark.parametrize(
    ("count", "fields"),
    [(4, {}), (0, {}), (-1, {}), (3, {"tag": 1}), (3, {"gaps": [(1, 9)]}), (1 << 31, {}), (3, {"type": 4})],
)
async def test_an_acknowledgement_that_is_none_is_not_taken_for_one(count: int, fields: dict[str, Any]) -> None:
    async with three_under_way() as server:
        data = acknowledgement(server, count, **fields)
        taken = server.sctp._handle_data.__self__._take_acknowledgement
        assert not taken(data)
        assert not taken(data[:-1])
        assert not taken(acknowledgement(server, 3)[:-1] + b"\1")
        assert len(server.sctp._sent_queue) == 3
        assert taken(acknowledgement(server, 3))


@pytest.mark.parametrize("data", ["", b"", b"binary", "text ✓", "x" * 5_000])
async def test_messages_of_any_kind_arrive(data: str | bytes) -> None:
    async with a_server() as (server, received):
        server.channel.send(data)
        assert await received.get() == data


async def test_a_message_longer_than_the_peer_takes_is_refused_as_before() -> None:
    async with a_server() as (server, received):
        server.sctp._remote_max_message_size = 10
        with pytest.raises(ValueError, match="only supports messages up to 10"):
            server.channel.send("x" * 11)
        server.channel.send("x" * 10)
        assert await received.get() == "x" * 10


async def test_nothing_is_sent_and_nothing_raised_once_the_connection_is_closed() -> None:
    async with a_server() as (server, _):
        server.channel.send("x")
        await server.pair.callee.close()
        server.packets.clear()
        server.sctp._t3_expired()
        await server.sctp._send_chunk(ShutdownAckChunk())
        await asyncio.sleep(0)
        assert not server.packets
        assert server.sctp._t3_handle is None


async def test_closing_leaves_nothing_of_it() -> None:
    async with a_server() as (server, _):
        names = {"_data_channel_send", "_send_chunk", "_transmit", "_handle_data"}
        assert names <= vars(server.sctp).keys()
        await close(server.pair.callee)
        assert not names & vars(server.sctp).keys()
        release(server.pair.callee)

"""One caller misbehaves, and the others on the same server and socket go on being told in time.

Peers, server and bystanders share an event loop, so whatever holds it up shows as a gap in all bystanders' results. The
time that the machine gave to other programs does not count.
"""

import asyncio
import gc
import logging
import random
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple, Self

import pylibsrtp
import pytest
from aiortc.exceptions import InvalidStateError
from aiortc.rtcsctptransport import DataChunk, ForwardTsnChunk, SackChunk, tsn_plus_one
from aiortc.rtp import RtpPacket

from tests import offers
from tests.fuzz.packets import signed
from tests.media.test_decoder import opus_payloads
from tests.processor import waited_s
from tests.rtc import SDP, Peer, Server, ToneTrack, session_on
from tests.waits import PATIENCE_S
from voxgender.media.aiortc_internals import reception, sctp
from voxgender.media.aiortc_internals.ice import send_now
from voxgender.media.audiobudget import BURST_S, PACE
from voxgender.protocol import Error, Hello, Message, Result, Warning
from voxgender.sdp import MAX_VOICES, MID_EXTENSION

LONGEST_GAP_S = 0.4
"""Results are due every 0.2 s."""
SPARE_S = 0.4
"""Time that the misbehaviour may add."""
DURATION_S = 2.0


class Moment(NamedTuple):
    """A time of the monotonic clock, and how long this process has waited for a processor until then."""

    at_s: float
    waited_s: float

    @classmethod
    def now(cls) -> Self:
        return cls(time.monotonic(), waited_s())


class Bystander:
    """A caller who behaves, and when it was told of results."""

    def __init__(self) -> None:
        self.peer = Peer(ToneTrack())
        self.told_at: list[Moment] = []
        self._heard = asyncio.Event()

    async def call(self, server: Server) -> None:
        channel = self.peer.channel("results", ordered=False, maxRetransmits=0)
        channel.on("message", lambda _: self._note())
        await self.peer.call(server.http)
        await asyncio.wait_for(self._heard.wait(), 20)

    def _note(self) -> None:
        message = self.peer.messages.get_nowait()
        if isinstance(message, Result):
            self.told_at.append(Moment.now())
            self._heard.set()

    def longest_gap_s(self, since: Moment, until: Moment) -> float:
        times = [since, *(at for at in self.told_at if since < at < until), until]
        return max(after.at_s - before.at_s - (after.waited_s - before.waited_s) for before, after in pairwise(times))


class Misbehaving(Peer):
    """A caller with a real connection, who sends what it likes over it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Message] = []
        self.pc.addTransceiver("audio", direction="sendonly")
        self.channels()
        self.path = ""

    async def connect(self, server: Server) -> None:
        self.path = await self.call(server.http)
        await self.until(Hello)
        self._session = session_on(server.node, self.path)

    @property
    def session(self) -> Any:
        """The server's end."""
        return self._session

    @property
    def dtls(self) -> Any:
        return self.pc.getTransceivers()[0].sender.transport

    @property
    def association(self) -> Any:
        return self.pc.sctp

    def send_audio(self, payload: bytes, index: int, *, ssrc: int = 7) -> None:
        packet = RtpPacket(payload_type=96, sequence_number=index & 0xFFFF, timestamp=960 * index, ssrc=ssrc)
        packet.payload = payload
        send_now(self.dtls.transport, self.dtls._tx_srtp.protect(packet.serialize()))

    async def send_chunk(self, data: bytes, *, flags: int = 3, skip: int = 0, stream: int = 0) -> None:
        chunk = DataChunk(flags=flags)
        chunk.tsn = (self.association._local_tsn + skip) % (1 << 32)
        chunk.stream_id, chunk.stream_seq, chunk.protocol, chunk.user_data = stream, 0, 53, data
        self.association._local_tsn = tsn_plus_one(chunk.tsn)
        await self.association._send_chunk(chunk)

    def drain(self) -> list[Message]:
        while not self.messages.empty():
            self.told.append(self.messages.get_nowait())
        return self.told

    def codes(self, kind: type[Error | Warning]) -> list[str]:
        return [message.code for message in self.drain() if isinstance(message, kind)]


Misbehave = Callable[[Misbehaving, Callable[[], bool]], Awaitable[None]]


class Bystanders:
    """Three calls on one socket."""

    def __init__(self, server: Server, callers: list[Bystander]) -> None:
        self.server = server
        self.callers = callers
        self.peers: list[Peer] = [caller.peer for caller in callers]

    async def watch(self, misbehave: Misbehave, *, until_ended: bool = False) -> tuple[float, Misbehaving]:
        """Have somebody misbehave for some seconds; return the longest gap of all bystanders and who it was.

        With ``until_ended`` it goes on until the server ends the call: a busy machine sends less a second.
        """
        attacker = Misbehaving()
        self.peers.append(attacker)
        await attacker.connect(self.server)
        gc.collect()
        since = Moment.now()

        def goes_on() -> bool:
            lasts_s = time.monotonic() - since.at_s
            return lasts_s < DURATION_S or (until_ended and not attacker.session.ended_for and lasts_s < PATIENCE_S)

        # Once its call was ended, it cannot send any more.
        with suppress(ConnectionError, InvalidStateError):
            await misbehave(attacker, goes_on)
            while goes_on():  # noqa: ASYNC110 - fails by the time limit
                await asyncio.sleep(0.01)
        await asyncio.sleep(max(0.0, since.at_s + DURATION_S - time.monotonic()))
        until = Moment.now()
        return max(caller.longest_gap_s(since, until) for caller in self.callers), attacker


@pytest.fixture
async def bystanders(server: Server, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Bystanders]:
    bystanders = Bystanders(server, [Bystander() for _ in range(3)])
    try:
        for caller in bystanders.callers:
            await caller.call(server)
        assert len(server.node.sockets.shared) == 1
        with caplog.at_level(logging.INFO):
            yield bystanders
        assert not [record for record in caplog.records if record.exc_info or "Traceback" in record.getMessage()]
    finally:
        for peer in bystanders.peers:
            await peer.close()


async def test_nobody_misbehaves(bystanders: Bystanders) -> None:
    """The measure itself: what the others are held to."""

    async def nothing(_: Misbehaving, __: Callable[[], bool]) -> None:
        return

    longest_gap_s, attacker = await bystanders.watch(nothing)
    assert longest_gap_s < LONGEST_GAP_S + SPARE_S
    assert attacker.session.ended_for is None


async def test_a_new_ssrc_with_every_packet(bystanders: Bystanders) -> None:
    """A packet cost 1 ms after 50,000 of them, until the call ended: 1,000 packets a second stopped a server."""
    (payload,) = opus_payloads(1)

    async def misbehave(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
        index = 0
        while goes_on():
            for _ in range(10):
                attacker.send_audio(payload, index, ssrc=100 + index)
                index += 1
            await asyncio.sleep(0.01)

    longest_gap_s, attacker = await bystanders.watch(misbehave)
    diversion = attacker.session._pc.getTransceivers()[0].receiver.receive.__self__
    assert len(diversion._heard_at) == reception.MAX_SSRCS
    assert "too_many_streams" in attacker.codes(Warning)
    assert longest_gap_s < LONGEST_GAP_S + SPARE_S


@pytest.mark.parametrize("speed", [10, 50, 100])
async def test_sound_that_is_faster_than_real_time(bystanders: Bystanders, speed: int) -> None:
    """All of it was judged, and the neighbours' results came later and later."""
    payloads = opus_payloads(50)
    began_at = time.monotonic()

    async def misbehave(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
        nonlocal began_at
        index, began_at = 0, time.monotonic()
        while goes_on():
            while index < (time.monotonic() - began_at) * 50 * speed:
                attacker.send_audio(payloads[index % len(payloads)], index)
                index += 1
                if index % 25 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.01)

    longest_gap_s, attacker = await bystanders.watch(misbehave)
    results = [message for message in attacker.drain() if isinstance(message, Result)]
    judged_s = max(result.end for result in results)
    assert judged_s <= PACE * (time.monotonic() - began_at) + BURST_S
    assert "too_fast" in attacker.codes(Warning)
    assert longest_gap_s < LONGEST_GAP_S + SPARE_S


async def holes(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """aiortc sorts all of them with each packet: 300 a second took half a core, 4,500 stopped the server."""
    while goes_on():
        for _ in range(20):
            await attacker.send_chunk(b"x", skip=1)
        await asyncio.sleep(0.02)


async def fragments(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    await attacker.send_chunk(bytes(1_000), flags=2)
    while goes_on():
        for _ in range(10):
            await attacker.send_chunk(bytes(1_000), flags=0)
        await asyncio.sleep(0.02)


async def scattered_fragments(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    while goes_on():
        for _ in range(40):
            await attacker.send_chunk(b"x", flags=random.choice([0, 2, 4, 6]), stream=random.randrange(2, 60))
        await asyncio.sleep(0.02)


async def one_large_message(attacker: Misbehaving, _: Callable[[], bool]) -> None:
    """8 MB, sent as aiortc sends what it is told to send."""
    attacker.association._remote_max_message_size = 0
    channel = attacker.pc.createDataChannel("large")
    opened = asyncio.Event()
    channel.on("open", opened.set)
    await asyncio.wait_for(opened.wait(), 10)
    channel.send(bytes(8_000_000))


async def many_channels(attacker: Misbehaving, _: Callable[[], bool]) -> None:
    for number in range(3_000):
        attacker.pc.createDataChannel(str(number))
        if number % 20 == 0:
            await asyncio.sleep(0.01)


async def long_labels(attacker: Misbehaving, _: Callable[[], bool]) -> None:
    for number in range(300):
        attacker.pc.createDataChannel(f"{number}" * 20_000)
        await asyncio.sleep(0)


async def skipped_streams(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """Each FORWARD TSN names 280 streams more, and with each all of them are looked through."""
    number = 0
    while goes_on():
        chunk = ForwardTsnChunk()
        attacker.association._local_tsn = tsn_plus_one(attacker.association._local_tsn)
        chunk.cumulative_tsn = attacker.association._local_tsn
        chunk.streams = [((number + stream) % 65_535, 1) for stream in range(280)]
        number += 280
        await attacker.association._send_chunk(chunk)
        await asyncio.sleep(0.01)


SCTP_EXCESSES = [
    holes, fragments, scattered_fragments, one_large_message, many_channels, long_labels, skipped_streams,
]  # fmt: skip


@pytest.mark.parametrize("misbehave", SCTP_EXCESSES, ids=lambda one: one.__name__)
async def test_more_than_a_call_may_send_on_its_data_channels(bystanders: Bystanders, misbehave: Misbehave) -> None:
    longest_gap_s, attacker = await bystanders.watch(misbehave, until_ended=True)
    assert attacker.session.ended_for == "excessive_data"
    assert longest_gap_s < LONGEST_GAP_S + SPARE_S


async def lying_acknowledgements(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """296 ranges of 65,536 numbers fit into one packet: 19 million are counted."""
    while goes_on():
        chunk = SackChunk()
        chunk.cumulative_tsn = attacker.association._last_received_tsn
        chunk.gaps = [(1, 65_535)] * 280
        await attacker.association._send_chunk(chunk)
        await asyncio.sleep(0.01)


async def many_small_chunks(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """Hundreds of chunks fit into one packet."""
    while goes_on():
        for _ in range(20):
            await attacker.send_chunk(b"x", flags=7)
        await asyncio.sleep(0.004)


async def malformed_messages(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    while goes_on():
        for kind, data in (
            (51, b"\xff\xfe"),
            (50, b"\x02"),
            (50, struct.pack("!BBHLHH", 3, 0, 0, 0, 2, 0) + b"\xff\xff"),
        ):
            chunk = DataChunk(flags=7)
            chunk.tsn = attacker.association._local_tsn
            chunk.stream_id, chunk.stream_seq, chunk.protocol, chunk.user_data = 301, 0, kind, data
            attacker.association._local_tsn = tsn_plus_one(chunk.tsn)
            await attacker.association._send_chunk(chunk)
        await asyncio.sleep(0.02)


async def junk_in_records(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """DTLS records that OpenSSL looks at and throws away, from the caller's own address."""
    while goes_on():
        for _ in range(50):
            send_now(attacker.dtls.transport, bytes((23, 254, 253)) + random.randbytes(60))
        await asyncio.sleep(0.01)


async def replayed_media(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    packet = RtpPacket(payload_type=96, sequence_number=1, timestamp=1, ssrc=5, payload=b"\xf8\xff\xfe")
    protected = attacker.dtls._tx_srtp.protect(packet.serialize())
    while goes_on():
        for _ in range(60):
            send_now(attacker.dtls.transport, protected)
        await asyncio.sleep(0.01)


async def compound_reports(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """As many reports as a packet holds, of the smallest kinds, with right keys."""
    goodbye = struct.pack("!BBH", 0x80, 203, 0)
    report = struct.pack("!BBHLQLLL", 0x80, 200, 6, 7, 2**64 - 1, 0, 0, 0)
    while goes_on():
        for packet in (goodbye * 300, report * 45):
            for _ in range(30):
                send_now(attacker.dtls.transport, attacker.dtls._tx_srtp.protect_rtcp(report + packet))
        await asyncio.sleep(0.01)


async def swollen_headers(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """Fifteen sources and an extension that fills the packet, or says that it is longer."""
    number = 0
    while goes_on():
        for words in (280, 281, 65_535, 0):
            number += 1
            head = struct.pack("!BBHLL", 0x9F, 96, number & 0xFFFF, 960 * number, 7) + bytes(60)
            packet = head + struct.pack("!HH", 0xBEDE, words) + b"\x1f" * 1_120
            with suppress(pylibsrtp.Error):
                send_now(attacker.dtls.transport, attacker.dtls._tx_srtp.protect(packet))
        await asyncio.sleep(0.005)


async def handshakes_again(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """Pieces of messages of 16 MB, each of another handshake, as if DTLS began anew."""
    while goes_on():
        for number in range(40):
            message = struct.pack("!B3sH3s3s", 1, b"\xff" * 3, number, b"\0" * 3, b"\0\4\0") + bytes(1_024)
            record = struct.pack("!BHHHLH", 22, 0xFEFD, 0, 0, random.getrandbits(31), len(message))
            send_now(attacker.dtls.transport, record + message)
        await asyncio.sleep(0.01)


async def right_checks(attacker: Misbehaving, goes_on: Callable[[], bool]) -> None:
    """Connectivity checks that are signed as they should be, thousands a second."""
    ice = attacker.dtls.transport._connection
    names = f"{ice.remote_username}:{ice.local_username}".encode()
    user = struct.pack("!HH", 0x06, len(names)) + names + bytes(-len(names) % 4)
    unknown = struct.pack("!HHL", 0x7FFF, 4, 0) * 40
    while goes_on():
        for _ in range(40):
            send_now(attacker.dtls.transport, signed(1, random.randbytes(12), user + unknown, ice.remote_password))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "misbehave",
    [
        *(lying_acknowledgements, many_small_chunks, malformed_messages, junk_in_records, replayed_media),
        *(compound_reports, swollen_headers, handshakes_again, right_checks),
    ],
    ids=lambda one: one.__name__,
)
async def test_what_is_thrown_away_costs_the_others_nothing(bystanders: Bystanders, misbehave: Misbehave) -> None:
    longest_gap_s, attacker = await bystanders.watch(misbehave)
    # Chunks that were dropped and are not sent again leave holes; on a busy machine fewer are sent than is too many.
    assert attacker.session.ended_for in (("excessive_data", None) if misbehave is many_small_chunks else (None,))
    assert longest_gap_s < LONGEST_GAP_S + SPARE_S


async def test_voices_of_a_room_that_come_and_go_with_every_request(bystanders: Bystanders) -> None:
    """Each of them has decoders of its own, and is analysed to its end before its place is free again."""
    title = "SAVPF 111 0\r\ni=Ana\r\n"
    line = offers.AUDIO.replace("SAVPF 111 0\r\n", title) + f"a=extmap:1 {MID_EXTENSION}\r\n"
    mids = [f"v{number}" for number in range(MAX_VOICES)]
    full = offers.sdp(*(line.replace("a=mid:0", f"a=mid:{mid}") for mid in mids), bundle=" ".join(mids))
    one = full.replace("a=sendonly", "a=inactive").replace("a=inactive", "a=sendonly", 1)
    http, statuses = bystanders.server.http, Counter[int]()

    async def misbehave(_: Misbehaving, goes_on: Callable[[], bool]) -> None:
        async with http.post("/whip", data=full, headers=SDP) as response:
            assert response.status == 201
            path = response.headers["Location"]
        while goes_on():
            for offer in (one, full):
                async with http.patch(path, data=offer, headers=SDP) as response:
                    statuses[response.status] += 1
        async with http.delete(path) as response:
            assert response.status == 200

    longest_gap_s, _ = await bystanders.watch(misbehave)
    assert longest_gap_s < LONGEST_GAP_S + SPARE_S
    assert statuses[200] > 20
    assert set(statuses) <= {200, 503}
    assert bystanders.server.node.live == 4


async def test_channels_that_are_opened_and_closed_thirty_times_are_each_told(bystanders: Bystanders) -> None:
    """Closed channels kept their places, so that only the first six ever got messages."""
    greeted = 0

    async def misbehave(attacker: Misbehaving, _: Callable[[], bool]) -> None:
        nonlocal greeted
        for number in range(30):
            closed = asyncio.Event()
            channel = attacker.pc.createDataChannel(f"again {number}")
            told = asyncio.Event()
            channel.on("message", lambda _, told=told: told.set())
            channel.on("close", lambda *_, closed=closed: closed.set())
            await asyncio.wait_for(told.wait(), 10)
            greeted += 1
            channel.close()
            await asyncio.wait_for(closed.wait(), 10)

    _, attacker = await bystanders.watch(misbehave)
    assert greeted == 30
    assert attacker.session.ended_for is None
    assert len(attacker.session._pc.sctp._data_channels) < sctp.MAX_CHANNELS_OPEN

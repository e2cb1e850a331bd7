"""Clients that read slowly or not at all, stall in the middle of a message, or send everything at once."""

import asyncio
import json
import socket as socket_module
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

import numpy as np
import pytest
from aiohttp import ClientSession

from tests.http.test_gateways import CHUNK, CONNECTED, STOP, a_ticket, media, mulaw, say, twilio_start
from tests.http.test_listen import FINISH, SECOND, emptied, finish, of, until_closed
from tests.nodes import a_front, a_node
from tests.options import given
from tests.rtc import LOOPBACK, Server, a_server
from tests.support import Samples
from tests.waits import until
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.engine.stream import Stream
from voxgender.http.app import ClientLimits
from voxgender.http.connections import Connection
from voxgender.http.websocket import WebSocketTimes
from voxgender.peer.voices import dialogue
from voxgender.settings import FrontSettings

TEXT, CLOSE = 1, 8
"""Opcodes (RFC 6455 section 5.2)."""
FINAL, MASKED = 0x80, 0x80
LITTLE = 4_096
"""Bytes that the kernel keeps for a client in these tests, where it would keep a megabyte or more."""


class RawClient:
    """A WebSocket client that writes parts of frames, and reads when the test says so."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, payload: bytes, *, opcode: int = 2, only: int | None = None) -> None:
        """Send a frame, or its first bytes, without waiting. Its mask is zero, which changes nothing."""
        head = struct.pack("!BBQ4x", FINAL | opcode, MASKED | 127, len(payload))
        self.writer.write((head + payload)[:only])

    async def next(self) -> tuple[int, bytes]:
        """Return the opcode and the payload of the server's next frame."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        return first & 0x0F, await self.reader.readexactly(size)

    async def closed(self) -> tuple[int, str]:
        """Read up to the server's close; return its code and its reason."""
        while True:
            opcode, payload = await self.next()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


@asynccontextmanager
async def a_raw_client(url: str, query: str = "") -> AsyncIterator[RawClient]:
    plain = socket_module.socket()
    plain.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, LITTLE)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (LOOPBACK, int(url.rpartition(":")[2])))
    reader, writer = await asyncio.open_connection(sock=plain, limit=LITTLE)
    writer.write(
        f"GET /listen{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    try:
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
def little_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server's kernel keep little of what a client does not read."""
    made = Connection.connection_made

    def keep_little(connection: Connection, transport: asyncio.BaseTransport) -> None:
        transport.get_extra_info("socket").setsockopt(socket_module.SOL_SOCKET, socket_module.SO_SNDBUF, LITTLE)
        made(connection, transport)

    monkeypatch.setattr(Connection, "connection_made", keep_little)


class Place(NamedTuple):
    """Somewhere to stream to."""

    http: ClientSession
    url: str
    live: Callable[[], int]
    """The number of its calls."""

    async def emptied(self) -> None:
        await until(lambda: not self.live())


@asynccontextmanager
async def one_server(engine: Engine, clients: ClientLimits) -> AsyncIterator[Place]:
    async with a_server(engine, clients=clients) as server:
        yield Place(server.http, server.url, lambda: server.node.live)


@asynccontextmanager
async def a_fleet(engine: Engine, clients: ClientLimits) -> AsyncIterator[Place]:
    async with a_node(engine) as node, a_front(node, clients=clients) as front:
        yield Place(front.http, f"http://{LOOPBACK}:{front.port}", lambda: node.node.live)


@pytest.fixture(params=[one_server, a_fleet])
async def place(request: pytest.FixtureRequest, hearing: Engine) -> AsyncIterator[Place]:
    """A server by itself, and signaling before a node: the way of a stream is another one there."""
    async with request.param(hearing, ClientLimits()) as place:
        yield place


@pytest.fixture(scope="module")
def talk() -> Samples:
    """A man and a woman by turns, for 33 s."""
    samples = dialogue().samples
    return np.resize(samples, 33 * 16_000)


def voices_of(messages: Sequence[protocol.Message]) -> list[str]:
    return [segment.label for segment in of(protocol.Segment, messages) if segment.label in ("male", "female")]


async def test_sound_sent_at_once_is_all_labelled(place: Place, talk: Samples) -> None:
    """33 s pushed at once were dropped, and every segment became `uncertain`."""
    pcm = (talk * 32_767).astype("<i2").tobytes()
    async with place.http.ws_connect("/listen") as socket:
        await asyncio.gather(*(socket.send_bytes(pcm[at : at + 32_000]) for at in range(0, len(pcm), 32_000)))
        messages = await finish(socket)
    (summary,) = of(protocol.Summary, messages)
    assert summary.duration == pytest.approx(33.0, abs=0.01)
    assert voices_of(messages) == ["male", "female"] * 3
    assert summary.uncertain == 0
    assert not of(protocol.Warning, messages)
    await place.emptied()


async def test_a_phone_gateway_that_caught_up_at_once_is_all_labelled(hearing: Engine, talk: Samples) -> None:
    """A gateway whose network was gone for half a minute sends all of it in one piece."""
    async with a_server(hearing, settings=given(FrontSettings, token="s3cr3t")) as server:
        ticket = await a_ticket(server.http, "encoding=mulaw")
        coded = mulaw(talk)
        pieces = [media("inbound", at // CHUNK, coded[at : at + CHUNK]) for at in range(0, len(coded), CHUNK)]
        async with server.http.get(f"{ticket['session']}/events") as events:
            async with server.http.ws_connect(ticket["url"].replace("/listen/", "/listen/twilio/")) as socket:
                await say(socket, CONNECTED, twilio_start("inbound"), *pieces, STOP)
                assert (await until_closed(socket))[1] == 1000
            told = [
                protocol.decode(line.removeprefix(b"data: "))
                for line in (await events.read()).splitlines()
                if line.startswith(b"data: ")
            ]
    assert voices_of(told) == ["male", "female"] * 3
    assert not of(protocol.Warning, told)


@pytest.mark.usefixtures("little_kept")
async def test_a_slow_reader_gets_every_message_in_its_order_and_others_do_not_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The analysis pauses until its messages are read; what is kept of them is bounded (`test_streamsession`)."""
    held = asyncio.Event()
    hold = Stream.hold

    def note(stream: Stream) -> None:
        held.set()
        hold(stream)

    monkeypatch.setattr(Stream, "hold", note)
    # Its messages are twice as many bytes as sockets and their transports keep.
    seconds, channels = 45, 8
    async with a_raw_client(server.url, f"?encoding=mulaw&channels={channels}") as client:

        async def send() -> None:
            for _ in range(seconds):
                client.write(b"\xff" * channels * 8_000)
                await client.writer.drain()
            client.write(FINISH.encode(), opcode=TEXT)

        sending = asyncio.create_task(send())
        texts: list[bytes] = []
        async with asyncio.timeout(60):
            while (frame := await client.next())[0] == TEXT:
                texts.append(frame[1])
                if len(texts) == 100:
                    await held.wait()
                    async with server.http.ws_connect("/listen") as another:
                        await another.send_bytes(SECOND)
                        assert of(protocol.Summary, await finish(another))
        await sending
        client.write(frame[1], opcode=CLOSE)
    assert struct.unpack("!H", frame[1][:2]) == (1000,)
    messages = [protocol.decode(text) for text in texts]
    for channel in range(channels):
        of_channel = [message for message in messages if message.channel == channel]
        results = of(protocol.Result, of_channel)
        assert [result.seq for result in results] == list(range(1, len(results) + 1))
        (summary,) = of(protocol.Summary, of_channel)
        assert summary.duration == pytest.approx(seconds, abs=0.01)
    await emptied(server)


@pytest.mark.usefixtures("little_kept")
@pytest.mark.parametrize("at", [one_server, a_fleet])
async def test_a_client_that_reads_nothing_loses_its_place_and_others_notice_nothing(
    hearing: Engine, at: Callable[[Engine, ClientLimits], AbstractAsyncContextManager[Place]]
) -> None:
    """It reads no close either: its connection is cut off some seconds later (`test_connections`)."""
    impatient = ClientLimits(websocket=WebSocketTimes(write_s=0.3))
    async with at(hearing, impatient) as place, a_raw_client(place.url, "?channels=8&rate=8000") as client:

        async def flood() -> None:
            while True:
                client.write(bytes(64_000))
                await client.writer.drain()

        flooding = asyncio.create_task(flood())
        async with place.http.ws_connect("/listen") as another:
            await another.send_bytes(SECOND)
            assert of(protocol.Summary, await finish(another))
        await place.emptied()
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


@pytest.mark.parametrize("drips", [False, True])
async def test_a_client_that_stalls_in_the_middle_of_a_message_is_told(engine: Engine, drips: bool) -> None:
    """A message that is never whole is no sign of life, though bytes of it may come."""
    async with a_server(engine, silence_timeout_s=0.3, sweep_s=0.05) as server:
        async with a_raw_client(server.url) as client:
            client.write(SECOND)
            client.write(SECOND, only=10_000)

            async def drip() -> None:
                while True:
                    client.writer.write(b"\0")
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip() if drips else asyncio.sleep(0))
            async with asyncio.timeout(10):
                code, reason = await client.closed()
            dripping.cancel()
        assert code == 1008
        assert "pings" in reason
        await emptied(server)


async def test_a_client_that_does_not_answer_the_close_is_not_waited_for(engine: Engine) -> None:
    impatient = ClientLimits(websocket=WebSocketTimes(close_s=0.2))
    async with a_server(engine, clients=impatient) as server, a_raw_client(server.url) as client:
        client.write(SECOND)
        client.write(json.dumps({"type": "close"}).encode(), opcode=TEXT)
        async with asyncio.timeout(10):
            code, _ = await client.closed()
            assert code == 1000
            # Its place is free, and its connection is closed by the server.
            assert await client.reader.read() == b""
        await emptied(server)


async def test_clients_that_vanish_in_the_middle_of_a_message_leave_nothing(server: Server) -> None:
    for _ in range(20):
        async with a_raw_client(server.url) as client:
            client.write(SECOND)
            client.write(SECOND, only=10_000)
    await emptied(server)

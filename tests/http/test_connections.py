"""Clients that send slowly, stop in the middle, do not read, or speak no HTTP."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession, web

from tests.figures import value_of
from tests.rtc import LOOPBACK, Server, ToneTrack, a_peer, a_server
from tests.test_logs import ROLES
from tests.test_logs import a_server as a_process
from tests.waits import until
from voxgender import metrics
from voxgender.engine import Engine
from voxgender.http import events
from voxgender.http.app import ClientLimits
from voxgender.http.connections import MAX_WIRE, TimeLimits
from voxgender.http.problems import problem_middleware
from voxgender.roles.hosting import listen

SHORT = TimeLimits(head_s=0.4, stall_s=0.4, body_s=1.0, idle_s=1.5, write_s=0.5)
HEAD = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"


def broken(kind: str) -> float:
    return value_of(metrics.REQUESTS_BROKEN.labels(kind))


class Streams:
    """Handlers that write for ever, and when they ended."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.ended = asyncio.Event()
        self.bodies: list[bytes] = []

    async def page(self, _: web.Request) -> web.Response:
        return web.Response(text="here")

    async def whole_file(self, _: web.Request) -> web.FileResponse:
        assert self._file is not None
        return web.FileResponse(self._file)

    async def body(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        return web.Response(text="read")

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(65_536))
        finally:
            self.ended.set()

    async def large(self, _: web.Request) -> web.Response:
        return web.Response(body=bytes(20_000_000))


@asynccontextmanager
async def serving(limits: TimeLimits = SHORT, file: Path | None = None) -> AsyncIterator[tuple[int, Streams]]:
    streams = Streams(file)
    app = web.Application(middlewares=[problem_middleware])
    app.add_routes(
        [
            web.post("/body", streams.body),
            web.get("/endless", streams.endless),
            web.get("/large", streams.large),
            web.get("/file", streams.whole_file),
            web.get("/", streams.page),
        ]
    )
    async with AsyncExitStack() as stack:
        yield await listen(app, stack, host=LOOPBACK, port=0, limits=limits), streams


class Client:
    """A connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drip(self, data: bytes, *, every_s: float) -> None:
        """Send for as long as the server listens."""
        with suppress(ConnectionError):
            for at in range(len(data)):
                if self.reader.at_eof():
                    return
                self.send(data[at : at + 1])
                await asyncio.sleep(every_s)

    async def rest(self) -> bytes:
        """Return all that comes until the server closes."""
        with suppress(ConnectionResetError):
            return await asyncio.wait_for(self.reader.read(), 10)
        return b""


@asynccontextmanager
async def a_client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def problem(reply: bytes) -> dict[str, object]:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert int(head.split()[1]) == json.loads(body)["status"]
    return dict(json.loads(body))


def assert_late(reply: bytes) -> None:
    """Check the answer to a client that went on sending: its connection may be reset before it has one."""
    assert not reply or problem(reply)["code"] == "too_slow"


async def test_300_heads_that_never_end_are_cut_off_while_others_are_served() -> None:
    """Slowloris: seven hundred slow heads were held for as long as anybody looked."""
    before = broken("StalledHead")
    async with AsyncExitStack() as stack:
        # Long enough for 300 connections to be opened on a busy machine.
        port, _ = await stack.enter_async_context(serving(TimeLimits(head_s=2.0)))
        clients = []
        for _ in range(300):
            clients.append(await stack.enter_async_context(a_client(port)))
            clients[-1].send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        async with ClientSession(f"http://{LOOPBACK}:{port}") as http, http.get("/") as response:
            assert await response.text() == "here"
        replies = await asyncio.gather(*(client.rest() for client in clients))
        assert {problem(reply)["code"] for reply in replies} == {"too_slow"}
    assert broken("StalledHead") == before + 300


async def test_a_head_that_comes_byte_by_byte_is_cut_off() -> None:
    async with serving() as (port, _), a_client(port) as client:
        dripping = asyncio.create_task(client.drip(b"GET / HTTP/1.1\r\nX: " + b"y" * 1_000, every_s=0.05))
        assert_late(await client.rest())
        await dripping


async def test_a_connection_without_a_byte_is_closed_without_a_word() -> None:
    """Browsers open connections ahead of need."""
    before = broken("StalledHead")
    async with serving() as (port, _), a_client(port) as client:
        assert await client.rest() == b""
    assert broken("StalledHead") == before


@pytest.mark.parametrize("between", [b"", b"GET /"])
async def test_a_connection_is_kept_for_a_next_request_for_a_while(between: bytes) -> None:
    async with serving() as (port, _), a_client(port) as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in await client.reader.readuntil(b"here")
            await asyncio.sleep(SHORT.head_s / 2)
        client.send(between)
        assert (b"408" in await client.rest()) == bool(between)


@pytest.mark.parametrize(
    "start",
    [
        HEAD + b"Content-Length: 100\r\n\r\nv=0",
        HEAD + b"Content-Length: 100\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nv=0\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;ext",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 100\r\n\r\n\x1f\x8b\x08\x00",
        HEAD + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        HEAD + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 100\r\n\r\nv=0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD + b"Content-Length: 100\r\n\r\nv=0",
    ],
)
async def test_a_body_that_stands_still_is_answered_and_cut_off(start: bytes) -> None:
    async with serving() as (port, streams), a_client(port) as client:
        client.send(start)
        reply = (await client.rest()).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        assert problem(reply.partition(b"here")[2] or reply)["code"] == "too_slow"
        assert streams.bodies == []


async def test_a_body_that_comes_byte_by_byte_has_its_time_and_no_more() -> None:
    # Half a second of pauses takes a busy machine more than one.
    async with serving(replace(SHORT, body_s=3.0)) as (port, streams), a_client(port) as client:
        client.send(HEAD + b"Content-Length: 10\r\n\r\n")
        await client.drip(b"v=0\r\ns=-\r\n", every_s=0.05)
        assert b"200 OK" in await client.reader.readuntil(b"read")
        assert streams.bodies == [b"v=0\r\ns=-\r\n"]
        client.send(HEAD + b"Content-Length: 1000\r\n\r\n")
        dripping = asyncio.create_task(client.drip(b"x" * 1_000, every_s=0.05))
        assert_late(await client.rest())
        await dripping


async def test_a_body_that_nobody_reads_is_not_waited_for() -> None:
    async with serving() as (port, streams), a_client(port) as client:
        client.send(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 10)
        assert b"404 Not Found" in await client.rest()
        assert streams.bodies == []


@pytest.mark.parametrize(
    ("first", "then"),
    [(b"0\r\n", b"X: " + b"y" * 4_000 + b"\r\n"), (b"", b"1;" + b"y" * 4_000 + b"\r\nx\r\n")],
    ids=["trailers", "chunk extensions"],
)
async def test_what_is_around_a_body_is_bounded_too(first: bytes, then: bytes) -> None:
    """aiohttp collects trailers without a bound: fifteen clients took 140 MB of memory within a second."""
    before = broken("OversizedBody")
    async with serving() as (port, streams), a_client(port) as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + first)
        with suppress(ConnectionError):
            for _ in range(2 * MAX_WIRE // len(then)):
                client.send(then)
                await client.writer.drain()
        reply = await client.rest()
        assert not reply or problem(reply)["code"] == "too_large"
        assert streams.bodies == []
    assert broken("OversizedBody") == before + 1


@pytest.mark.parametrize("header", ["If-Modified-Since", "If-Unmodified-Since", "If-Range"])
async def test_a_date_that_is_none_is_ignored(tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture) -> None:
    """A year that Python has no number for closed the connection, with an error in the log."""
    file = tmp_path / "page"
    file.write_text("here")
    async with serving(file=file) as (port, _), a_client(port) as client:
        head = f"GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=0-1\r\n{header}: Thu, 01 Jan"
        client.send(f"{head} 99999999999999999999 00:00:00 GMT\r\n\r\n".encode())
        assert (await client.rest()).endswith(b"he")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@asynccontextmanager
async def a_reader_that_stops(port: int, path: str) -> AsyncIterator[socket.socket]:
    """It takes some bytes, and then no more."""
    loop = asyncio.get_running_loop()
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.setblocking(False)
        await loop.sock_connect(reader, (LOOPBACK, port))
        await loop.sock_sendall(reader, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await loop.sock_recv(reader, 1_000)).startswith(b"HTTP/1.1 200")
        yield reader


async def test_a_stream_ends_whose_reader_stops() -> None:
    """A write had no limit of time: the handler stayed for as long as the reader did."""
    async with serving() as (port, streams), a_reader_that_stops(port, "/endless"):
        await asyncio.wait_for(streams.ended.wait(), 10)


def connections(port: int) -> list[object]:
    """The server's sides of this process's connections to it."""
    return [one for one in psutil.Process().net_connections("tcp") if one.laddr.port == port and one.raddr]


@pytest.mark.parametrize("path", ["/large", "/file"])
async def test_a_response_is_dropped_whose_reader_stops(
    path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler is done by then: what waits is a buffer, or a file that the kernel sends."""
    file = tmp_path / "file"
    file.write_bytes(bytes(20_000_000))
    async with serving(file=file) as (port, _), a_reader_that_stops(port, path):
        assert connections(port)
        await until(lambda: not connections(port))
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_events_end_whose_reader_stops(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    stream = events.Events.stream

    async def watched(self: events.Events, request: web.Request) -> web.StreamResponse:
        try:
            return await stream(self, request)
        finally:
            ended.set()

    monkeypatch.setattr(events.Events, "stream", watched)
    async with (
        a_server(engine, http_limits=SHORT, clients=ClientLimits(keepalive_s=0.0)) as server,
        a_peer(ToneTrack()) as peer,
    ):
        async with server.http.post("/whip", data=await peer.offer(), headers={"Content-Type": "application/sdp"}) as r:
            path = r.headers["Location"]
        async with a_reader_that_stops(int(server.url.rpartition(":")[2]), f"{path}/events"):
            await asyncio.wait_for(ended.wait(), 30)
        assert len(server.node.places.sessions()) == 1


async def test_who_leaves_in_the_middle_of_a_body_is_counted_as_theirs(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """It was a traceback and an internal error of the server, 900 times of 900."""
    before, rejected = broken("ClientLeft"), value_of(metrics.OFFERS_REJECTED.labels("internal_error"))
    port = int(server.url.rpartition(":")[2])
    head = b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"
    for body in (b"Content-Length: 100\r\n\r\nv=0", b"Transfer-Encoding: chunked\r\n\r\n3\r\nv=0\r\n"):
        for abort in (False, True):
            async with a_client(port) as client:
                client.send(head + body)
                await client.writer.drain()
                async with server.http.get("/health/live") as response:
                    assert response.ok
                if abort:
                    client.writer.transport.abort()
    await until(lambda: broken("ClientLeft") == before + 4)
    assert value_of(metrics.OFFERS_REJECTED.labels("internal_error")) == rejected
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (HEAD + b"Authorization: Bearer T\x01\r\n\r\n", "control characters"),
        (HEAD + b"X: " + b"y" * 9_000 + b"\r\n\r\n", "too long"),
        (b"GET /" + b"y" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "too long"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", ""),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", "contradict"),
        # A proxy that goes by the other of the two would take what follows for another client's request.
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "contradict"),
        (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", ""),
        (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", ""),
        (HEAD + b"Content-Length: +5\r\n\r\nhello", ""),
        (HEAD + b"Content-Length : 5\r\n\r\nhello", ""),
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"GET / HTTP/7.0\r\n\r\n", ""),
        (b"hello\r\n\r\n", ""),
        # aiohttp's parser raised IndexError: an error in the log, and no answer.
        (b"GET http://a[]@/whip HTTP/1.1\r\nHost: x\r\n\r\n", ""),
    ],
)
async def test_what_is_no_http_gets_a_problem_and_no_traceback(
    request_: bytes, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as (port, _), a_client(port) as client:
        client.send(request_)
        said = problem(await client.rest())
    assert (said["status"], said["code"]) == (400, "malformed_request")
    assert detail in str(said["detail"])
    assert [record.name for record in caplog.records if record.exc_info] == []
    assert [record.name for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_requests_that_come_together_are_answered_in_turn() -> None:
    async with serving() as (port, streams), a_client(port) as client:
        posts = [HEAD + b"Content-Length: 2\r\n\r\n%02d" % number for number in range(30)]
        client.send(b"".join(posts) + 30 * b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"hello\r\n\r\n")
        replies = await client.rest()
    assert streams.bodies == [b"%02d" % number for number in range(30)]
    assert replies.count(b"HTTP/1.1 200 OK") == 60
    assert replies.count(b" 400 Bad Request") == 1


async def _role_cuts_off(role: str, sends: bytes, tmp_path: Path) -> None:
    options = {"VOXGENDER_SECRET": "shared", "TMPDIR": str(tmp_path)}
    server = await a_process(*ROLES[role], **options)
    try:
        async with a_client(server.port) as client:
            client.send(sends)
            reply = await asyncio.wait_for(client.reader.read(), 20)
            assert b"408" in reply
    finally:
        await server.stop()


async def test_every_role_has_the_limits(tmp_path: Path) -> None:
    """With the limits of production, so it takes them ten seconds."""
    await asyncio.gather(*(_role_cuts_off(role, b"GET / HT", tmp_path) for role in ROLES))

"""Nodes that answer with something else than a node does: they cost signaling and its readers nothing."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote

import msgspec
import pytest
from aiohttp import web

from tests.nodes import SECRET, a_node
from tests.rtc import LOOPBACK
from voxgender.engine import Engine
from voxgender.errors import NotReady
from voxgender.fleet.directory import Directory
from voxgender.fleet.nodehttp import MAX_ANSWER, NoAnswer
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.remote import RemoteNode
from voxgender.fleet.remotestream import STREAM_HEADER
from voxgender.fleet.roster import FleetRoster
from voxgender.fleet.router import Router
from voxgender.fleet.sources import StaticNodes
from voxgender.fleet.wire import RECORD_HEADER
from voxgender.http.follower import Follower
from voxgender.roles.hosting import listen
from voxgender.roster import Gone, LiveCall
from voxgender.sessionids import call_hash

NODE = "feedfacefeed"
_over = web.AppKey("over", asyncio.Event)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def a_liar(**answers: Answer) -> AsyncIterator[str]:
    """Serve a node's record, and these answers in place of a node's; return the URL."""
    record = NodeRecord(id=NODE, url="", capacity=10, sessions=0, load=0.0, version="1")

    async def tell_record(_: web.Request) -> web.Response:
        return web.Response(body=record.to_json(), content_type="application/json")

    app = web.Application()
    app[_over] = asyncio.Event()
    app.add_routes([web.get("/node", answers.pop("node", tell_record))])
    for name, answer in answers.items():
        path = {"events": "/whip/{session}/events"}.get(name, f"/{name}")
        app.add_routes([web.get(path, answer)])
    async with AsyncExitStack() as stack:
        port = await listen(app, stack, host=LOOPBACK, port=0)
        try:
            yield f"http://{LOOPBACK}:{port}"
        finally:
            app[_over].set()


@asynccontextmanager
async def a_router(*urls: str, **roster: int) -> AsyncIterator[Router]:
    """Signaling in front of these nodes; ``roster`` are the limits of :class:`FleetRoster`."""
    directory = Directory(StaticNodes(list(urls)), SECRET)
    router = Router(directory, SECRET, roster=FleetRoster(directory, **roster))
    try:
        await directory.refresh(force=True)
        yield router
    finally:
        await router.close()
        await directory.close()


def streaming(*pieces: bytes, content_type: str = "application/x-ndjson") -> Answer:
    """Answer with these pieces, and then with nothing for as long as somebody listens."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": content_type})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        await request.app[_over].wait()
        return response

    return answer


def live(session: str, name: str = "studio") -> bytes:
    return msgspec.json.encode(LiveCall(session=session, started_at=0.0, name=name)) + b"\n"


@pytest.mark.parametrize(
    "text",
    [
        b"hello",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b'{"v":1}',
        b'"type"',
        b"\xff\xfe",
        b'{"type":"change"\r,"v":1}',
        # The call's name is put behind the first character.
        b' {"type":"change","v":1}',
        b'{"type":"change","v":1,"call":"another\'s"}',
        b'{"type":7}',
        b"[" * 100_000,
        b'{"type":"' + b"x" * 2_000_000 + b'"}',
    ],
)
async def test_a_message_that_does_not_decode_is_passed_on_to_nobody(text: bytes) -> None:
    """The task that tells a name's readers failed on it, and their streams stood still for ever."""
    session = SECRET.new_session_id(NODE)
    hello = b'id: 0\ndata: {"v":1,"type":"hello","session":"s","model":"m","window_ms":1,"hop_ms":1}\n\n'
    bad = b"id: 1\ndata: " + text + b"\n\n"

    async def events(request: web.Request) -> web.StreamResponse:
        pieces = (bad,) if "Last-Event-ID" in request.headers else (hello, bad)
        return await streaming(*pieces, content_type="text/event-stream")(request)

    async with a_liar(events=events, calls=streaming(live(session), b"null\n")) as url, a_router(url) as router:
        told = [one.text async for one in await router.follow(session)]
        assert len(told) == 1
        async with asyncio.timeout(5):
            follower = Follower(router, lambda _: True, newest=True, positions={}, retry_s=0.01)
            read = follower.events()
            assert "event: start" in await anext(read)
            assert '"type":"hello"' in await anext(read)
            # It is asked for again, as after any way that broke off.
            waiting = asyncio.create_task(anext(read))
            done, _ = await asyncio.wait((waiting,), timeout=0.1)
            assert not done
            (task,) = follower._tasks.values()
            assert not task.done()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await read.aclose()


@pytest.mark.parametrize("end", [b'{"type":"end"}', b'{"v":1,"type":"end","reason":7}', b'{"v":1,"type":"hello"}'])
async def test_an_end_that_says_no_reason_is_an_end(end: bytes) -> None:
    session = SECRET.new_session_id(NODE)
    events = streaming(b"event: end\nid: 5\ndata: " + end + b"\n\n", content_type="text/event-stream")
    async with (
        a_liar(events=events, calls=streaming(live(session), b"null\n")) as url,
        a_router(url) as router,
        asyncio.timeout(5),
    ):
        read = Follower(router, lambda _: True, newest=True, positions={}).events()
        assert "event: start" in await anext(read)
        ended = await anext(read)
        assert f'"call":"{call_hash(session)}","type":"end","v":1,"reason":"unknown"' in ended
        await read.aclose()


async def test_a_node_tells_no_more_calls_than_are_kept() -> None:
    """It could fill signaling's memory with calls that it made up."""
    sessions = [SECRET.new_session_id(NODE) for _ in range(25)]
    calls = streaming(*map(live, sessions), b"null\n")
    async with a_liar(calls=calls) as url, a_router(url, max_calls=10) as router:
        watch = await router.watch()
        assert [call.session for call in watch.calls] == sessions[:10]
        watch.close()


async def test_a_line_without_end_is_read_no_further() -> None:
    async with a_liar(calls=streaming(live(SECRET.new_session_id(NODE)), b"x" * 2_000_000)) as url:
        node = RemoteNode(url, SECRET)
        try:
            async with asyncio.timeout(5):
                assert len([change async for change in await node.watch()]) == 1
        finally:
            await node.close()


@pytest.mark.parametrize("line", [b"{}\n", b'{"type":"live"}\n', b"[[[\n", b"\xff\n", live("s" * 9_000)])
async def test_a_line_that_is_no_call_breaks_the_way_off(line: bytes) -> None:
    async with a_liar(calls=streaming(live("a"), line, live("b"))) as url:
        node = RemoteNode(url, SECRET)
        try:
            async with asyncio.timeout(5):
                assert [change.session async for change in await node.watch() if change] == ["a"]
        finally:
            await node.close()


async def test_a_node_takes_no_other_node_s_calls_away(engine: Engine) -> None:
    async with a_node(engine) as honest:
        session = honest.node._new_session_id()
        honest.node._roster.add(LiveCall(session=session, started_at=1.0, name="studio"))
        calls = streaming(live(session, "mine"), msgspec.json.encode(Gone(session=session)) + b"\n", b"null\n")
        async with a_liar(calls=calls) as url, a_router(url, honest.url) as router:
            watch = await router.watch()
            assert [(call.session, call.name) for call in watch.calls] == [(session, "studio")]
            watch.close()


@pytest.mark.parametrize("where", ["header", "record"])
async def test_a_node_tells_no_record_of_another_node(engine: Engine, where: str) -> None:
    """One header let another node get no more calls, and be taken for gone, with all that it had."""
    async with a_node(engine) as honest:
        told = msgspec.structs.replace(honest.status.record(), draining=True, capacity=1, sessions=1, beat=2**40)
        is_lying = False

        async def overview(_: web.Request) -> web.Response:
            headers = {RECORD_HEADER: told.to_json().decode()} if where == "header" else {}
            return web.json_response({"calls": [], "nodes": []}, headers=headers)

        async def record(_: web.Request) -> web.Response:
            own = NodeRecord(id=NODE, url="", capacity=10, sessions=0, load=0.0, version="1")
            shown = told if is_lying and where == "record" else own
            return web.Response(body=shown.to_json(), content_type="application/json")

        async with a_liar(node=record, overview=overview) as url, a_router(url, honest.url) as router:
            directory = router._directory
            is_lying = True
            await router.overview()
            await directory.query(directory.members())
            await directory.refresh(force=True)
            member = directory.get(honest.id)
            assert member is not None
            assert (member.node.url, member.record.draining) == (honest.url, False)
            # Its next records count.
            honest.node.drain()
            await router.overview()
            assert member.record.draining


async def test_a_stream_that_cannot_be_read_is_given_up_at_once() -> None:
    """While a fleet is replaced by a newer version, a node may take formats that signaling does not know yet."""
    gone = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        socket.headers[STREAM_HEADER] = quote('{"encoding":"of tomorrow"}')
        await socket.prepare(request)
        async for _ in socket:
            pass
        gone.set()
        return socket

    ticket = SECRET.new_session_id(NODE)
    async with a_liar(**{f"listen/{ticket}": stream}) as url, a_router(url) as router:
        with pytest.raises(NotReady):
            await router.redeem(ticket)
        async with asyncio.timeout(5):
            await gone.wait()


@pytest.mark.parametrize("path", ["node", "sessions", "overview", "usage", "metrics"])
async def test_an_answer_without_end_is_read_no_further(path: str) -> None:
    """Signaling read answers whole, however long they were."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 10_000)
            sent += 10_000

    app = web.Application()
    app.add_routes([web.get(f"/{path}", endless)])
    async with AsyncExitStack() as stack:
        port = await listen(app, stack, host=LOOPBACK, port=0)
        node = RemoteNode(f"http://{LOOPBACK}:{port}", SECRET)
        stack.push_async_callback(node.close)
        ask = {"sessions": node.describe_all, "node": node.record}.get(path) or getattr(node, path)
        async with asyncio.timeout(5):
            with pytest.raises(NoAnswer, match="more than a media node does"):
                await ask()
    assert sent < MAX_ANSWER + 10_000_000


async def test_a_packed_answer_is_not_unpacked() -> None:
    """A few bytes become a great many."""

    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=zlib.compress(bytes(50_000_000)), headers={"Content-Encoding": "deflate"})

    async with a_liar(overview=bomb, usage=bomb) as url, a_router(url) as router:
        assert (await router.overview())["calls"] == []
        assert (await router.usage()).unreachable == (NODE,)


@pytest.mark.parametrize("text", [b"{}", b"[]", b'{"calls":7}', b'{"nodes":[]}', b"null"])
async def test_an_overview_that_is_none_leaves_the_others_shown(engine: Engine, text: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=text, content_type="application/json")

    async with (
        a_node(engine) as honest,
        a_liar(overview=answer, sessions=answer, usage=answer) as url,
        a_router(url, honest.url) as router,
    ):
        told = await router.overview()
        assert {node["node"] for node in told["nodes"]} == {NODE, honest.id}
        assert await router.describe_all() == []
        usage = await router.usage()
        assert [node.node for node in usage.nodes] == [honest.id]
        assert usage.unreachable == (NODE,)

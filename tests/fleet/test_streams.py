"""Streams through signaling: carried to a media node, and told when it goes."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.http.test_listen import SECOND, finish, of, refusal, until_closed
from tests.nodes import SECRET, a_front, a_node
from tests.options import given
from tests.rtc import LOOPBACK
from tests.waits import until
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.fleet.secret import Secret
from voxgender.http.app import create_app
from voxgender.roles.hosting import listen
from voxgender.roles.workers import WithWorkers, Worker
from voxgender.settings import FrontSettings, ServeSettings

TOKEN = "s3cr3t"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def test_a_whole_stream_goes_through_signaling(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front:
        async with front.http.ws_connect("/listen?channels=2&name=Bj%C3%B6rk&from_ms=1000") as socket:
            hello = protocol.decode(await socket.receive_str())
            assert isinstance(hello, protocol.Hello)
            assert SECRET.node_of(hello.session) == node.id
            assert (hello.name, hello.channels) == ("Björk", 2)
            async with front.http.get(f"/whip/{hello.session}") as response:
                assert (await response.json())["transport"] == "websocket"
            for start in range(0, 2 * len(SECOND), 1_001):
                await socket.send_bytes((2 * SECOND)[start : start + 1_001])
            await socket.send_str('{"type":"ping"}')
            await socket.send_str('{"type":"finalize"}')
            messages = await finish(socket)
        summaries = of(protocol.Summary, messages)
        assert [summary.duration for summary in summaries] == pytest.approx([1.0, 1.0], abs=0.01)
        assert of(protocol.Result, messages)[0].start == 1.0
        await front.directory.refresh(force=True)
        assert node.node.live == 0


async def test_a_ticket_is_good_at_any_instance_of_signaling_once(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node, token=TOKEN) as one, a_front(node, token=TOKEN) as other:
        async with one.http.post("/listen?encoding=mulaw", headers=BEARER) as response:
            assert response.status == 201
            ticket = await response.json()
        async with other.http.ws_connect(ticket["url"]) as socket:
            await socket.send_bytes(b"\xff" * 8_000)
            await refusal(one.http, ticket["url"], 404, "ticket_not_found")
            assert of(protocol.Summary, await finish(socket))[0].duration == pytest.approx(1.0, abs=0.01)
        await refusal(one.http, ticket["url"], 404, "ticket_not_found")
        await refusal(one.http, "/listen/made-up", 404, "session_not_found")


async def test_a_full_fleet_refuses_as_one_server_does(engine: Engine) -> None:
    async with (
        a_node(engine, max_sessions=1) as node,
        a_front(node) as front,
        front.http.ws_connect("/listen") as socket,
    ):
        await socket.send_bytes(SECOND)
        while not isinstance(protocol.decode(await socket.receive_str()), protocol.Result):
            pass
        await refusal(front.http, "/listen", 503, "at_capacity")
        await finish(socket)


async def test_a_node_that_dies_is_told_with_what_to_do(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front, front.http.ws_connect("/listen") as socket:
        await socket.send_bytes(SECOND)
        while not isinstance(protocol.decode(await socket.receive_str()), protocol.Result):
            pass
        member = front.directory.get(node.id)
        assert member is not None
        # As when its lease runs out: nothing is heard of it any more.
        front.directory.remove(member)
        _, code, reason = await until_closed(socket)
    assert code == 1012
    assert "connect again, with from_ms" in reason


async def test_a_node_that_drains_asks_to_move_and_then_sends_away(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front, front.http.ws_connect("/listen") as socket:
        await socket.send_bytes(SECOND)
        while not isinstance(protocol.decode(await socket.receive_str()), protocol.Result):
            pass
        node.node.drain()
        closing = asyncio.create_task(node.node.close())
        messages, code, reason = await until_closed(socket)
        await closing
    assert code == 1001
    assert "from_ms" in reason
    assert [warning.code for warning in of(protocol.Warning, messages)] == ["draining"]
    assert of(protocol.Summary, messages)


async def test_signaling_that_stops_sums_up_and_sends_away(engine: Engine) -> None:
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(a_node(engine))
        front = await stack.enter_async_context(a_front(node))
        async with AsyncExitStack() as own:
            port = await listen(
                create_app(FrontSettings(), front.fleet, calls_are_here=False), own, host=LOOPBACK, port=0
            )
            http = await stack.enter_async_context(ClientSession(f"http://{LOOPBACK}:{port}"))
            socket = await http.ws_connect("/listen")
            await socket.send_bytes(SECOND)
            while not isinstance(protocol.decode(await socket.receive_str()), protocol.Result):
                pass
            reading = asyncio.create_task(until_closed(socket))
        messages, code, _ = await reading
        await socket.close()
    assert code == 1001
    assert of(protocol.Summary, messages)


async def test_streams_at_once_do_not_hold_one_another_back(engine: Engine) -> None:
    async with (
        a_node(engine) as node,
        a_front(node) as front,
        front.http.ws_connect("/listen") as one,
        front.http.ws_connect("/listen") as another,
    ):
        await one.send_bytes(SECOND)
        await another.send_bytes(SECOND)
        assert of(protocol.Summary, await finish(another))
        assert of(protocol.Summary, await finish(one))


async def test_workers_carry_streams_too() -> None:
    """The front is a process without the model; its workers are media nodes behind Unix domain sockets."""
    settings = {"model": "off", "workers": 2, "port": 0, "max_sessions": 4, "ice_address": (LOOPBACK,), "token": TOKEN}
    role = WithWorkers(given(ServeSettings, **settings))
    async with AsyncExitStack() as stack:
        url = await role.start(stack)
        http = await stack.enter_async_context(ClientSession(url, headers=BEARER))
        for _ in range(2):
            async with http.ws_connect("/listen?channels=2") as socket:
                await socket.send_bytes(SECOND * 2)
                assert len(of(protocol.Summary, await finish(socket))) == 2
        await until_counted(http, calls=2, audio_s=4.0)
        async with http.ws_connect("/listen") as socket:
            await socket.send_bytes(SECOND)
            while not isinstance(hello := protocol.decode(await socket.receive_str()), protocol.Hello):
                pass
            (worker,) = [one for one in role._workers if holds(one, hello.session)]
            assert worker._process is not None
            worker._process.kill()
            _, code, _ = await until_closed(socket)
        assert code == 1012


async def until_counted(http: ClientSession, calls: int, audio_s: float) -> None:
    """Wait until the usage of both workers adds up to this."""

    async def total() -> dict[str, Any] | None:
        async with http.get("/usage") as response:
            report = await response.json()
        assert len(report["nodes"]) == 2
        return report["total"] if report["total"]["calls"] == calls else None

    assert (await until(total))["audio_s"] == pytest.approx(audio_s)


def holds(worker: Worker, session: str) -> bool:
    """Tell whether a worker has a session."""
    (member,) = [member for member in worker._directory.members() if member.node.url == worker._url]
    return Secret(worker._config.secret).node_of(session) == member.record.id

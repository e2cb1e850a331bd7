"""Operators see calls by a hash, end them and drain nodes; nobody else does."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType

from tests.http.signing import SECRET, by_secret
from tests.nodes import a_front, a_node
from tests.options import given
from tests.rooms import a_room
from tests.rtc import Server, ToneTrack, a_peer, a_server
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.sessionids import call_hash
from voxgender.settings import FrontSettings

LOCKED = given(FrontSettings, token="open sesame")
BY_TOKEN = given(FrontSettings, jwt_secret=SECRET)
AS_OPERATOR = {"Authorization": "Bearer open sesame"}


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[Server]:
    """A server with a token, which each request shows."""
    async with a_server(engine, settings=LOCKED) as server:
        server.http.headers.update(AS_OPERATOR)
        yield server


async def picture(http: ClientSession) -> dict[str, Any]:
    """Return the first event of the stream."""
    async with http.get("/operators/events") as stream:
        assert stream.status == 200
        assert stream.content_type == "text/event-stream"
        line = (await stream.content.readline()).decode()
    told: dict[str, Any] = json.loads(line.removeprefix("data: "))
    return told


async def test_a_call_is_shown_by_a_hash_and_ended_by_it(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        session = (await peer.call(server.http)).rpartition("/")[2]
        await peer.until(protocol.Result)
        told = await picture(server.http)
        (call,) = told["calls"]
        assert call["call"] == call_hash(session)
        assert call["state"] == "connected"
        assert call["latency_ms"] >= 0
        assert set(call) == {
            "call", "state", "age_s", "channels", "packets_lost", "transport", "voices", "shares", "latency_ms", "node",
        }  # fmt: skip
        assert call["voices"] == 1
        # Eight characters of an id are many guesses less.
        assert session[:8] not in json.dumps(told)
        (node,) = told["nodes"]
        assert (node["sessions"], node["draining"]) == (1, False)
        async with server.http.delete(f"/operators/calls/{call['call']}") as response:
            assert response.status == 204
        async with server.http.delete(f"/operators/calls/{call['call']}") as response:
            assert response.status == 404
            assert (await response.json())["code"] == "session_not_found"


async def test_a_call_over_a_websocket_is_shown_and_ended_as_any_other(server: Server) -> None:
    """Operators saw a full node without a call in it, and could end none."""
    async with server.http.ws_connect("/listen?encoding=s16le&rate=16000&channels=2") as socket:
        hello = protocol.decode(await socket.receive_str())
        assert isinstance(hello, protocol.Hello)
        (call,) = (await picture(server.http))["calls"]
        assert (call["call"], call["transport"]) == (call_hash(hello.session), "websocket")
        assert call["voices"] == 2
        async with server.http.delete(f"/operators/calls/{call['call']}") as response:
            assert response.status == 204
        while (message := await socket.receive()).type is WSMsgType.TEXT:
            pass
        assert message.type is WSMsgType.CLOSE


async def test_a_room_is_one_call_with_its_voices_counted(server: Server) -> None:
    """A node was full by calls that seemed to be few."""
    async with a_room([ToneTrack(), ToneTrack(), ToneTrack()]) as room:
        path = await room.call(server.http)
        await room.until_all(protocol.Result, range(3))
        told = await picture(server.http)
        (call,), (node,) = told["calls"], told["nodes"]
        assert (call["voices"], node["sessions"]) == (3, 3)
        await room.end(server.http, path)


async def test_a_drained_node_takes_no_more_calls(server: Server) -> None:
    async with server.http.put("/operators/nodes/elsewhere/drain") as response:
        assert response.status == 404
        assert (await response.json())["code"] == "node_not_found"
    async with server.http.put("/operators/nodes/here/drain") as response:
        assert response.status == 204
    async with server.http.get("/health/ready") as response:
        assert (await response.json())["code"] == "draining"


REQUESTS = [
    ("GET", "/operators/events"),
    ("DELETE", "/operators/calls/0123456789ab"),
    ("PUT", "/operators/nodes/here/drain"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_operators_alone_are_let_in(engine: Engine, method: str, path: str) -> None:
    for settings, headers, status in (
        # Everybody could have ended all calls of a server that asks nobody for a token.
        (FrontSettings(), {}, 403),
        (LOCKED, {}, 401),
        (LOCKED, {"Authorization": "Bearer wrong"}, 401),
        (BY_TOKEN, {"Authorization": f"Bearer {by_secret()}"}, 403),
        (BY_TOKEN, {"Authorization": f"Bearer {by_secret(scope='call')}"}, 403),
    ):
        async with a_server(engine, settings=settings) as server:
            async with server.http.request(method, path, headers=headers) as response:
                assert response.status == status
            assert not server.node.draining


async def test_the_operators_page_itself_needs_no_token(engine: Engine) -> None:
    async with a_server(engine, settings=LOCKED) as server, server.http.get("/operators") as response:
        assert response.status == 200
        assert "operators.js" in await response.text()


async def test_a_fleet_is_shown_and_handled_as_one(engine: Engine) -> None:
    async with (
        a_node(engine) as one,
        a_node(engine) as other,
        a_front(one, other, token="open sesame") as front,
        a_peer(ToneTrack()) as peer,
    ):
        front.http.headers.update(AS_OPERATOR)
        session = (await peer.call(front.http)).rpartition("/")[2]
        told = await picture(front.http)
        assert {node["node"] for node in told["nodes"]} == {one.id, other.id}
        (call,) = told["calls"]
        assert call["call"] == call_hash(session)
        assert call["node"] in (one.id, other.id)
        async with front.http.put(f"/operators/nodes/{other.id}/drain") as response:
            assert response.status == 204
        assert other.node.draining
        assert not one.node.draining
        async with front.http.delete(f"/operators/calls/{call['call']}") as response:
            assert response.status == 204
        async with front.http.delete("/operators/calls/0123456789ab") as response:
            assert response.status == 404

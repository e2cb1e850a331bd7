"""Calls over a WebSocket: what is let in, what comes back, and what a client may cost."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from tests.nodes import a_front, a_node
from tests.options import given
from tests.rtc import FRAGMENT, Server, a_server
from tests.support import noise, sine
from tests.waits import until
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.http.connections import TimeLimits
from voxgender.http.websocket import MAX_REASON
from voxgender.media import streamsession
from voxgender.settings import FrontSettings

Socket = ClientWebSocketResponse

TOKEN = "s3cr3t/with=signs"
SECOND = (sine(1.0) * 32_767).astype("<i2").tobytes()
FINISH = '{"type":"close"}'


async def finish(socket: Socket) -> list[protocol.Message]:
    """Say that no more is sent; return all messages, and see that the close is in good order."""
    await socket.send_str(FINISH)
    messages, code, _ = await until_closed(socket)
    assert code == 1000
    return messages


async def until_closed(socket: Socket) -> tuple[list[protocol.Message], int | None, str]:
    """Return all messages up to the close, its code and its reason."""
    messages: list[protocol.Message] = []
    async with asyncio.timeout(20):
        while (message := await socket.receive()).type is WSMsgType.TEXT:
            if message.data != '{"type":"pong"}':
                messages.append(protocol.decode(message.data))
    assert len((message.extra or "").encode()) <= MAX_REASON
    return messages, socket.close_code, message.extra or ""


async def refusal(http: ClientSession, path: str, status: int, code: str, **headers: str) -> dict[str, Any]:
    """The problem of a handshake that is refused."""
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with http.get(path, headers=upgrade | headers) as response:
        assert response.status == status, await response.text()
        problem: dict[str, Any] = await response.json(content_type="application/problem+json")
        assert problem["code"] == code
        return problem


def of(kind: type[protocol.Message], messages: Iterable[protocol.Message]) -> list[Any]:
    return [message for message in messages if isinstance(message, kind)]


async def emptied(server: Server) -> None:
    """Wait until nothing is left of any call."""
    await until(lambda: not server.node.live)


async def test_a_stream_is_greeted_told_and_summed_up(server: Server) -> None:
    async with server.http.ws_connect("/listen?name=Ana") as socket:
        for start in range(0, len(SECOND), 640):
            await socket.send_bytes(SECOND[start : start + 640])
        messages = await finish(socket)
    hello, *_, summary = messages
    assert isinstance(hello, protocol.Hello)
    assert hello.name == "Ana"
    assert hello.channels is None
    assert isinstance(summary, protocol.Summary)
    assert summary.duration == pytest.approx(1.0, abs=0.01)
    results = of(protocol.Result, messages)
    assert [result.seq for result in results] == list(range(1, len(results) + 1))
    assert all(result.channel is None for result in results)
    await emptied(server)


@pytest.mark.parametrize("in_fleet", [False, True])
async def test_a_name_is_shown_in_any_script(engine: Engine, *, in_fleet: bool) -> None:
    """Take the names that people have.

    Persian and Malayalam ones have joiners, which Python calls unprintable: a page whose voice had such a name was
    served over WebRTC, and refused where it had to go over a WebSocket.
    """
    name, tag = "علی\u200cرضا 👩\u200d💻", "നിഖിൽ\u200d"
    async with AsyncExitStack() as stack:
        if in_fleet:
            node = await stack.enter_async_context(a_node(engine))
            http = (await stack.enter_async_context(a_front(node))).http
        else:
            http = (await stack.enter_async_context(a_server(engine))).http
        query = {"name": name, "tags": tag, "reference": name}
        socket = await stack.enter_async_context(http.ws_connect("/listen", params=query))
        hello = json.loads(await socket.receive_str(timeout=5))
        assert (hello["name"], hello["tags"], hello["reference"]) == (name, [tag], name)


async def test_a_stream_longer_than_a_request_s_head_may_take_goes_on(engine: Engine) -> None:
    """The limit for a request's head once took the frames of a WebSocket for a head that never ended."""
    limits = TimeLimits(head_s=0.2, stall_s=0.2, body_s=0.2, idle_s=0.2)
    async with a_server(engine, http_limits=limits) as server, server.http.ws_connect("/listen") as socket:
        for start in range(0, len(SECOND), 3_200):
            await socket.send_bytes(SECOND[start : start + 3_200])
            await asyncio.sleep(0.06)
        assert of(protocol.Summary, await finish(socket))


async def test_bytes_may_be_cut_anywhere_and_channels_are_judged_apart(server: Server) -> None:
    left, right = noise(1.0, level=0.3), np.zeros(16_000, dtype=np.float32)
    both = np.stack([left, right], axis=1).astype("<f4").tobytes()
    async with server.http.ws_connect("/listen?encoding=f32le&channels=2&from_ms=60000") as socket:
        for start in range(0, len(both), 4_099):
            await socket.send_bytes(both[start : start + 4_099])
        messages = await finish(socket)
    assert [hello.channels for hello in of(protocol.Hello, messages)] == [2]
    for channel in (0, 1):
        of_channel = [message for message in messages if message.channel == channel]
        (summary,) = of(protocol.Summary, of_channel)
        assert summary.duration == pytest.approx(1.0, abs=0.01)
        results = of(protocol.Result, of_channel)
        assert results[0].start == 60.0
        assert results[-1].end == pytest.approx(61.0, abs=0.01)
    assert server.node.live in (0, 2)


async def test_without_interim_only_events_come(server: Server) -> None:
    async with server.http.ws_connect("/listen?interim=false") as socket:
        await socket.send_bytes(SECOND)
        messages = await finish(socket)
    assert not of(protocol.Result, messages)
    assert of(protocol.Summary, messages)


async def test_finalize_tells_what_there_is_and_goes_on(server: Server) -> None:
    async with server.http.ws_connect("/listen") as socket:
        await socket.send_bytes(SECOND[: 16 * 2 * 100])
        await socket.send_str('{"type":"finalize"}')
        async with asyncio.timeout(5):
            while not isinstance(result := protocol.decode(await socket.receive_str()), protocol.Result):
                pass
        assert result.end == pytest.approx(0.1, abs=0.005)
        await socket.send_bytes(SECOND)
        assert of(protocol.Summary, await finish(socket))[0].duration == pytest.approx(1.1, abs=0.01)


async def test_the_session_s_own_url_looks_follows_and_ends(server: Server) -> None:
    async with server.http.ws_connect("/listen") as socket:
        hello = protocol.decode(await socket.receive_str())
        assert isinstance(hello, protocol.Hello)
        url = f"/whip/{hello.session}"
        async with server.http.get(url) as response:
            status = await response.json()
        assert (status["state"], status["transport"]) == ("connecting", "websocket")
        await socket.send_bytes(SECOND)
        assert isinstance(protocol.decode(await socket.receive_str()), protocol.Result)
        async with server.http.get(f"{url}/events") as events:
            assert (await events.content.readline()).startswith(b"id: ")
            assert b'"hello"' in await events.content.readline()
            async with server.http.patch(url, data="a=mid:0", headers=FRAGMENT) as response:
                assert response.status == 400
            deleting = asyncio.create_task(server.http.delete(url))
            messages, code, reason = await until_closed(socket)
            assert (await deleting).status == 200
            assert b'"summary"' in await events.read()
    assert (code, reason) == (1000, "The call was ended by DELETE.")
    assert of(protocol.Summary, messages)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("encoding=mp3", 415, "unsupported_encoding"),
        ("rate=7999", 400, "malformed_stream"),
        ("rate=1e4", 400, "malformed_stream"),
        ("rate=%D9%A1%D9%A6000", 400, "malformed_stream"),
        ("rate=" + "1" * 7_000, 400, "malformed_stream"),
        ("channels=9", 400, "malformed_stream"),
        ("channels=0", 400, "malformed_stream"),
        ("encoding=opus&channels=3", 400, "malformed_stream"),
        ("encoding=opus&rate=16000", 400, "malformed_stream"),
        ("interim=perhaps", 400, "malformed_stream"),
        ("from_ms=-1", 400, "malformed_stream"),
        ("name=" + "x" * 101, 400, "malformed_stream"),
        ("name=%00", 400, "malformed_stream"),
        # A proxy and this server may not agree which of the two counts.
        ("rate=8000&rate=16000", 400, "malformed_stream"),
        ("sample_rate=8000", 400, "malformed_stream"),
        ("token=hunter2", 400, "malformed_stream"),
    ],
)
async def test_a_format_that_is_not_taken_is_refused_with_what_is(
    server: Server, query: str, status: int, code: str
) -> None:
    problem = await refusal(server.http, f"/listen?{query}", status, code)
    assert "hunter2" not in problem["detail"]
    async with server.http.post(f"/listen?{query}") as response:
        assert response.status == status
    assert server.node.live == 0


async def test_what_is_no_handshake_is_refused(server: Server) -> None:
    async with server.http.get("/listen") as response:
        assert response.status == 426
        assert response.headers["Upgrade"] == "websocket"
        assert (await response.json(content_type=None))["code"] == "upgrade_required"
    await refusal(server.http, "/listen", 400, "malformed_request", **{"Sec-WebSocket-Key": "short"})
    await refusal(server.http, "/listen", 400, "malformed_request", **{"Sec-WebSocket-Version": "99"})
    await refusal(server.http, "/listen", 400, "malformed_request", **{"Sec-WebSocket-Protocol": "chat"})
    assert server.node.live == 0


async def test_a_token_comes_by_header_or_by_subprotocol(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with a_server(engine, settings=given(FrontSettings, token=TOKEN)) as server:
        http = server.http
        await refusal(http, "/listen", 401, "unauthorized")
        await refusal(http, "/listen", 401, "unauthorized", Authorization="Bearer wrong")
        await refusal(http, "/listen", 401, "unauthorized", **{"Sec-WebSocket-Protocol": "voxgender, bearer.wrong"})
        async with http.post("/listen") as response:
            assert response.status == 401
        async with http.ws_connect("/listen", headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
            await finish(socket)
        protocols = ("voxgender", f"bearer.{quote(TOKEN, safe='')}")
        async with http.ws_connect("/listen", protocols=protocols) as socket:
            assert socket.protocol == "voxgender"
            await finish(socket)
        assert TOKEN not in caplog.text
        assert quote(TOKEN, safe="") not in caplog.text


async def test_pages_of_other_origins_connect_only_where_they_may(engine: Engine) -> None:
    settings = given(FrontSettings, allow_origin=("https://www.example.org",))
    async with a_server(engine, settings=settings) as server:
        await refusal(server.http, "/listen", 403, "origin_not_allowed", Origin="https://evil.example.org")
        await refusal(server.http, "/listen", 403, "origin_not_allowed", Origin="null")
        for origin in ("https://www.example.org", server.url):
            async with server.http.ws_connect("/listen", origin=origin) as socket:
                await finish(socket)


async def test_own_pages_connect_through_a_proxy_that_gives_the_server_another_name(engine: Engine) -> None:
    """Know the server's own pages by ``X-Forwarded-Host``: Apache's proxy asks for the server by its inner address."""
    outside, headers = "https://voice.example.org", {"X-Forwarded-Host": "cdn.example, Voice.example.org"}
    async with a_server(engine, settings=given(FrontSettings, allow_origin=("https://www.example.org",))) as server:
        await refusal(server.http, "/listen", 403, "origin_not_allowed", Origin=outside)
        for origin in ("https://evil.example.org", "null"):
            await refusal(server.http, "/listen", 403, "origin_not_allowed", Origin=origin, **headers)
        await refusal(server.http, "/listen", 403, "origin_not_allowed", Origin="null", **{"X-Forwarded-Host": ""})
        async with server.http.ws_connect("/listen", origin=outside, headers=headers) as socket:
            await finish(socket)


async def test_a_ticket_lets_one_client_in_once(engine: Engine) -> None:
    async with a_server(engine, settings=given(FrontSettings, token=TOKEN), max_sessions=2) as server:
        http = server.http
        async with http.post("/listen?channels=2", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status == 201
            ticket = await response.json()
            assert response.headers["Location"] == ticket["url"]
        assert server.node.live == 2
        async with http.get(ticket["session"]) as response:
            assert (await response.json())["state"] == "new"
        async with http.get(f"{ticket['session']}/events") as events:
            async with http.ws_connect(ticket["url"]) as socket:
                await refusal(http, ticket["url"], 404, "ticket_not_found")
                await socket.send_bytes(SECOND * 2)
                assert {summary.channel for summary in of(protocol.Summary, await finish(socket))} == {0, 1}
            assert (await events.read()).count(b'"summary"') == 2
        await emptied(server)


async def test_a_ticket_that_is_not_used_in_time_gives_its_place_back(engine: Engine) -> None:
    async with a_server(engine, sweep_s=0.02, ticket_s=0.05) as server:
        async with server.http.post("/listen") as response:
            ticket = await response.json()
        await emptied(server)
        await refusal(server.http, ticket["url"], 404, "ticket_not_found")


async def test_every_channel_takes_a_place(engine: Engine) -> None:
    async with a_server(engine, max_sessions=3) as server:
        async with server.http.ws_connect("/listen?channels=2") as socket:
            await socket.send_bytes(SECOND)
            while not isinstance(protocol.decode(await socket.receive_str()), protocol.Result):
                pass
            problem = await refusal(server.http, "/listen?channels=2", 503, "at_capacity")
            assert "full" in problem["detail"]
            async with server.http.ws_connect("/listen") as another:
                await finish(another)
            await finish(socket)
        await emptied(server)


async def test_too_many_of_one_address_are_refused(engine: Engine) -> None:
    async with a_server(engine, settings=given(FrontSettings, offers_per_minute=6)) as server:
        async with server.http.ws_connect("/listen") as socket:
            await finish(socket)
        await refusal(server.http, "/listen", 429, "too_many_requests")
        async with server.http.post("/listen") as response:
            assert response.status == 429


@pytest.mark.parametrize(
    ("texts", "code", "says"),
    [
        (["{"], 1007, "no JSON"),
        (["[" * 1_000], 1003, "not known"),
        (['"ping"'], 1003, "not known"),
        (['{"type":"shout"}'], 1003, "not known"),
        (['{"type":"ping","pad":"' + "x" * 2_000 + '"}'], 1009, "1024 characters"),
        (['{"type":"ping"}'] * 300, 1008, "Too many messages"),
        ([b"\0\0"] * 300, 1008, "Too many messages"),
        ([b""] * 300, 1008, "Too many messages"),
        ([b"\0" * 70_000], 1009, "one second of audio"),
    ],
)
async def test_what_is_not_taken_ends_the_stream_with_a_reason(
    server: Server, texts: list[str | bytes], code: int, says: str
) -> None:
    async with server.http.ws_connect("/listen") as socket:
        for text in texts:
            await (socket.send_str(text) if isinstance(text, str) else socket.send_bytes(text))
        _, closed, reason = await until_closed(socket)
    assert closed == code
    assert says in reason
    await emptied(server)


async def test_a_flood_of_protocol_pings_ends_the_stream(server: Server) -> None:
    async with server.http.ws_connect("/listen", autoping=False) as socket:
        for _ in range(300):
            await socket.ping(b"x")
        async with asyncio.timeout(10):
            while (message := await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.PONG):
                pass
    assert message.data == 1008


async def test_an_opus_packet_that_is_none_ends_the_stream(server: Server) -> None:
    async with server.http.ws_connect("/listen?encoding=opus") as socket:
        await socket.send_bytes(b"\x03")
        _, code, reason = await until_closed(socket)
    assert code == 1007
    assert "Opus" in reason


async def test_compression_is_not_agreed_to(server: Server) -> None:
    """A message of a few kB may unpack to gigabytes, so none is unpacked (RFC 7692)."""
    async with server.http.ws_connect("/listen", compress=15) as socket:
        assert not socket.compress
        await finish(socket)


async def test_a_client_that_falls_silent_is_told(engine: Engine) -> None:
    async with (
        a_server(engine, silence_timeout_s=0.2, sweep_s=0.05) as server,
        server.http.ws_connect("/listen") as socket,
    ):
        await socket.send_bytes(SECOND)
        messages, code, reason = await until_closed(socket)
    assert code == 1008
    assert "pings" in reason
    assert [error.code for error in of(protocol.Error, messages)] == ["silent_peer"]
    assert of(protocol.Summary, messages)


async def test_a_server_that_stops_tells_its_clients_to_come_again(engine: Engine) -> None:
    async with a_server(engine) as server, server.http.ws_connect("/listen") as socket:
        await socket.send_bytes(SECOND)
        while not isinstance(protocol.decode(await socket.receive_str()), protocol.Result):
            pass
        server.node.drain()
        await refusal(server.http, "/listen", 503, "draining")
        closing = asyncio.create_task(server.node.close())
        messages, code, reason = await until_closed(socket)
        await closing
    assert code == 1001
    assert "connect again" in reason
    assert [warning.code for warning in of(protocol.Warning, messages)] == ["draining"]
    assert of(protocol.Summary, messages)


async def test_a_client_that_leaves_leaves_nothing_behind(server: Server) -> None:
    async with server.http.ws_connect("/listen") as socket:
        await socket.send_bytes(SECOND)
    await emptied(server)
    socket = await server.http.ws_connect("/listen")
    transport = socket.get_extra_info("socket")
    assert transport is not None
    assert socket._response.connection is not None
    assert socket._response.connection.transport is not None
    socket._response.connection.transport.abort()
    await emptied(server)
    await socket.close()


async def test_a_fault_of_the_server_is_told_and_logged(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(streamsession.StreamSession, "push", fail)
    async with server.http.ws_connect("/listen") as socket:
        await socket.send_bytes(SECOND)
        _, code, reason = await until_closed(socket)
    assert code == 1011
    assert "connect again" in reason
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["a stream failed"]
    await emptied(server)

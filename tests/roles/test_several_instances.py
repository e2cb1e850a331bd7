"""Instances behind one address that know nothing of each other, as Cloud Run has them: what holds, and what is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, CookieJar, DummyCookieJar, WSMsgType, web
from aiohttp.client_exceptions import WSServerHandshakeError

from tests.http.signing import Signer, key_set
from tests.http.test_listen import of, until_closed
from tests.roles.test_cloud_run_alone import BEARER, SECOND, an_instance
from tests.rtc import LOOPBACK
from voxgender import protocol

AFFINITY = "affinity"
HOP_BY_HOP = {"host", "connection", "upgrade", "transfer-encoding", "content-length"}


@asynccontextmanager
async def two_instances(**options: str) -> AsyncIterator[str]:
    """URL of two instances behind a balancer."""
    async with AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(an_instance(**options))).url for _ in range(2)]
        http = await stack.enter_async_context(ClientSession(auto_decompress=False))
        runner = web.AppRunner(a_balancer(http, urls))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"


def a_balancer(http: ClientSession, urls: list[str]) -> web.Application:
    """Send each request to the next server, but that of a client which shows its cookie to the one that it had."""
    turns = cycle(range(len(urls)))

    async def forward(request: web.Request) -> web.StreamResponse:
        chosen = int(request.cookies.get(AFFINITY) or next(turns))
        url = urls[chosen].rstrip("/") + request.raw_path
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        if "Upgrade" in request.headers:
            return await forward_socket(request, http, url)
        async with http.request(request.method, url, headers=headers, data=await request.read()) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            response.set_cookie(AFFINITY, str(chosen))
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    return app


async def forward_socket(request: web.Request, http: ClientSession, url: str) -> web.StreamResponse:
    shown = {name: request.headers[name] for name in ("Authorization",) if name in request.headers}
    try:
        behind = await http.ws_connect(url, headers=shown)
    except WSServerHandshakeError as refused:
        return web.Response(status=refused.status)
    socket = web.WebSocketResponse()
    await socket.prepare(request)

    async def carry(source: Any, target: Any) -> None:
        async for message in source:
            await (target.send_str if message.type is WSMsgType.TEXT else target.send_bytes)(message.data)

    async with behind:
        ways = {asyncio.create_task(carry(socket, behind)), asyncio.create_task(carry(behind, socket))}
        _, open_ways = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in open_ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await socket.close(code=behind.close_code or 1000)
    return socket


async def answers(http: ClientSession, method: str, path: str) -> tuple[int, dict[str, Any]]:
    """Status of an answer, and its problem where it is one; events are not waited for."""
    async with http.request(method, path, headers=BEARER) as response:
        is_problem = response.content_type == "application/problem+json"
        return response.status, json.loads(await response.read()) if is_problem else {}


async def a_stream(http: ClientSession) -> tuple[ClientWebSocketResponse, str]:
    socket = await http.ws_connect("/listen", headers=BEARER)
    hello = protocol.decode(await socket.receive_str())
    assert isinstance(hello, protocol.Hello)
    return socket, f"/whip/{hello.session}"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_call_at_another_instance_is_told_from_one_that_has_ended(workers: str) -> None:
    """A program that followed a call was told, by every other request, that it had ended or never was."""
    async with (
        two_instances(VOXGENDER_WORKERS=workers) as url,
        ClientSession(url, cookie_jar=DummyCookieJar()) as program,
    ):
        socket, session = await a_stream(program)
        told = [await answers(program, "GET", session) for _ in range(4)]
        assert sorted(status for status, _ in told) == [200, 200, 421, 421]
        for status, problem in told:
            if status == 421:
                assert problem["code"] == "other_instance"
                assert "session affinity" in problem["detail"]
        # A client that asks again comes to the right one.
        async with socket:
            statuses = {(await answers(program, "DELETE", session))[0] for _ in range(2)}
        assert 421 in statuses
        # An id that no instance gave is told as ever.
        assert (await answers(program, "GET", "/whip/made-up"))[1]["code"] == "session_not_found"


async def test_a_client_that_keeps_its_cookie_finds_its_calls() -> None:
    """Cloud Run's session affinity: browsers send the cookie back, and so does a program with a cookie jar."""
    async with two_instances() as url, ClientSession(url, cookie_jar=CookieJar(unsafe=True)) as program:
        async with program.get("/health/ready"):
            pass
        for _ in range(3):
            socket, session = await a_stream(program)
            assert (await answers(program, "GET", session))[0] == 200
            async with program.get(f"{session}/events", headers=BEARER) as events:
                await socket.send_bytes(SECOND)
                assert (await answers(program, "DELETE", session))[0] == 200
                lines = (await events.read()).splitlines()
            messages, code, _ = await until_closed(socket)
            assert (len(of(protocol.Summary, messages)), code) == (1, 1000)
            assert any(b'"summary"' in line for line in lines)


async def test_an_operator_drains_the_instance_that_the_page_shows_and_no_other() -> None:
    """Each instance called itself "here", so the button drained whichever the request came to."""
    async with two_instances() as url, ClientSession(url, cookie_jar=DummyCookieJar()) as program:
        async with program.get("/operators/events", headers=BEARER) as events:
            picture = json.loads((await events.content.readline()).removeprefix(b"data: "))
        (node,) = (row["node"] for row in picture["nodes"])
        drained = [await answers(program, "PUT", f"/operators/nodes/{node}/drain") for _ in range(2)]
        assert sorted(status for status, _ in drained) == [204, 421]
        ready = [(await answers(program, "GET", "/health/ready"))[0] for _ in range(2)]
        assert sorted(ready) == [200, 503]


@pytest.mark.parametrize("secret", ["", "a text that all instances know"])
async def test_tickets_need_a_secret_that_the_instances_share(tmp_path: Path, secret: str) -> None:
    """With public keys alone a ticket stays where it was made, and another instance says what to do about it."""
    signer = Signer("ES256", "one")
    (tmp_path / "keys.json").write_bytes(key_set([signer]))
    bearer = {"Authorization": f"Bearer {signer.token()}"}
    async with (
        two_instances(
            VOXGENDER_JWT_SECRET="", VOXGENDER_TOKEN=secret, VOXGENDER_JWT_KEYS=f"{tmp_path}/keys.json"
        ) as url,
        ClientSession(url, cookie_jar=DummyCookieJar()) as program,
    ):
        async with program.post("/listen", headers=bearer) as response:
            ticket = (await response.json())["url"]
        # The next request goes to the other one.
        if secret:
            async with program.ws_connect(ticket) as socket:
                await socket.send_bytes(SECOND)
                await socket.send_json({"type": "close"})
                messages, code, _ = await until_closed(socket)
                assert (len(of(protocol.Summary, messages)), code) == (1, 1000)
        else:
            with pytest.raises(WSServerHandshakeError) as refused:
                await program.ws_connect(ticket)
            assert refused.value.status == 421

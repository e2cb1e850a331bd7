import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest
from aiohttp import web

from voxgender.errors import CallError
from voxgender.peer.whip import ANSWER_TIMEOUT_S, WhipClient, endpoint, is_loopback

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Listen = Callable[..., Awaitable[str]]


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Serve one handler for every path and method; returns the address."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> str:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        yield start


def answering(response: Callable[[], web.Response]) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return response()

    return handle


def problem(status: int, title: str, detail: str, **headers: str) -> Handler:
    return answering(
        lambda: web.json_response(
            {"type": "about:blank", "status": status, "title": title, "detail": detail},
            status=status,
            content_type="application/problem+json",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
    )


async def failure(url: str, *, token: str | None = None, timeout_s: float = ANSWER_TIMEOUT_S) -> str:
    async with WhipClient(url, token=token, timeout_s=timeout_s) as client:
        with pytest.raises(CallError) as caught:
            await client.open("v=0\r\n")
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://localhost:8080", "http://localhost:8080/whip"),
        ("http://localhost:8080/", "http://localhost:8080/whip"),
        ("http://localhost:8080/whip", "http://localhost:8080/whip"),
        ("http://localhost:8080/whip/", "http://localhost:8080/whip"),
        ("https://voice.example.org", "https://voice.example.org/whip"),
        ("https://example.org/voice/", "https://example.org/voice/whip"),
        ("http://[::1]:8080", "http://[::1]:8080/whip"),
        ("localhost:8080", "http://localhost:8080/whip"),
    ],
)
def test_an_address_is_completed(given: str, meant: str) -> None:
    assert str(endpoint(given)) == meant


@pytest.mark.parametrize(
    "given", ["", "ftp://example.org", "http://", "http://host:port", "http://host:99999", "://x", "http://a[]@"]
)
def test_what_is_no_address_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(CallError, match="http://localhost:8080"):
        endpoint(given)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:1/whip", True),
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9:1", True),
        ("http://[::1]:1", True),
        ("http://192.0.2.1:1", False),
        ("http://example.org", False),
        ("http://localhost.example.org", False),
    ],
)
def test_loopback_is_told_from_the_rest_of_the_world(url: str, loopback: bool) -> None:
    assert is_loopback(endpoint(url)) is loopback


async def test_nobody_listening() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    text = await failure(f"http://127.0.0.1:{port}")

    assert text == f"http://127.0.0.1:{port}: connection refused; is `voxgender serve` running there?"


async def test_another_kind_of_server(listen: Listen) -> None:
    for status in (404, 405, 200):
        url = await listen(answering(partial(web.Response, status=status, text="<html>")))
        assert "not a voxgender server" in await failure(url)


async def test_something_that_does_not_speak_http() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert f"127.0.0.1:{port}" in await failure(f"http://127.0.0.1:{port}")


async def test_no_answer_in_time(listen: Listen) -> None:
    release = asyncio.Event()

    async def stall(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    url = await listen(stall)

    assert "no answer within" in await failure(url, timeout_s=0.05)
    release.set()


async def test_a_problem_is_told_in_the_server_s_words(listen: Listen) -> None:
    url = await listen(problem(422, "Unprocessable Content", "The offer sends no audio."))

    assert await failure(url) == f"{url}/whip: 422 Unprocessable Content: The offer sends no audio."


async def test_a_missing_token_says_where_to_put_it(listen: Listen) -> None:
    url = await listen(problem(401, "Unauthorized", "A bearer token is needed."))

    text = await failure(url)

    assert "A bearer token is needed" in text
    assert "--token" in text


async def test_a_full_server_says_when_to_try_again(listen: Listen) -> None:
    url = await listen(problem(503, "Service Unavailable", "The server is full.", Retry_After="10"))

    text = await failure(url)

    assert "The server is full" in text
    assert text.endswith("try again in 10 s")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"title": 7}', b"\xff"])
async def test_a_broken_problem_still_gives_its_status(listen: Listen, body: bytes) -> None:
    url = await listen(answering(lambda: web.Response(status=503, body=body, content_type="application/problem+json")))

    assert "503 Service Unavailable; try again later" in await failure(url)


async def test_a_session_is_opened_asked_for_and_ended_once(listen: Listen) -> None:
    seen: list[tuple[str, str, str | None]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, request.headers.get("Authorization")))
        if request.method == "POST":
            assert request.content_type == "application/sdp"
            return web.Response(
                status=201, text="answer", content_type="application/sdp", headers={"Location": "/whip/abc"}
            )
        return web.Response(status=404 if ("DELETE", "/whip/abc", "Bearer t") in seen[:-1] else 200)

    url = await listen(handle)
    async with WhipClient(url, token="t") as client:
        session = await client.open("offer")
        assert session.answer == "answer"
        assert await session.alive()
        assert await session.delete()
        assert not await session.delete()
        assert not await session.alive()

    assert [method for method, _, _ in seen] == ["POST", "GET", "DELETE", "GET"]
    assert {authorization for _, _, authorization in seen} == {"Bearer t"}


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=201, body=b"\xff", content_type="application/sdp", headers={"Location": "/a"}),
        lambda: web.Response(status=201, text="a", content_type="application/sdp", headers={"Location": "http://[]@"}),
        lambda: web.Response(status=201, text="a", content_type="application/sdp", headers={"Location": "http://a:x"}),
        lambda: web.Response(status=307, headers={"Location": "http://[]@"}),
    ],
    ids=["no text", "no URL", "no port", "a redirection to no URL"],
)
async def test_an_answer_that_cannot_be_read_is_refused_in_one_sentence(
    listen: Listen, answer: Callable[[], web.Response]
) -> None:
    url = await listen(answering(answer))
    async with WhipClient(url) as client:
        with pytest.raises(CallError, match=r"voxgender server\?$"):
            await client.open("offer")


async def test_a_server_that_went_away_is_not_alive(listen: Listen) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{unused.getsockname()[1]}/whip/abc"
    url = await listen(
        answering(
            lambda: web.Response(status=201, text="a", content_type="application/sdp", headers={"Location": gone})
        )
    )

    async with WhipClient(url) as client:
        session = await client.open("offer")
        assert not await session.alive()
        assert not await session.delete()


@pytest.mark.parametrize(
    ("links", "told"),
    [
        ([], []),
        (["<stun:stun.example.net>; rel=ice-server"], [("stun:stun.example.net", None, None)]),
        (
            [
                '<turn:t?transport=udp>; rel="ice-server"; username="17:ann"; credential="a,b;c=="; '
                'credential-type="password", <turns:t:443?transport=tcp>;REL=ice-server;username=u;credential=p',
                '<stun:s>; rel="alternate ice-server"',
            ],
            [
                ("turn:t?transport=udp", "17:ann", "a,b;c=="),
                ("turns:t:443?transport=tcp", "u", "p"),
                ("stun:s", None, None),
            ],
        ),
        (['<turn:t>; rel="ice-server"; username="a\\"b"; credential="c\\\\d"'], [("turn:t", 'a"b', "c\\d")]),
        (['</events>; rel="urn:ietf:params:whip:ext:core:server-sent-events"', "nonsense", "<"], []),
        # It was searched to the end from each bracket: 8 kB of them took a third of a second.
        (["<<<stun:s>; rel=ice-server"], [("stun:s", None, None)]),
    ],
)
async def test_ice_servers_are_read_out_of_links(
    listen: Listen, links: list[str], told: list[tuple[str, str | None, str | None]]
) -> None:
    async def handle(request: web.Request) -> web.Response:
        assert (request.method, request.headers["Authorization"]) == ("OPTIONS", "Bearer t")
        response = web.Response(status=204)
        for link in links:
            response.headers.add("Link", link)
        return response

    async with WhipClient(await listen(handle), token="t") as client:
        servers = await client.ice_servers()
    assert [(server.urls, server.username, server.credential) for server in servers] == told


async def test_nobody_to_ask_for_ice_servers() -> None:
    async with WhipClient("http://127.0.0.1:1") as client:
        with pytest.raises(CallError, match="connection refused"):
            await client.ice_servers()


async def test_a_caller_with_too_many_calls_is_told_when_to_try_again(listen: Listen) -> None:
    url = await listen(problem(429, "Too Many Requests", "This caller has 2 calls already.", Retry_After="10"))

    assert (await failure(url)).endswith("This caller has 2 calls already; try again in 10 s")

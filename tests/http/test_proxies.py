"""Headers of proxies in front: whom a request comes from, and under which path clients find the server."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from tests.options import given
from tests.rtc import FRAGMENT, LOOPBACK, SDP, ToneTrack, a_peer, a_server
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.errors import SettingsError
from voxgender.http.proxies import Proxies
from voxgender.roles.hosting import listen
from voxgender.settings import FrontSettings, ProxyOptions

TRUSTED = ("10.0.0.0/8", "127.0.0.0/8")


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, 10.9.9.9, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "198.51.100.7", "fe80::1"),
        ("10.0.0.1", ", ,,", "10.0.0.1"),
        (None, "198.51.100.7", ""),
        ("", "198.51.100.7", ""),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxys_counts(remote: str | None, forwarded: str, client: str) -> None:
    request = make_mocked_request("POST", "/whip", headers={"X-Forwarded-For": forwarded} if forwarded else {})
    # Over a Unix socket there is none, which the types do not know.
    assert (
        Proxies(ProxyOptions(trusted_proxy=("10.0.0.0/8",))).client(request.clone(remote=cast("str", remote))) == client
    )


@pytest.mark.parametrize("text", ["proxy.example.org", "10.0.0.0/33", "", "*"])
def test_a_proxy_is_named_by_an_address_or_a_network(text: str) -> None:
    with pytest.raises(SettingsError, match="--trusted-proxy"):
        Proxies(ProxyOptions(trusted_proxy=(text,)))


@pytest.mark.parametrize(
    ("remote", "told", "prefix"),
    [
        ("10.0.0.1", "/voice", "/voice"),
        ("10.0.0.1", "/voice/", "/voice"),
        ("10.0.0.1", "/team/voice", "/team/voice"),
        ("10.0.0.1", "/team, /voice", "/team/voice"),
        ("10.0.0.1", "/", ""),
        ("10.0.0.1", "", ""),
        ("192.0.2.1", "/voice", ""),
        ("10.0.0.1", "//evil.example", ""),
        ("10.0.0.1", "/, /evil.example", "/evil.example"),
        ("10.0.0.1", "/a/../b", ""),
        ("10.0.0.1", "https://evil.example", ""),
        ("10.0.0.1", "/voice?x", ""),
        ("10.0.0.1", "/vo ice", ""),
        ("10.0.0.1", "/" + "a" * 300, ""),
        (None, "/voice", ""),
    ],
)
def test_a_prefix_is_believed_of_trusted_proxies_alone_and_leads_nowhere_else(
    remote: str | None, told: str, prefix: str
) -> None:
    """``//host`` in a ``Location`` would lead to another host."""
    request = make_mocked_request("POST", "/whip", headers={"X-Forwarded-Prefix": told})
    proxies = Proxies(ProxyOptions(trusted_proxy=TRUSTED))
    assert proxies.prefix(request.clone(remote=cast("str", remote))) == prefix


@pytest.mark.parametrize("text", ["voice", "//host", "/a//b", "/..", "https://host/voice", "/a?b"])
def test_a_prefix_that_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^--path-prefix"):
        Proxies(ProxyOptions(path_prefix=text))


@asynccontextmanager
async def a_stripping_proxy(url: str, *, tells: bool) -> AsyncIterator[str]:
    """A reverse proxy that serves ``/voice/…`` from ``/…`` of a server, as mediamtx' and traefik's users do."""
    async with AsyncExitStack() as stack:
        inner = await stack.enter_async_context(ClientSession(url, auto_decompress=False))

        async def forward(request: web.Request) -> web.StreamResponse:
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in ("host", "connection")
            }
            if tells:
                headers["X-Forwarded-Prefix"] = "/voice"
            path = "/" + request.match_info["path"]
            async with inner.request(
                request.method, path, data=await request.read() or None, headers=headers
            ) as answer:
                passed = {name: value for name, value in answer.headers.items() if name != "Transfer-Encoding"}
                response = web.StreamResponse(status=answer.status, headers=passed)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                return response

        app = web.Application()
        app.router.add_route("*", "/voice/{path:.*}", forward)
        yield f"http://{LOOPBACK}:{await listen(app, stack, host=LOOPBACK, port=0)}"


@pytest.mark.parametrize(
    ("tells", "options"),
    [(True, {"trusted_proxy": TRUSTED}), (False, {"path_prefix": "/voice"}), (False, {"path_prefix": "/voice/"})],
)
async def test_behind_a_proxy_that_strips_a_path_everything_is_found(
    engine: Engine, *, tells: bool, options: dict[str, Any]
) -> None:
    """``Location`` led to the site's root: the call came up, and could be neither followed nor ended."""
    async with (
        a_server(engine, settings=given(FrontSettings, **options)) as server,
        a_stripping_proxy(server.url, tells=tells) as site,
        ClientSession(site) as http,
        a_peer(ToneTrack()) as peer,
    ):
        peer.channels()
        path = await peer.call(http, endpoint="/voice/whip")
        assert path.startswith("/voice/whip/")
        await peer.until(protocol.Result)
        async with http.get(path) as response:
            assert response.status == 200
        async with http.patch(path, data="a=end-of-candidates\r\n", headers=FRAGMENT) as response:
            assert response.status in (204, 400)
        async with http.get(f"{path}/events") as stream:
            assert await stream.content.readline() == b"id: 0\n"
        preflight = {"Origin": "https://calls.example.org", "Access-Control-Request-Method": "DELETE"}
        async with http.options(path, headers=preflight) as response:
            assert "DELETE" in response.headers["Access-Control-Allow-Methods"]
        async with http.get("/voice/") as page:
            # Its own links are relative.
            assert 'href="/' not in (text := await page.text())
            assert 'src="/' not in text
        async with http.get("/voice/client/page.js") as module:
            assert module.status == 200
        async with http.delete(path) as response:
            assert response.status == 200


async def test_a_stream_behind_a_proxy_that_strips_a_path_is_found(engine: Engine) -> None:
    """The ticket's URL led to the site's root, so pages under a path had no WebSocket where no UDP gets through."""
    settings = given(FrontSettings, path_prefix="/voice")
    async with a_server(engine, settings=settings) as server, server.http.post("/listen") as response:
        reservation = await response.json()
        assert response.headers["Location"] == reservation["url"]
        assert reservation["url"].startswith("/voice/listen/")
        assert reservation["session"].startswith("/voice/whip/")
        # The proxy strips the path.
        async with server.http.ws_connect(reservation["url"].removeprefix("/voice")) as socket:
            assert socket.get_extra_info("peername")
            hello = protocol.decode(await socket.receive_str())
            assert isinstance(hello, protocol.Hello)
            told = socket._response.headers["Location"]
            assert told == reservation["session"] == f"/voice/whip/{hello.session}"


async def test_without_a_proxy_nothing_has_a_prefix(engine: Engine) -> None:
    async with a_server(engine) as server, a_peer(ToneTrack()) as peer:
        offer = await peer.offer()
        told = SDP | {"X-Forwarded-Prefix": "/voice"}
        async with server.http.post("/whip", data=offer, headers=told) as response:
            assert response.headers["Location"].startswith("/whip/")

"""The WHIP resource over HTTP, request by request (RFC 9725)."""

import asyncio
import gzip
import logging
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.figures import value_of
from tests.options import given
from tests.rtc import FRAGMENT, SDP, Server, ToneTrack, a_peer, a_server
from tests.waits import until
from voxgender import metrics
from voxgender.engine import Engine
from voxgender.http.app import MAX_BODY
from voxgender.protocol import Result
from voxgender.settings import FrontSettings


async def test_an_offer_is_answered_with_201_and_a_session_of_its_own(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        offer = await peer.offer()
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            assert response.status == 201
            assert response.headers["Content-Type"] == "application/sdp"
            assert re.fullmatch(r"/whip/[\w-]{32}", response.headers["Location"])
            assert re.fullmatch(r'"[0-9a-f]+"', response.headers["ETag"])
            assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
            assert (await response.text()).startswith("v=0")
            location = response.headers["Location"]
        async with server.http.get(location) as response:
            assert response.status == 200
            assert (await response.json())["session"] == location.rpartition("/")[2]
        async with server.http.delete(location) as response:
            assert response.status == 200


async def test_session_ids_do_not_repeat_and_tell_nothing(server: Server) -> None:
    ids = set()
    for _ in range(3):
        async with a_peer(ToneTrack()) as peer:
            ids.add(await peer.call(server.http))
    assert len(ids) == 3


async def problem(server: Server, status: int, code: str, method: str, path: str, **request: Any) -> dict[str, Any]:
    async with server.http.request(method, path, **request) as response:
        assert response.status == status, await response.text()
        assert response.content_type == "application/problem+json"
        body: dict[str, Any] = await response.json()
        assert body["code"] == code
        assert body["status"] == status
        assert body["title"]
        assert len(body["detail"]) > 10
        assert "Traceback" not in body["detail"]
        return body


@pytest.mark.parametrize(
    ("status", "code", "body", "headers"),
    [
        (415, "unsupported_media_type", "{}", {"Content-Type": "application/json"}),
        (415, "unsupported_media_type", "v=0", {"Content-Type": ""}),
        (400, "malformed_sdp", "", SDP),
        (400, "malformed_sdp", "hello", SDP),
        (400, "malformed_sdp", b"\xff\xfe\xfa", SDP),
        (400, "malformed_sdp", "v=0", {"Content-Type": "application/sdp; charset=nonsense"}),
        # Python's parser of mail headers fails on it: it was a 500 with a traceback in the log.
        (400, "malformed_request", "v=0", {"Content-Type": "application/sdp; charset*"}),
        (400, "malformed_sdp", "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:x\r\n", SDP),
        (422, "no_audio", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:x\r\n", SDP),
        (400, "malformed_sdp", b"not gzip", SDP | {"Content-Encoding": "gzip"}),
        (413, "too_large", "v=0\r\n" + "a=x\r\n" * 100_000, SDP),
    ],
)
async def test_a_bad_offer_gets_a_problem_that_says_why_and_leaves_nothing(
    server: Server, status: int, code: str, body: str | bytes, headers: dict[str, str]
) -> None:
    await problem(server, status, code, "POST", "/whip", data=body, headers=headers)
    assert server.node.places.sessions() == []


async def test_an_offer_without_audio_is_told_to_add_some(server: Server) -> None:
    async with a_peer() as peer:
        peer.channels()
        body = await problem(server, 422, "no_audio", "POST", "/whip", data=await peer.offer(), headers=SDP)
    assert "microphone" in body["detail"]


async def test_an_offer_of_unknown_codecs_is_told_which_are_known(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        strange = re.sub(r"a=rtpmap:(\d+) \S+", r"a=rtpmap:\1 speex/16000", await peer.offer())
        strange = re.sub(r"(m=audio \d+ \S+) .*", r"\1 96", strange)
        body = await problem(server, 422, "no_audio", "POST", "/whip", data=strange, headers=SDP)
    assert "Opus" in body["detail"]
    assert server.node.places.sessions() == []


async def test_a_server_whose_model_is_not_loaded_yet_asks_for_patience() -> None:
    async with a_server(None) as server:
        await problem(server, 503, "starting", "POST", "/whip", data="v=0", headers=SDP)
        async with server.http.get("/health/ready") as response:
            assert response.status == 503
        async with server.http.get("/health/live") as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", "/whip/nix"), ("DELETE", "/whip/nix"), ("GET", "/whip/nix"), ("GET", "/whip/nix/events")],
)
async def test_a_session_that_is_not_there_is_404(server: Server, method: str, path: str) -> None:
    await problem(server, 404, "session_not_found", method, path, data="a=mid:0", headers=FRAGMENT)


@pytest.mark.parametrize(("method", "path"), [("GET", "/whip"), ("PUT", "/whip"), ("PUT", "/whip/x"), ("POST", "/")])
async def test_other_methods_are_405_and_told_what_is_allowed(server: Server, method: str, path: str) -> None:
    async with server.http.request(method, path) as response:
        assert response.status == 405
        assert response.headers["Allow"]
        assert (await response.json())["code"] == "method_not_allowed"


async def test_an_unknown_path_is_404(server: Server) -> None:
    await problem(server, 404, "not_found", "GET", "/nothing/here")


async def test_candidates_may_trickle(server: Server) -> None:
    """The answer's connection comes up by the candidate that was sent afterwards."""
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = await peer.offer()
        candidates = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
        bare = "\r\n".join(line for line in offer.splitlines() if "candidate" not in line) + "\r\n"
        ufrag = next(line for line in offer.splitlines() if line.startswith("a=ice-ufrag:"))
        async with server.http.post("/whip", data=bare, headers=SDP) as response:
            location, etag = response.headers["Location"], response.headers["ETag"]
            await peer.accept(await response.text())
        fragment = "\r\n".join([ufrag, "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", *candidates, "a=end-of-candidates"])
        for headers in (FRAGMENT, FRAGMENT | {"If-Match": etag}):
            async with server.http.patch(location, data=fragment, headers=headers) as response:
                assert response.status == 204
        await peer.until(Result)


async def test_a_bad_fragment_gets_a_problem(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
            location = response.headers["Location"]
        patch = ("PATCH", location)
        await problem(server, 415, "unsupported_media_type", *patch, data="a=mid:0", headers=SDP)
        await problem(server, 400, "malformed_sdp", *patch, data="", headers=FRAGMENT)
        await problem(server, 400, "malformed_sdp", *patch, data="hello", headers=FRAGMENT)
        bad = "a=mid:0\r\na=candidate:1 1 udp x y z typ host"
        await problem(server, 400, "malformed_sdp", *patch, data=bad, headers=FRAGMENT)
        stale = FRAGMENT | {"If-Match": '"stale"'}
        await problem(server, 412, "etag_mismatch", *patch, data="a=mid:0", headers=stale)


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ("{}", 204),
        ("W/{}", 204),
        ('"a", W/{}', 204),
        ("", 412),
        ('"a"', 412),
        ('W/"a"', 412),
        ("w/{}", 412),
        (",,,", 412),
    ],
)
async def test_a_proxy_may_weaken_the_tag_of_a_call(server: Server, tags: str, status: int) -> None:
    """nginx and Cloudflare do when they compress: the client lost its candidates by 412, without a word."""
    async with a_peer(ToneTrack()) as peer:
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
            location, etag = response.headers["Location"], response.headers["ETag"]
            assert response.headers["Cache-Control"] == "no-store, no-transform"
        headers = FRAGMENT | {"If-Match": tags.format(etag)}
        async with server.http.patch(location, data="a=mid:0", headers=headers) as response:
            assert response.status == status


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-zlib.MAX_WBITS)),
        ("identity", bytes),
    ],
)
async def test_a_body_may_be_packed(server: Server, coding: str, pack: Callable[[bytes], bytes]) -> None:
    async with a_peer(ToneTrack()) as peer:
        offer = (await peer.offer()).encode()
        headers = SDP | {"Content-Encoding": coding}
        async with server.http.post("/whip", data=pack(offer), headers=headers) as response:
            assert response.status == 201
        await problem(server, 413, "too_large", "POST", "/whip", data=pack(offer + bytes(MAX_BODY)), headers=headers)
        if coding != "identity":
            await problem(server, 400, "malformed_sdp", "POST", "/whip", data=pack(offer)[:-20], headers=headers)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "x"])
async def test_what_else_a_body_is_packed_by_is_said_to_be_unknown(server: Server, coding: str) -> None:
    """aiohttp refused some in plain text, each with a traceback in the log, and took others for plain."""
    headers = SDP | {"Content-Encoding": coding}
    body = await problem(server, 415, "unsupported_media_type", "POST", "/whip", data=b"v=0", headers=headers)
    assert "gzip" in body["detail"]


@pytest.mark.parametrize("charset", ["punycode", "idna", "undefined", "utf-16", "latin-1", "rot13", "unicode_escape"])
async def test_only_utf_8_is_read(server: Server, charset: str) -> None:
    """Python's own codecs took seconds for a body, or answered with 500."""
    headers = {"Content-Type": f"application/sdp; charset={charset}"}
    body = await problem(server, 400, "malformed_sdp", "POST", "/whip", data="v=0", headers=headers)
    assert "UTF-8" in body["detail"]


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"', "us-ascii"])
async def test_a_charset_that_is_utf_8_may_be_named(server: Server, charset: str) -> None:
    headers = {"Content-Type": f"application/sdp; charset={charset}"}
    body = await problem(server, 422, "no_audio", "POST", "/whip", data="v=0", headers=headers)
    assert "microphone" in body["detail"]


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_mistake_of_the_server(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Each was logged with a traceback, and counted as ``internal_error``."""

    def left() -> float:
        return value_of(metrics.REQUESTS_BROKEN.labels("ClientLeft"))

    before = left()
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(
            b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 999\r\n\r\nv=0"
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await until(lambda: left() == before + 5)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_ice_restart_is_refused_not_pretended(server: Server) -> None:
    """aiortc answers an ICE restart without doing it; the client had better call again."""
    async with a_peer(ToneTrack()) as peer:
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
            location = response.headers["Location"]
        restart = {"data": "a=ice-ufrag:new!\r\na=ice-pwd:0123456789012345678901", "headers": FRAGMENT}
        await problem(server, 422, "ice_restart", "PATCH", location, **restart)
        # RFC 9725 shows it without quotes and with them, which was a wrong tag.
        for any_tag in ("*", '"*"'):
            restart["headers"] = FRAGMENT | {"If-Match": any_tag}
            await problem(server, 422, "ice_restart", "PATCH", location, **restart)


async def test_options_say_what_is_taken_without_a_token(engine: Engine) -> None:
    async with a_server(engine, settings=given(FrontSettings, token="secret")) as server:
        async with server.http.options("/whip") as response:
            assert response.status == 204
            assert response.headers["Accept-Post"] == "application/sdp"
        async with server.http.options("/whip/any") as response:
            assert response.status == 204
            assert "PATCH" in response.headers["Allow"]


async def test_ice_servers_come_as_links_to_those_who_may_call(engine: Engine) -> None:
    settings = given(
        FrontSettings, ice_server=("stun:stun.example.org:3478", "turn:ann:s3cr3t@turn.example.org?transport=tcp")
    )
    async with (
        a_server(engine, settings=settings) as server,
        a_peer(ToneTrack()) as peer,
        server.http.post("/whip", data=await peer.offer(), headers=SDP) as response,
    ):
        assert response.headers.getall("Link") == [
            '<stun:stun.example.org:3478>; rel="ice-server"',
            '<turn:turn.example.org?transport=tcp>; rel="ice-server"; username="ann"; credential="s3cr3t"; '
            'credential-type="password"',
        ]


async def test_two_calls_at_the_last_free_place_do_not_both_get_it(engine: Engine) -> None:
    async with a_server(engine, max_sessions=1) as server, a_peer(ToneTrack()) as one, a_peer(ToneTrack()) as two:
        offers = [await one.offer(), await two.offer()]

        async def post(offer: str) -> int:
            async with server.http.post("/whip", data=offer, headers=SDP) as response:
                return response.status

        assert sorted(await asyncio.gather(*map(post, offers))) == [201, 503]


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/whip"), ("GET", "/whip/x"), ("GET", "/health/live"), ("PUT", "/x")]
)
async def test_an_unknown_expectation_is_refused_in_one_sentence(server: Server, method: str, path: str) -> None:
    """aiohttp answers it in plain text, before any middleware."""
    async with server.http.request(method, path, headers=SDP | {"Expect": "a-pony"}) as response:
        assert response.status == 417
        assert response.content_type == "application/problem+json"
        told = await response.json()
    assert told["code"] == "unknown_expectation"
    assert told["detail"].count(".") == 1
    async with server.http.post("/whip", data="x", headers=SDP, expect100=True) as response:
        assert response.status == 400

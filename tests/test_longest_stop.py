"""No request that is let through holds the event loop for long, and with it the media of every call.

One offer of 250 kB with 9000 ``a=rtpmap`` lines once held it for 11 s, and a PATCH of 3900 candidates ended all calls.
"""

import asyncio
import gc
import gzip
import time
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jwt
import msgspec
import pytest

from tests import offers
from tests.nodes import SECRET, FacedNode, a_front, a_node
from tests.options import given
from tests.rtc import FRAGMENT, LOOPBACK, SDP, Server, a_server, session_on
from voxgender.engine import Engine
from voxgender.fleet.sources import StaticNodes
from voxgender.fleet.wire import OfferRequest
from voxgender.http.app import MAX_BODY
from voxgender.media.node import MediaNode
from voxgender.sdp import MAX_CANDIDATES, MAX_LINE, MAX_LINES, MAX_MEDIA_LINES, MAX_VOICES, MID_EXTENSION
from voxgender.settings import FrontSettings

LIMIT_S = 0.02
_TRIES = 3
"""The least of so many counts: a garbage collection or a cold cache is none of the request's doing."""
_JWT_SECRET = "0123456789abcdef0123456789abcdef"


class Stop(NamedTuple):
    """One request and the longest turn that the event loop took meanwhile, in seconds of its own CPU time."""

    name: str
    status: int
    seconds: float


@pytest.fixture(scope="module")
def stops() -> Iterator[list[Stop]]:
    """Every measurement of this module; the worst are printed at its end."""
    measured: list[Stop] = []
    yield measured
    for stop in sorted(measured, key=lambda stop: -stop.seconds)[:5]:
        print(f"\n{1000 * stop.seconds:6.2f} ms  {stop.status}  {stop.name}", end="")


@pytest.fixture(scope="module", autouse=True)
def _few_collections() -> Iterator[None]:
    """Let the garbage collector look at what requests leave behind alone, and not at all that tests have imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def longest_turn(act: Callable[[], Awaitable[int]]) -> tuple[int, float]:
    """Do something, and measure the longest turn of the event loop meanwhile.

    CPU time of this thread, not of the clock: the machine may be busy with other things.
    """
    longest, last = 0.0, time.thread_time()
    acting = asyncio.ensure_future(act())
    while not acting.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    return acting.result(), longest


async def measure(name: str, act: Callable[[], Awaitable[int]], stops: list[Stop]) -> Stop:
    tries = [await longest_turn(act) for _ in range(_TRIES)]
    stop = Stop(name, tries[0][0], min(seconds for _, seconds in tries))
    stops.append(stop)
    return stop


async def exchange(port: int, request: bytes) -> int:
    """Send a whole request on a connection of its own, with as little work on this loop as can be; the status."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(request)
        return int((await reader.read()).split(b" ", 2)[1])
    finally:
        writer.close()


def request_of(method: str, path: str, body: bytes = b"", /, **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _full(line: str | Callable[[int], str], *, most: int = MAX_LINES - 40) -> str:
    """Return as many lines of one kind as pass."""
    lines: list[str] = []
    room = MAX_BODY - 4096
    for number in range(most):
        made = (line if isinstance(line, str) else line(number)) + "\r\n"
        room -= len(made.encode())
        if room < 0:
            break
        lines.append(made)
    return "".join(lines)


def _long(start: str, piece: str) -> str:
    """Lines as long as are let through, as many as fit."""
    return _full(start + (MAX_LINE - len(start)) // len(piece) * piece)


_AUDIO = offers.AUDIO
_MIDS = [f"m{number}" for number in range(MAX_MEDIA_LINES - 1)]


def _many_media(line: Callable[[str], str], *, bundle: bool) -> str:
    media = [line(mid) for mid in _MIDS]
    while len("".join(media)) > MAX_BODY - 8192:
        media.pop()
    return offers.sdp(_AUDIO, *media, bundle=" ".join(["0", *_MIDS[: len(media)]]) if bundle else None)


def _room(line: Callable[[int], str]) -> str:
    """Return an offer of as many voices as a call takes, with as many lines of one kind as pass."""
    each = _full(line, most=(MAX_LINES - 40) // MAX_VOICES - 20)
    audio = _AUDIO.replace("SAVPF 111 0", f"SAVPF 111 {' '.join(map(str, range(96, 111)))}")
    named = [
        audio.replace("a=mid:0", f"a=mid:v{number}") + f"a=extmap:1 {MID_EXTENSION}\r\n" for number in range(MAX_VOICES)
    ]
    return offers.sdp(
        *(one + each for one in named), offers.DATA, bundle=" ".join([f"v{n}" for n in range(MAX_VOICES)] + ["2"])
    )


MORE = {
    "title": lambda n: f"i={n}",
    "msid": lambda n: f"a=msid:{n} x",
    "rtpmap": lambda n: f"a=rtpmap:{n} opus/48000/2",
    "rtpmap of one number": lambda n: "a=rtpmap:111 opus/48000/2",
    "rtpmap of all numbers": lambda n: f"a=rtpmap:{n % 128} opus/48000/2",
    "fmtp": lambda n: f"a=fmtp:{n % 128} useinbandfec=1;minptime={n}",
    "fmtp of one number": lambda n: "a=fmtp:111 stereo=1",
    "rtcp-fb": lambda n: f"a=rtcp-fb:{n % 128} nack",
    "rtcp-fb of all": lambda n: "a=rtcp-fb:* nack pli",
    "extmap": lambda n: f"a=extmap:{n % 255 + 1} urn:ietf:params:rtp-hdrext:sdes:mid",
    "extmap of unknown names": lambda n: f"a=extmap:{n} urn:x:{n}",
    "ssrc": lambda n: f"a=ssrc:{n} cname:x",
    "ssrc of one stream": lambda n: f"a=ssrc:1 msid:{n} x",
    "ssrc-group": lambda n: f"a=ssrc-group:FID {n} {n + 1}",
    "candidate": lambda n: f"a=candidate:{n} 1 udp {n} 192.0.{n // 250 % 250}.{n % 250 + 1} {n + 1} typ host",
    "candidate of both kinds": lambda n: (
        f"a=candidate:{n} 1 udp {n} {'2001:db8::1' if n % 2 else '192.0.2.1'} {n + 1} typ host"
    ),
    "candidate of one address": lambda n: "a=candidate:1 1 udp 1 192.0.2.1 1 typ host",
    "candidate of the link": lambda n: f"a=candidate:1 1 udp 1 fe80::{n:x}%{n} 1 typ host",
    "candidate by mDNS": lambda n: f"a=candidate:1 1 udp 1 {n:08x}-3c5d-1f.local 1 typ host",
    "candidate by DNS": lambda n: f"a=candidate:1 1 udp 1 host-{n}.example.org 1 typ host",
    "candidate by TCP": lambda n: f"a=candidate:1 1 tcp 1 192.0.2.1 {n + 1} typ host tcptype passive",
    "candidate of component 2": lambda n: f"a=candidate:1 2 udp 1 192.0.2.1 {n + 1} typ host",
    "candidate with no end": lambda n: f"a=candidate:1 1 udp 1 192.0.2.1 {n + 1} typ srflx" + 40 * " x y",
    "end-of-candidates": lambda n: "a=end-of-candidates",
    "fingerprint": lambda n: f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}",
    "fingerprint of unknown kind": lambda n: f"a=fingerprint:x-{n} AB",
    "ice-ufrag": lambda n: f"a=ice-ufrag:{n:08}",
    "ice-pwd": lambda n: f"a=ice-pwd:{n:022}",
    "setup": lambda n: "a=setup:actpass",
    "mid": lambda n: f"a=mid:{n}",
    "rid": lambda n: f"a=rid:{n} send",
    "simulcast": lambda n: f"a=simulcast:send {n};{n + 1}",
    "sctpmap": lambda n: f"a=sctpmap:{n} webrtc-datachannel 1024",
    "sctp-port": lambda n: f"a=sctp-port:{n}",
    "max-message-size": lambda n: f"a=max-message-size:{n}",
    "crypto": lambda n: f"a=crypto:{n} AES_CM_128_HMAC_SHA1_80 inline:{40 * 'A'}",
    "group": lambda n: f"a=group:BUNDLE 0 {n}",
    "group that the audio is not in": lambda n: f"a=group:BUNDLE x{n} y{n}",
    "direction": lambda n: "a=sendrecv",
    "connection": lambda n: f"c=IN IP4 192.0.2.{n % 256}",
    "bandwidth": lambda n: f"b=AS:{n}",
    "nothing": lambda n: "",
    "blanks": lambda n: 20 * " ",
    "unknown attribute": lambda n: f"a=x-{n}:{n}",
    "no line": lambda n: f"hello {n}",
}
LONG = {
    "long unknown attribute": ("a=x:", "y"),
    "long words": ("a=x:", "y "),
    "long group": ("a=group:BUNDLE 0 ", "1 "),
    "long fmtp": ("a=fmtp:111 ", "a=1;"),
    "long rtpmap": ("a=rtpmap:111 opus/48000/2", " "),
    "long rtpmap of digits": ("a=rtpmap:", "9"),
    "long rtpmap name": ("a=rtpmap:111 ", "a"),
    "long number of a candidate": ("a=candidate:1 1 udp ", "9"),
    "long address of a candidate": ("a=candidate:1 1 udp 1 ", "1:"),
    "long extmap": ("a=extmap:", "9"),
    "long ssrc-group": ("a=ssrc-group:FID ", "1 "),
    "long fingerprint": ("a=fingerprint:sha-256 ", "AB:"),
    "long ufrag": ("a=ice-ufrag:", "a"),
    "long mid": ("a=mid:", "1"),
    "long simulcast": ("a=simulcast:send ", "1;2,"),
    "long media line": ("m=video 9 UDP/TLS/RTP/SAVPF ", "96 "),
    "long media line of words": ("m=application 9 x ", "y "),
    "long crypto": ("a=crypto:1 ", "x|"),
    "long slashes": ("a=rtpmap:111 opus", "/1"),
    "long letters of others": ("s=", "\N{GREEK SMALL LETTER ALPHA}"),
}
WHOLE = {
    "video lines in the group": _many_media(
        lambda mid: f"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na=inactive\r\n", bundle=True
    ),
    "video lines alone": _many_media(
        lambda mid: f"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na=inactive\r\n", bundle=False
    ),
    "whole video lines": _many_media(lambda mid: offers.VIDEO.replace("a=mid:1", f"a=mid:{mid}"), bundle=True),
    "video lines of all formats": _many_media(
        lambda mid: f"m=video 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, range(128)))}\r\na=mid:{mid}\r\n", bundle=True
    ),
    "audio lines": _many_media(lambda mid: _AUDIO.replace("a=mid:0", f"a=mid:{mid}"), bundle=True),
    "data lines": _many_media(lambda mid: offers.DATA.replace("a=mid:2", f"a=mid:{mid}"), bundle=True),
    "a room of many streams": _room(lambda n: f"a=ssrc:{n} cname:x"),
    "a room of many names": _room(lambda n: f"a=msid:{n} x"),
    "a room of many titles": _room(lambda n: f"i={n}"),
    "a room of all formats": _room(lambda n: f"a=rtpmap:{n % 128} opus/48000/2"),
    "audio of all formats": offers.sdp(
        _AUDIO.replace("SAVPF 111 0", f"SAVPF {' '.join(map(str, range(128)))}")
        + "".join(f"a=rtpmap:{n} opus/48000/2\r\na=fmtp:{n} x={n}\r\n" for n in range(96, 128)),
        bundle="0",
    ),
    "too many media lines": offers.sdp(_AUDIO, _full("m=video 9 RTP/SAVPF 96", most=10**6), bundle="0"),
    "too many lines": "v=0\r\n" + _full("a=x", most=10**6),
    "too many empty lines": "v=0" + "\n" * (MAX_BODY - 10),
    "too long a line": "v=0\r\na=" + "x" * (MAX_BODY - 10),
    "nothing but blanks": " " * (MAX_BODY - 10),
    "brackets": "v=0\r\n" + "[{(" * (MAX_BODY // 3 - 10),
    "control characters": "v=0\r\n" + "\x01" * (MAX_BODY - 10),
    "line separators": "v=0\r\n" + "\N{LINE SEPARATOR}" * (MAX_BODY // 3 - 10),
    "candidates of lines in one group": offers.sdp(
        *[_AUDIO.replace("a=mid:0", f"a=mid:{n}") + _full(MORE["candidate"], most=100) for n in range(7)],
        bundle="0 1 2 3 4 5 6",
    ),
}
OFFERS = (
    {name: offers.sdp(_AUDIO + _full(line), offers.DATA, bundle="0 2") for name, line in MORE.items()}
    | {
        f"{name}, of the session": offers.sdp(_AUDIO, offers.DATA, session=_full(line), bundle="0 2")
        for name, line in MORE.items()
    }
    | {name: offers.sdp(_AUDIO + _long(*line), offers.DATA, bundle="0 2") for name, line in LONG.items()}
    | WHOLE
)
FRAGMENTS = (
    {name: f"m=audio 9 x 0\r\na=mid:0\r\n{_full(line)}" for name, line in MORE.items()}
    | {name: f"a=mid:0\r\n{_long(*line)}" for name, line in LONG.items()}
    | {
        "too many lines": _full("a=x", most=10**6),
        "media lines": _full("m=audio 9 x 0\r\na=mid:0"),
        "blanks": " " * (MAX_BODY - 10),
    }
)
CHARSETS = (
    "utf-8",
    "UTF8",
    "us-ascii",
    "punycode",
    "idna",
    "undefined",
    "utf-7",
    "utf-16",
    "unicode_escape",
    "zlib",
    "x",
)
LOCAL = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6")
"""Addresses of a host in several networks: each is paired with every candidate of a client."""


@pytest.fixture
async def server(engine: Engine) -> AsyncIterator[Server]:
    settings = given(
        FrontSettings, jwt_secret=_JWT_SECRET, token="for those without a token of their own", offers_per_minute=0
    )
    async with a_server(engine, settings=settings, ice_addresses=LOCAL) as server:
        yield server


@pytest.fixture
async def node(engine: Engine) -> AsyncIterator[FacedNode]:
    async with a_node(engine, ice_addresses=LOCAL) as node:
        yield node


async def end_all(node: MediaNode) -> None:
    for session in node.places.sessions():
        await session.end("deleted")


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def post(body: bytes, content_type: str = "application/sdp", **headers: str) -> bytes:
    authorization = headers.pop("Authorization", "Bearer for those without a token of their own")
    return request_of("POST", "/whip", body, Content_Type=content_type, Authorization=authorization, **headers)


async def a_session(server: Server, offer: str = offers.sdp(_AUDIO, offers.DATA, bundle="0 2")) -> str:
    """The path of a call that waits for its peer."""
    headers = SDP | {"Authorization": "Bearer for those without a token of their own"}
    async with server.http.post("/whip", data=offer, headers=headers) as response:
        assert response.status == 201
        return response.headers["Location"]


@pytest.mark.parametrize("name", OFFERS)
async def test_no_offer_holds_the_loop(server: Server, name: str, stops: list[Stop]) -> None:
    body = OFFERS[name].encode()
    assert len(body) <= MAX_BODY
    stop = await measure(f"POST {name}", lambda: exchange(port_of(server), post(body)), stops)
    assert stop.status in (201, 400, 422)
    assert stop.seconds < LIMIT_S
    await end_all(server.node)


@pytest.mark.parametrize("name", FRAGMENTS)
async def test_no_fragment_holds_the_loop(server: Server, name: str, stops: list[Stop]) -> None:
    body = FRAGMENTS[name].encode()
    assert len(body) <= MAX_BODY
    request = request_of("PATCH", await a_session(server), body, Content_Type=FRAGMENT["Content-Type"])
    stop = await measure(f"PATCH {name}", lambda: exchange(port_of(server), request), stops)
    assert stop.status in (204, 400, 422)
    assert stop.seconds < LIMIT_S
    await end_all(server.node)


@pytest.mark.parametrize("name", [*LONG, *WHOLE])
async def test_no_later_offer_of_a_room_holds_the_loop(server: Server, name: str, stops: list[Stop]) -> None:
    path = await a_session(server, OFFERS["a room of many titles"])
    request = request_of("PATCH", path, OFFERS[name].encode(), Content_Type=SDP["Content-Type"])
    stop = await measure(f"PATCH of the offer {name}", lambda: exchange(port_of(server), request), stops)
    assert stop.status in ((200, 400) if name.startswith("a room") else (400, 422))
    assert stop.seconds < LIMIT_S
    await end_all(server.node)


async def test_voices_that_come_and_go_hold_the_loop_for_no_long_time(server: Server, stops: list[Stop]) -> None:
    """Each has decoders of its own and a place in the engine's schedule."""
    full = OFFERS["a room of all formats"].replace("a=mid:v0", "i=Ana\r\na=mid:v0")
    one = full.replace("a=sendonly", "a=inactive").replace("a=inactive", "a=sendonly", 1)
    path = await a_session(server, full)
    requests = [request_of("PATCH", path, offer.encode(), Content_Type=SDP["Content-Type"]) for offer in (one, full)]

    async def change() -> int:
        return max([await exchange(port_of(server), request) for request in requests])

    stop = await measure("PATCH of voices that come and go", change, stops)
    assert stop.status == 200
    assert stop.seconds < LIMIT_S
    await end_all(server.node)


async def test_no_number_of_candidates_sent_bit_by_bit_holds_the_loop(server: Server, stops: list[Stop]) -> None:
    """aioice sorts all pairs of a call with each candidate: 3900 of them took 7 s, as many again 34 s."""
    path = await a_session(server)
    session = session_on(server.node)
    for block in range(30):
        lines = "".join(f"a=candidate:1 1 udp 1 192.0.{block}.{n + 1} 9999 typ host\r\n" for n in range(90))
        request = request_of("PATCH", path, f"a=mid:0\r\n{lines}".encode(), Content_Type=FRAGMENT["Content-Type"])
        stop = await measure(f"PATCH {block} of 90 candidates", partial(exchange, port_of(server), request), stops)
        assert stop.status == 204
        assert stop.seconds < LIMIT_S
    remote = session._pc.getTransceivers()[0].receiver.transport.transport.getRemoteCandidates()
    assert len(remote) == MAX_CANDIDATES


@pytest.mark.parametrize("charset", CHARSETS)
async def test_no_charset_holds_the_loop(server: Server, charset: str, stops: list[Stop]) -> None:
    """Python's ``punycode`` took 1.9 s for a body, ``idna`` 1.4 s and 500."""
    body = offers.sdp(_AUDIO + _full("a=x:" + 60 * "a-b"), bundle="0").encode()
    request = post(body, f"application/sdp; charset={charset}")
    stop = await measure(f"POST in {charset}", lambda: exchange(port_of(server), request), stops)
    assert stop.status == (201 if charset.lower() in ("utf-8", "utf8", "us-ascii") else 400)
    assert stop.seconds < LIMIT_S
    await end_all(server.node)


def _bomb(megabytes: int, wbits: int) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


PACKED = {
    "much that unpacks to what is let through": ("gzip", gzip.compress(OFFERS["video lines of all formats"].encode())),
    "gzip of 10 MB": ("gzip", _bomb(10, 16 + zlib.MAX_WBITS)),
    "deflate of 100 MB": ("deflate", _bomb(100, zlib.MAX_WBITS)),
    "bare deflate of 100 MB": ("deflate", _bomb(100, -zlib.MAX_WBITS)),
    "many members": ("gzip", 4000 * gzip.compress(b"v=0")),
}


@pytest.mark.parametrize("name", PACKED)
async def test_no_packed_body_holds_the_loop(server: Server, name: str, stops: list[Stop]) -> None:
    """They were unpacked as they arrived, 64 kB at a time and whole: 0.6 s for a body of 500 kB."""
    coding, body = PACKED[name]
    request = post(body, **{"Content-Encoding": coding})
    stop = await measure(f"POST {name}", lambda: exchange(port_of(server), request), stops)
    assert stop.status in (201, 400, 413)
    assert stop.seconds < LIMIT_S
    await end_all(server.node)


_UPGRADE = {
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Authorization": "Bearer for those without a token of their own",
}
_MASK = bytes(4)
FRAMES = {
    "pings": b"\x89\x80" + _MASK,
    "texts": b"\x81\x80" + _MASK,
    "audio": b"\x82\x80" + _MASK,
    "pieces of a message": b"\x00\x80" + _MASK,
}
"""Empty frames of a WebSocket (RFC 6455 section 5.2)."""


@pytest.mark.parametrize("name", FRAMES)
async def test_no_flood_of_frames_holds_the_loop(server: Server, name: str, stops: list[Stop]) -> None:
    """A client that was sent away for its pings was read until it closed, and all that it had sent in one turn."""
    request = request_of("GET", "/listen", **_UPGRADE).replace(b"Connection: close", b"Connection: Upgrade")
    frames = (b"\x02\x80" + _MASK if name.startswith("pieces") else b"") + 40_000 * FRAMES[name]

    async def flood() -> int:
        reader, writer = await asyncio.open_connection(LOOPBACK, port_of(server))
        try:
            writer.write(request + frames + b"\x88\x80" + _MASK)
            return int((await reader.read()).split(b" ", 2)[1])
        finally:
            writer.close()

    stop = await measure(f"a WebSocket of empty {name}", flood, stops)
    assert stop.status == 101
    assert stop.seconds < LIMIT_S


@pytest.mark.parametrize("size", [1, 2, 16, MAX_BODY])
@pytest.mark.parametrize("extension", ["", ";a=b"])
async def test_no_chunks_hold_the_loop(server: Server, size: int, extension: str, stops: list[Stop]) -> None:
    """A body of chunks of one byte was put together in one go: 27 ms."""
    body = OFFERS["video lines of all formats"].encode()
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension.encode(), piece) for piece in pieces)
    head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    request = head + chunks + b"0\r\n\r\n"
    stop = await measure(f"POST in chunks of {size}", lambda: exchange(port_of(server), request), stops)
    assert stop.status == 201
    assert stop.seconds < LIMIT_S
    await end_all(server.node)


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/health/live", 405), ("/whip/nobody", 405), ("/whip", 413)]
)
async def test_no_body_that_nobody_reads_holds_the_loop(
    server: Server, path: str, status: int, stops: list[Stop]
) -> None:
    """A refused body of chunks of one byte was read on in one go, after the answer: 27 ms."""
    head = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked").replace(b"/whip", path.encode(), 1)
    request = head + (MAX_BODY + 1) * b"1\r\nx\r\n" + b"0\r\n\r\n"
    stop = await measure(f"POST {path} in chunks of 1", lambda: exchange(port_of(server), request), stops)
    assert stop.status == status
    assert stop.seconds < LIMIT_S


def _token(claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
    return jwt.encode(claims, _JWT_SECRET, "HS256", headers=header)


_ROOM = 8000
"""Characters of a header line; aiohttp takes 8190."""
HEADERS: dict[str, dict[str, str]] = {
    "a long token": {"Authorization": "Bearer " + _ROOM * "a"},
    "a token of dots": {"Authorization": "Bearer " + _ROOM * "."},
    "a token of many claims": {"Authorization": "Bearer " + _token({f"c{n}": n for n in range(500)})},
    "a token for many": {"Authorization": "Bearer " + _token({"sub": "a", "exp": 2**40, "aud": 1200 * ["x"]})},
    "a token of a long subject": {
        "Authorization": "Bearer " + _token({"sub": 5000 * "a", "exp": 2**40, "aud": "voxgender"})
    },
    "a token of a long scope": {
        "Authorization": "Bearer " + _token({"sub": "a", "exp": 2**40, "aud": "voxgender", "scope": 1_800 * "%41 "})
    },
    "a token of a long number": {
        "Authorization": "Bearer " + _token({"sub": "a", "exp": 10**4200, "aud": "voxgender"})
    },
    "a token of a long key id": {"Authorization": "Bearer " + _token({"sub": "a"}, {"kid": 5000 * "k"})},
    "a token nested deep": {"Authorization": "Bearer " + ".".join([b64encode(4000 * b"[").decode(), "e30", "x"])},
    "many tags": {"If-Match": 2000 * '"a",' + '"b"'},
    "commas": {"If-Match": _ROOM * ","},
    "a long event id": {"Last-Event-ID": _ROOM * "9"},
    "many headers": {f"X-{n}": 100 * "y" for n in range(70)},
    "a long origin": {"Origin": "https://" + _ROOM * "a"},
    "a long type": {"Content-Type": "application/sdp" + 2500 * ";a="},
    "a long quoted charset": {"Content-Type": 'application/sdp; charset="' + 3500 * "\\a" + '"'},
    "many encodings": {"Content-Encoding": 1000 * "gzip,"},
    "cookies": {"Cookie": 1500 * "a=b; "},
    "many hops": {"X-Forwarded-For": 1000 * "1.1.1.1,"},
}


@pytest.mark.parametrize("name", HEADERS)
async def test_no_header_holds_the_loop(server: Server, name: str, stops: list[Stop]) -> None:
    path = await a_session(server)
    headers = HEADERS[name]
    body = offers.sdp(_AUDIO, bundle="0").encode()
    requests = [
        request_of("POST", "/whip", body, **{"Content-Type": "application/sdp"} | headers),
        request_of("PATCH", path, b"a=mid:0", **{"Content-Type": FRAGMENT["Content-Type"]} | headers),
        request_of("GET", path, b"", **headers),
        request_of("GET", f"{path}x/events", b"", **headers),
        request_of("GET", "/sessions", b"", **headers),
        request_of("OPTIONS", "/whip", b"", **headers),
        request_of("GET", "/names/studio/events", b"", **headers),
        request_of("GET", "/subjects/ann/events", b"", **headers),
    ]
    for request in requests:
        act = partial(exchange, port_of(server), request)
        stop = await measure(f"{request[:12].decode()} with {name}", act, stops)
        assert stop.status < 500
        assert stop.seconds < LIMIT_S
    await end_all(server.node)


def _signed(method: str, path: str, body: bytes, content_type: str) -> bytes:
    return request_of(
        method, path, body, Content_Type=content_type, Authorization=SECRET.authorization(method, path, body)
    )


PLACEMENTS = {
    "nested arrays": 100_000 * b"[",
    "nested in a field that is not known": b'{"x": ' + 100_000 * b"[" + 100_000 * b"]" + b', "offer": "v=0"}',
    "nested objects": 20_000 * b'{"x":',
    "a map of many": b"{" + b",".join(b'"%d": null' % n for n in range(9_000)) + b"}",
    "a number of a hundred thousand digits": b'{"offer": ' + 100_000 * b"9" + b"}",
    "escapes alone": b'{"offer": "' + 120_000 * rb"\u0007" + b'"}',
    "no text": b'{"offer": "' + 100_000 * b"\xff" + b'"}',
    "a long subject": msgspec.json.encode(OfferRequest(offers.sdp(_AUDIO, bundle="0"), 100_000 * "a")),
}


@pytest.mark.parametrize("name", [*PLACEMENTS, *LONG, *WHOLE])
async def test_nothing_that_signaling_sends_holds_a_nodes_loop(node: FacedNode, name: str, stops: list[Stop]) -> None:
    body = PLACEMENTS[name] if name in PLACEMENTS else msgspec.json.encode(OfferRequest(OFFERS[name]))
    numbers = iter(range(100))

    async def place() -> int:
        return await exchange(node.port, _signed("PUT", f"/offers/{next(numbers)}", body, "application/json"))

    stop = await measure(f"PUT {name}", place, stops)
    assert stop.status in (201, 400, 422)
    assert stop.seconds < LIMIT_S
    await end_all(node.node)


async def test_no_chunks_hold_a_nodes_loop(node: FacedNode, stops: list[Stop]) -> None:
    body = b"x" * MAX_BODY
    head = _signed("PUT", "/offers/x", body, "application/json")[: -len(body)]
    head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    request = head + len(body) * b"1\r\nx\r\n" + b"0\r\n\r\n"
    stop = await measure("PUT in chunks of 1", lambda: exchange(node.port, request), stops)
    assert stop.status == 400
    assert stop.seconds < LIMIT_S


@pytest.mark.parametrize("name", [*LONG, *WHOLE])
async def test_no_offer_holds_signalings_loop(name: str, stops: list[Stop]) -> None:
    async with a_front(source=StaticNodes([])) as front:
        port = front.port
        stop = await measure(f"signaling: POST {name}", lambda: exchange(port, post(OFFERS[name].encode())), stops)
    assert stop.status in (400, 422, 503)
    assert stop.seconds < LIMIT_S


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_no_body_for_a_node_holds_its_loop(node: FacedNode, method: str, stops: list[Stop]) -> None:
    for path in ("/whip/x", "/offers/x", "/sessions", "/node"):
        for name in ("candidate", "unknown attribute"):
            request = _signed(method, path, FRAGMENTS[name].encode(), FRAGMENT["Content-Type"])
            stop = await measure(f"{method} {path} {name}", partial(exchange, node.port, request), stops)
            assert stop.status < 500
            assert stop.seconds < LIMIT_S

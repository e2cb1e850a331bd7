"""Targets that are text: SDP, messages, records, tokens, keys and options."""

import asyncio
import base64
import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from aiohttp.test_utils import make_mocked_request
from aiortc.sdp import SessionDescription
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from multidict import MultiDict

from tests import offers
from tests.fuzz.contract import Breach, Parse, Target, check_line, check_sentence
from voxgender import audiostream, calloptions, cli, options, protocol, received
from voxgender.errors import (
    CallError,
    OptionRefused,
    SdpRejected,
    SettingsError,
    StreamEnded,
    StreamRejected,
    TokenRejected,
)
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import source_of
from voxgender.http import dialects, follower, keys, listen
from voxgender.http.auth import Authenticator
from voxgender.http.cors import cors_middleware
from voxgender.http.iceservers import IceServers
from voxgender.http.proxies import Proxies
from voxgender.http.tokens import JwtVerifier
from voxgender.http.tracks import Tracks
from voxgender.media.localaddresses import local_addresses
from voxgender.media.negotiation import aiortc_offer, complete
from voxgender.peer.whip import endpoint, ice_servers
from voxgender.sdp import MID_EXTENSION, Fragment, Offer
from voxgender.settings import ROLES, ProxyOptions


@contextmanager
def _as_is(parse: Parse) -> Iterator[Parse]:
    yield parse


def _text(parse: Callable[[str], None]) -> Callable[[], Any]:
    return lambda: _as_is(lambda data: parse(data.decode(errors="replace")))


# SDP (RFC 8866), fragments (RFC 8840)


def _offer(text: str) -> None:
    try:
        offer = Offer.parse(text)
    except SdpRejected as error:
        check_sentence(error)
        return
    shown = aiortc_offer(offer)
    if len(shown) > 8_000:
        raise Breach(f"{len(shown)} characters for aiortc")
    answer = complete(offer, str(SessionDescription.parse(shown)))
    if len(re.findall("^m=", answer, re.MULTILINE)) != len(offer.lines):
        raise Breach("another number of media lines in the answer")


def _fragment(text: str) -> None:
    try:
        Fragment.parse(text)
    except SdpRejected as error:
        check_sentence(error)


def _sdp_seeds() -> list[bytes]:
    made = offers.sdp(offers.AUDIO, offers.VIDEO, offers.DATA, bundle="0 1 2")
    voice = offers.AUDIO.replace(
        "\r\n", f"\r\ni=Zoë\r\na=msid:s t\r\na=ssrc:7 cname:x\r\na=extmap:4 {MID_EXTENSION}\r\n", 1
    )
    room = offers.sdp(
        voice, voice.replace("a=mid:0", "a=mid:1").replace("ssrc:7", "ssrc:8"), offers.DATA, bundle="0 1 2"
    )
    return [text.encode() for text in (*offers.CLIENTS.values(), made, room)]


_FRAGMENTS = (
    "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    "a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host generation 0 ufrag abcd\r\na=end-of-candidates\r\n",
    "a=mid:0\r\na=candidate:1 1 tcp 1518280447 2001:db8::1 9 typ host tcptype active\r\n",
    "a=mid:0\r\na=candidate:1 1 udp 1 x-y.local 9 typ srflx raddr 0.0.0.0 rport 0\r\n",
)
_SDP_WORDS = tuple(
    word.encode()
    for word in (
        *("m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=mid:", "a=candidate:", "a=rtpmap:", "a=fmtp:", "a=group:BUNDLE ", "\r"),
        *(
            "a=setup:",
            "a=fingerprint:sha-256 ",
            "typ host",
            " udp ",
            " 127.0.0.1 ",
            " ::1 ",
            "\r\n",
            "\n",
            "opus/48000/2",
        ),
        *(
            "a=ice-ufrag:",
            "a=ice-pwd:",
            "a=sctp-port:",
            "a=rtcp-mux",
            "a=ssrc:",
            "a=recvonly",
            "c=IN IP4 ",
            "a=extmap:",
        ),
    )
)

# Messages


def _message(text: str) -> None:
    """As a peer reads it from the server; what a client sends on a data channel is not looked at."""
    with suppress(ValueError):
        protocol.decode(text).to_json()
    with suppress(ValueError):
        NodeRecord.from_json(text).to_json()


def _message_seeds() -> list[bytes]:
    messages: list[Any] = [
        protocol.Hello(session="a", model="embedded", window_ms=1_000, hop_ms=192),
        protocol.Result(
            seq=1, start=0.0, end=1.0, label="male", confidence=0.9, scores=protocol.Scores(male=0.9, female=0.1),
            latency_ms=3.0, stages_ms={"queue": 1.0},
        ),
        protocol.Change(at=1.0, from_="no_speech", to="male", confidence=0.9),
        protocol.Segment(start=0.0, end=1.0, label="male", confidence=0.9),
        protocol.Summary(duration=1.0, speech=1.0, male=1.0, female=0.0, uncertain=0.0, segments=1),
        protocol.Warning(code="a", message="b"),
        NodeRecord(id="a", url="http://a", capacity=1, sessions=0, load=0.5, version="1"),
    ]  # fmt: skip
    return [
        message.to_json().encode() if isinstance(message, protocol.Message) else message.to_json()
        for message in messages
    ]


_JSON_WORDS = (
    b"null",
    b"1e999",
    b"-1",
    b"[",
    b"{",
    b'"',
    b'"v":2',
    b"\\ud800",
    b"NaN",
    b"true",
    b"[" * 2_000,
    b'{"a":' * 500,
)

# Headers


_PROXIES = Proxies(ProxyOptions(trusted_proxy=("127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32")))


def _header(text: str) -> None:
    """Read a header as proxies write ``X-Forwarded-For``, and as our client reads ``Link``."""
    value = text.replace("\r", "").replace("\n", "").replace("\0", "")
    transport = SimpleNamespace(get_extra_info=lambda name, *_: ("127.0.0.1", 1) if name == "peername" else None)
    request = make_mocked_request("POST", "/whip", {"X-Forwarded-For": value}, transport=transport)
    ipaddress.ip_address(_PROXIES.client(request))
    request = make_mocked_request("POST", "/whip", {"X-Forwarded-Prefix": value}, transport=transport)
    prefix = _PROXIES.prefix(request)
    if prefix and (not prefix.startswith("/") or urlsplit(f"{prefix}/whip").netloc):
        raise Breach(f"the prefix {prefix!r} leads elsewhere")
    ice_servers([text])


_HEADERS = (
    "192.0.2.1, 10.0.0.1",
    "2001:db8::1,::ffff:10.0.0.1, 198.51.100.7",
    "fe80::1%eth0, 127.0.0.1",
    "/team, /voice/",
    '<turn:a?transport=udp>; rel="ice-server"; username="a"; credential="b\\"c"; credential-type="password"',
    "<stun:a>; rel=ice-server, <https://a>; rel=\"next\"; title*=UTF-8''x",
)

# Tokens (RFC 7519) and their keys (RFC 7517)

_SECRET = "a secret of more than thirty-two bytes, as it has to be"


@contextmanager
def _tokens() -> Iterator[Parse]:
    """The first byte says whether the rest is a token, or claims or a header that are signed with the right key."""
    verifier = JwtVerifier(_SECRET, None, audience="voxgender", issuer="")
    with asyncio.Runner() as runner:

        async def check(token: str) -> None:
            try:
                identity = await verifier.check(token)
            except TokenRejected as error:
                check_sentence(error)
            else:
                if not identity.subject.isascii():
                    raise Breach(f"a subject that is not ASCII: {identity.subject!r}")

        def parse(data: bytes) -> None:
            how, body = (data[0] % 3, data[1:]) if data else (0, b"")
            if how == 0:
                token = body.decode(errors="surrogateescape")
            else:
                header = body if how == 2 else b'{"alg":"HS256","typ":"JWT"}'
                claims = b'{"sub":"a","aud":"voxgender","exp":99999999999}' if how == 2 else body
                token = _signed(header, claims)
            runner.run(check(token))

        yield parse


def _signed(header: bytes, claims: bytes) -> str:
    parts = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims))
    digest = hmac.digest(_SECRET.encode(), parts, "sha256")
    return (parts + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


def _token_seeds() -> list[bytes]:
    claims = {
        "sub": "ana",
        "aud": ["voxgender", "x"],
        "exp": 9_999_999_999,
        "nbf": 1,
        "iat": 1.5,
        "scope": "operator x",
    }
    headers = (
        {"alg": "HS256", "typ": "JWT", "kid": "a"},
        {"alg": "none"},
        {"alg": "RS256", "crit": ["b64"], "b64": False},
    )
    return [
        b"\0" + _signed(b'{"alg":"HS256"}', json.dumps(claims).encode()).encode(),
        b"\1" + json.dumps(claims).encode(),
        *(b"\2" + json.dumps(header).encode() for header in headers),
    ]


def _key_set(data: bytes) -> None:
    try:
        keys.parse(data)
    except ValueError as error:
        check_line(error)


@cache
def _key_seeds() -> list[bytes]:
    found: list[dict[str, Any]] = [
        jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65_537, 2_048).public_key(), as_dict=True),
        jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True),
        jwt.algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True),
    ]
    found = [key | {"kid": "a"} for key in found]
    return [json.dumps({"keys": some}).encode() for some in (found, found[:1], found[1:2], found[2:])]


_TOKEN_WORDS = (
    *_JSON_WORDS,
    b'"alg"',
    b'"kid"',
    b'"crit"',
    b'"exp"',
    b'"aud"',
    b'"sub"',
    b".",
    b"HS256",
    b"ES256",
    b'"n":""',
)

# Options


def _settings(text: str) -> None:
    """Options as they are given: lines of the environment, or of a command line."""
    lines = text.splitlines()[:40]
    role, *rest = lines or [""]
    kind = ROLES.get(role)
    try:
        if kind is None:
            with suppress(SystemExit):
                cli.parse([line.replace("\0", "") for line in lines])
            return
        environment = {name: value for name, _, value in (line.partition("=") for line in rest)}
        _use(options.read(kind, {}, environment))
    except SettingsError as error:
        check_line(error)


def _use(settings: Any) -> None:
    """Give each option to what reads it further."""
    if hasattr(settings, "origins"):
        cors_middleware(settings.origins.allow_origin)
        Proxies(settings.proxies)
        servers = settings.ice_servers
        IceServers(servers.ice_server, turn_secret=servers.turn_secret, turn_ttl_s=servers.turn_ttl_s).links(
            subject="a"
        )
        if not settings.auth.jwt_keys:
            Authenticator(settings.auth)
    if hasattr(settings, "media"):
        local_addresses(settings.media.ice_address)
    if hasattr(settings, "node_list") and settings.fleet.secret:
        source_of(settings.fleet.registry, settings.node_list.nodes, Secret(settings.fleet.secret))


_ENVIRONMENTS = (
    "serve\nVOXGENDER_PORT=8080\nVOXGENDER_ICE_ADDRESS=127.0.0.1,10.0.0.0/8\nVOXGENDER_UDP_PORTS=1-2\nVOXGENDER_HOST=::1",
    "serve\nVOXGENDER_ALLOW_ORIGIN=https://www.example.org\nVOXGENDER_ICE_SERVER=turn:a:b@[::1]:3478?transport=tcp,stun:x",
    "serve\nVOXGENDER_TRUSTED_PROXY=10.0.0.0/8,::1\nVOXGENDER_WINDOW_MS=1000\nVOXGENDER_HOP_MS=64\nVOXGENDER_DEVICE=cpu",
    "serve\nVOXGENDER_JWT_SECRET=01234567890123456789012345678901\nVOXGENDER_JWT_AUDIENCE=a\nVOXGENDER_TOKEN=b",
    "serve\nVOXGENDER_CONNECT_TIMEOUT_S=1e3\nVOXGENDER_MAX_SESSIONS=9\nVOXGENDER_TURN_SECRET=a\nVOXGENDER_ICE_SERVER=turn:a",
    "signaling\nVOXGENDER_SECRET=a secret of more than thirty-two bytes\nVOXGENDER_REGISTRY=rediss://u:p@[::1]:6379/0",
    "signaling\nVOXGENDER_SECRET=a secret of more than thirty-two bytes\nVOXGENDER_NODES=http://a:1,dns:b:2",
    "media\nVOXGENDER_NODE_ADDRESS=http://a:1\nVOXGENDER_ADVERTISE_ADDRESS=192.0.2.1\nVOXGENDER_REGION=x",
    "serve\x00\n--port\n8080\n--ice-server=stun:x",
    "call\n--token\nx\n--loss\n5\nlocalhost",
)
_OPTION_WORDS = tuple(
    word.encode()
    for word in (
        *(
            "=",
            "--",
            "\n",
            ",",
            ":",
            "/",
            "@",
            "[",
            "]",
            "-",
            "\0",
            "\x1b[31m",
            "\N{ARABIC-INDIC DIGIT ONE}",
            "1e999",
            "nan",
        ),
        *(
            "0x10",
            "-1",
            "65536",
            "10.0.0.0/33",
            "fe80::1%eth0",
            "http://[",
            "https://\udcff".encode("utf-8", "replace").decode(),
        ),
        *("null", "true", "inf", "--port", "--model", "--ice-server", "VOXGENDER_", "redis://[", "dns::", "\u2028"),
    )
)


def _address(text: str) -> None:
    """A server's address as users type it."""
    for line in text.splitlines()[:5]:
        try:
            endpoint(line)
        except CallError as error:
            check_line(error)


# Streams (/listen, and those of phone gateways)


def _query(text: str) -> None:
    try:
        form = audiostream.parse(dict(parse_qsl(text)))
    except StreamRejected as error:
        check_sentence(error)
        return
    if form.max_message > MAX_STREAM_MESSAGE:
        raise Breach(f"messages of {form.max_message} bytes are taken")


def _call_options(text: str) -> None:
    """The options of a call, as a query and as a token's claim."""
    readers: tuple[Callable[[], calloptions.CallOptions], ...] = (
        lambda: calloptions.read_query(MultiDict(parse_qsl(text, keep_blank_values=True))),
        lambda: calloptions.read(received.decode(text, dict[str, Any])),
    )
    for read in readers:
        try:
            found = read()
        except OptionRefused as error:
            check_sentence(error)
        except ValueError:
            # It is no JSON.
            continue
        else:
            if len(found.name) > calloptions.MAX_NAME or len(found.reference) > calloptions.MAX_REFERENCE:
                raise Breach("an option is longer than it may be")


def _event_id(text: str) -> None:
    if len(follower.read_positions(text)) > follower.MAX_CALLS:
        raise Breach("an id tells of more calls than are followed")


def _stream_text(text: str) -> None:
    try:
        listen._text(text)
    except StreamEnded as ended:
        check_sentence(ended)


def _gateway(text: str) -> None:
    """A media stream's messages, one a line."""
    for gateway in (dialects.Twilio(), dialects.Telnyx(), dialects.Vonage()):
        tracks = Tracks(("inbound", "outbound"), 2, rate_hz=8_000, silence=b"\xff")
        with suppress(StreamEnded):
            for line in text.splitlines()[:50]:
                event = _event_of(line)
                if event is None:
                    continue
                if event.event == gateway.starts:
                    start = gateway.read(event)
                    dialects.stream_format(start, audiostream.StreamFormat(), many=False)
                if event.media is not None:
                    chunk, at_ms = dialects.number(event.media.chunk), dialects.number(event.media.timestamp)
                    tracks.add(event.media.track, chunk, at_ms, event.media.payload.encode())
        if any(len(track.waiting) > MAX_TRACK_BYTES for track in tracks._tracks.values()):
            raise Breach("a track keeps too much")


def _event_of(line: str) -> dialects.Event | None:
    try:
        event: dialects.Event = received.decode(line, dialects.Event)
    except ValueError:
        return None
    return event


MAX_STREAM_MESSAGE = 192_000 * 8 * 4
"""One second of the largest format."""
MAX_TRACK_BYTES = 64_000
"""Two gaps and what lags, with room."""
_QUERIES = (b"encoding=mulaw&rate=8000&channels=2&name=Ana&interim=false&from_ms=1500", b"encoding=opus", b"token=x")
_QUERY_WORDS = (b"&", b"=", b"encoding", b"rate", b"channels", b"name", b"interim", b"from_ms", b"%00", b"192000", b"8")
_GATEWAY_SEEDS = [
    b'{"event":"start","start":{"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw"},"customParameters":{"a":"b"}}}',
    b'{"event":"start","start":{"media_format":{"encoding":"PCMU","sample_rate":8000},"custom_parameters":{}}}',
    b'{"event":"media","media":{"track":"inbound","chunk":"2","timestamp":"40","payload":"/////w=="}}\n'
    b'{"event":"media","media":{"track":"outbound","chunk":"1","timestamp":"2500","payload":"/////w=="}}',
    b'{"event":"websocket:connected","content-type":"audio/l16;rate=16000"}',
    b'{"event":"stop"}',
]

_CALL_OPTIONS = (
    b"name=studio&reference=show+7",
    b'{"name":"studio","reference":"show 7"}',
    b"name=a&name=b",
    b"token=x",
)
_PLACES = (b"3f2a9c01b7de.17,000000000000", b"3f2a9c01b7de.0")

TARGETS = (
    Target(
        name="call options",
        opened=_text(_call_options),
        seeds=lambda: list(_CALL_OPTIONS),
        words=(*_QUERY_WORDS, *_JSON_WORDS, b"reference"),
        cases=300,
        share=3,
    ),
    Target(
        name="event ids",
        opened=_text(_event_id),
        seeds=lambda: list(_PLACES),
        words=(b",", b".", b"0", b"3f2a9c01b7de"),
        cases=200,
        largest=2_000,
    ),
    Target(name="stream queries", opened=_text(_query), seeds=lambda: list(_QUERIES), words=_QUERY_WORDS, share=3),
    Target(
        name="stream texts",
        opened=_text(_stream_text),
        seeds=lambda: [b'{"type":"ping"}', b'{"type":"finalize"}', b'{"v":1,"type":"close"}'],
        words=_JSON_WORDS,
        cases=300,
        share=3,
    ),
    Target(name="gateways", opened=_text(_gateway), seeds=lambda: _GATEWAY_SEEDS, words=_JSON_WORDS, cases=300),
    Target(
        name="offers",
        opened=_text(_offer),
        seeds=_sdp_seeds,
        words=_SDP_WORDS,
        # tests/test_offers_fuzzed.py tries thousands, and so it does fragments.
        cases=0,
        share=20,
        largest=20_000,
    ),
    Target(
        name="fragments",
        opened=_text(_fragment),
        seeds=lambda: [text.encode() for text in _FRAGMENTS],
        words=_SDP_WORDS,
        cases=0,
        largest=20_000,
    ),
    Target(name="messages", opened=_text(_message), seeds=_message_seeds, words=_JSON_WORDS),
    Target(name="tokens", opened=_tokens, seeds=_token_seeds, words=_TOKEN_WORDS, cases=700),
    Target(name="keys", opened=lambda: _as_is(_key_set), seeds=_key_seeds, words=_TOKEN_WORDS),
    Target(
        name="options",
        opened=_text(_settings),
        seeds=lambda: [text.encode() for text in _ENVIRONMENTS],
        words=_OPTION_WORDS,
        cases=400,
        share=5,
    ),
    Target(
        name="headers",
        opened=_text(_header),
        seeds=lambda: [text.encode() for text in _HEADERS],
        words=(*_OPTION_WORDS, b"<", b">", b";", b'"', b"\\", b"rel=", b"ice-server"),
        cases=200,
        share=3,
        largest=8_000,
    ),
    Target(
        name="addresses",
        opened=_text(_address),
        seeds=lambda: [b"http://localhost:8080/whip", b"localhost", b"https://[::1]:1/a?b#c", b"http://u:p@h"],
        words=_OPTION_WORDS,
        largest=500,
    ),
)

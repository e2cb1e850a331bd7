"""Offers of real clients, broken in thousands of ways: each is answered, or refused with a sentence, and nothing stays.

Of 3000 broken offers 12 once got 500 from ``POST``, 97 from ``DELETE``, and 157 left a traceback in the log.
"""

import asyncio
import gc
import json
import logging
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from random import Random

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import offers, options
from tests.fuzz.contract import is_a_sentence
from tests.rtc import FRAGMENT, SDP, Server, a_server
from tests.waits import until
from voxgender.engine import Engine
from voxgender.errors import SdpRejected
from voxgender.media.negotiation import aiortc_offer, complete
from voxgender.sdp import Fragment, Offer
from voxgender.settings import FrontSettings

_SIZES = ("9" * 40, "9" * 3000, "A" * 300)
_SIGNS = (" ", "\t", "\x00", "\x0b", "\x85", "\N{LINE SEPARATOR}", "\N{ARABIC-INDIC DIGIT ONE}", "\N{SUPERSCRIPT TWO}")
_WORDS = """
0 -1 1 127 128 255 65535 65536 4294967296 1e9 0x10 +1 * - : / ; a % ' " IN IP6 127.0.0.1 ::1 0.0.0.0 256.1.1.1 x.local
example.org udp tcp host BUNDLE holdconn active passive opus/48000/2 opus PCMU/8000 sha-256 sha-1
webrtc-datachannel RTP/AVP
"""
ODD = ("", *_SIZES, *_SIGNS, *_WORDS.split())

LINES = """
m=
m=audio
m=audio 9 UDP/TLS/RTP/SAVPF 111
m=audio 0 RTP/AVP 0
m=application 9 DTLS/SCTP 5000
m=application 9 DTLS/SCTP x
m=video 9 RTP/SAVPF 96
m=text 9 x y
a=sendrecv
a=recvonly
a=inactive
a=bundle-only
a=mid:0
a=mid:
a=group
a=group:
a=group:BUNDLE
a=group:BUNDLE 0 0 1
a=ice-lite
a=ice-ufrag
a=ice-ufrag:
a=ice-pwd:x
a=setup:
a=setup:holdconn
a=setup:active
a=fingerprint:
a=fingerprint:sha-256
a=fingerprint:sha-1 AB:CD
a=rtcp-mux
a=rtpmap:
a=rtpmap:111
a=rtpmap:111 x
a=rtpmap:111 opus/0
a=fmtp:
a=extmap:
a=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:15 urn:ietf:params:rtp-hdrext:sdes:mid
a=candidate:
a=candidate:1 1 udp 1 127.0.0.1 9 typ host
a=candidate:1 1 udp x y z typ host
a=candidate:1 1 udp 1 ::1 9 typ host
a=candidate:1 1 udp 1 x.local 9 typ host
a=end-of-candidates
a=sctp-port:
a=sctp-port:0
a=max-message-size:0
a=max-message-size:1
a=ssrc:x
a=
a
=
c=IN IP4
v=0
v=1
hello
""".splitlines()


def broken(seed: int) -> str:
    """An offer of a client with up to eight things done to it."""
    chance = Random(seed)
    lines = chance.choice(list(offers.CLIENTS.values())).split("\r\n")
    for _ in range(chance.randint(1, 8)):
        lines = lines or [""]
        at = chance.randrange(len(lines))
        match chance.randrange(10):
            case 0:
                del lines[at : at + chance.randint(1, 4)]
            case 1:
                lines.insert(at, chance.choice(LINES))
            case 2:
                lines[at] = chance.choice(LINES)
            case 3:
                words = re.split(r"([ :/;=,])", lines[at])
                words[chance.randrange(len(words))] = chance.choice(ODD)
                lines[at] = "".join(words)
            case 4:
                cut = chance.randint(0, len(lines[at]))
                lines[at] = lines[at][:cut] + chance.choice(ODD) + lines[at][cut + 1 :]
            case 5:
                kind = lines[at].partition(":")[0]
                lines = [line for line in lines if not line.startswith(kind)]
            case 6:
                lines[at : at + 1] = [lines[at]] * chance.randint(2, 200)
            case 7:
                other = chance.choice(list(offers.CLIENTS.values())).split("\r\n")
                start = chance.randrange(len(other))
                lines[at:at] = other[start : start + chance.randint(1, 40)]
            case 8:
                to = chance.randrange(len(lines))
                lines[at], lines[to] = lines[to], lines[at]
            case _:
                lines = lines[: at + 1] if chance.random() < 0.2 else lines
    return chance.choice(("\r\n", "\r\n", "\r\n", "\n", "\r")).join([*lines, ""])


BROKEN = st.integers(0, 2**48).map(broken)
"""By a seed: the strategies of hypothesis would take longer to make an offer than the parser to read it."""


@pytest.mark.parametrize("client", offers.CLIENTS)
def test_the_offers_of_clients_are_understood(client: str) -> None:
    offer = Offer.parse(offers.CLIENTS[client])
    assert offer.codecs[0].name == "OPUS"
    assert (offer.data is not None) == (client not in ("obs", "gstreamer"))


@given(BROKEN)
@settings(max_examples=3000, deadline=None)
def test_a_broken_offer_is_understood_or_refused_with_a_sentence(text: str) -> None:
    """And aiortc can read all that it is shown, with no more lines and words than its own offers have."""
    try:
        offer = Offer.parse(text)
    except SdpRejected as error:
        refusal = str(error)
    else:
        description = SessionDescription.parse(aiortc_offer(offer))
        assert description.media[0].rtp.codecs
        assert len(aiortc_offer(offer)) < 8000
        answer = complete(offer, str(description)).split("\r\n")
        assert [line.split()[0] for line in answer if line.startswith("m=")] == [
            f"m={line.kind}" for line in offer.lines
        ]
        return
    assert is_a_sentence(refusal), refusal


@given(BROKEN)
@settings(max_examples=1000, deadline=None)
def test_a_broken_fragment_is_understood_or_refused_with_a_sentence(text: str) -> None:
    try:
        Fragment.parse(text)
    except SdpRejected as error:
        refusal = str(error)
    else:
        return
    assert is_a_sentence(refusal), refusal


class Strange:
    """A real server that gets one strange request after another, in an event loop of its own."""

    def __init__(self, engine: Engine) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        # All of them come from one address, faster than any client's.
        settings = options.given(FrontSettings, offers_per_minute=0)
        server = a_server(engine, settings=settings)
        self._server: Server = self._runner.run(self._stack.enter_async_context(server))
        self._tasks = self._runner.run(self._count_tasks())

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def post(self, offer: str, fragment: str) -> int:
        """Open a call, trickle, end it; the status of the first."""
        return self._runner.run(self._post(offer, fragment))

    async def _post(self, offer: str, fragment: str) -> int:
        http, node = self._server.http, self._server.node
        async with http.post("/whip", data=offer.encode(), headers=SDP) as response:
            status, body = response.status, await response.read()
            location = response.headers.get("Location", "/whip/none")
        if status != 201:
            assert status in (400, 413, 422), body
            assert response.content_type == "application/problem+json"
            assert is_a_sentence(json.loads(body)["detail"]), body
        async with http.patch(location, data=fragment.encode(), headers=FRAGMENT) as response:
            assert response.status in (204, 400, 404, 413, 422), await response.text()
        async with http.delete(location) as response:
            assert response.status == (200 if status == 201 else 404), await response.text()
        assert node.live == 0
        assert node.sockets.shared == []

        async def are_gone() -> bool:
            return await self._count_tasks() <= self._tasks

        await until(are_gone)
        return status

    async def _count_tasks(self) -> int:
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
        # Connections that the client keeps open are aiohttp's.
        return sum(not name.startswith("RequestHandler") for name in names)


@pytest.fixture(scope="module")
def strange(engine: Engine) -> Iterator[Strange]:
    strange = Strange(engine)
    yield strange
    strange.close()


def test_a_server_answers_or_refuses_a_broken_offer_and_nothing_of_it_stays(
    strange: Strange, caplog: pytest.LogCaptureFixture
) -> None:
    statuses = []

    @given(BROKEN, BROKEN)
    @settings(max_examples=300, deadline=None)
    def every(offer: str, fragment: str) -> None:
        statuses.append(strange.post(offer, fragment))

    with caplog.at_level(logging.WARNING):
        every()
        # Exceptions that nobody retrieved are logged when their tasks are freed.
        gc.collect()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert statuses.count(201) > 30

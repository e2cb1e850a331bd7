"""Options of one call, by every way in: told back, bound by tokens, and carried through a fleet."""

import asyncio
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.http.signing import AS_ALL, SECRET, SHARED_TOKEN, as_token
from tests.http.test_follow import following, next_of, publish
from tests.http.test_gateways import CONNECTED, STOP, media, say, twilio_start
from tests.http.test_listen import SECOND, finish, of, refusal, until_closed
from tests.options import given
from tests.rtc import SDP, ToneTrack, a_peer, a_server
from tests.support import silence
from voxgender import protocol
from voxgender.calloptions import MAX_REFERENCE, MAX_TAG, MAX_TAGS
from voxgender.engine import Engine
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.settings import FrontSettings

LOCKED = given(FrontSettings, token=SHARED_TOKEN, jwt_secret=SECRET)
WHOLE = "name=studio&reference=show%207&tags=pilot,team%20a&hop_ms=576&messages=segment,result"


def dialogue() -> bytes:
    parts = [silence(0.5), speak(MAN, 2.0), speak(WOMAN, 2.0), silence(0.5)]
    return (np.concatenate(parts) * 32_767).astype("<i2").tobytes()


async def send(socket: ClientWebSocketResponse, audio: bytes) -> None:
    for start in range(0, len(audio), 32_000):
        await socket.send_bytes(audio[start : start + 32_000])


def check_told(hello: protocol.Message) -> None:
    assert isinstance(hello, protocol.Hello)
    assert (hello.name, hello.reference, hello.tags) == ("studio", "show 7", ("pilot", "team a"))
    assert (hello.hop_ms, hello.messages) == (576, ("result", "segment", "summary"))
    assert hello.limits is not None
    assert (hello.limits.hop_step_ms, hello.limits.max_hop_ms) == (192, 1_920)
    assert (hello.limits.max_voices, hello.limits.silence_s) == (8, 15.0)


async def test_a_whip_call_tells_back_all_options_and_the_server_s_limits(http: ClientSession) -> None:
    async with following(http, "/names/studio/events") as told, a_peer(ToneTrack()) as peer:
        peer.channels()
        session = await publish(peer, http, f"?{WHOLE}")
        hello = await peer.until(protocol.Hello)
        check_told(hello)
        start, greeted = await next_of(told, 2)
        assert start.message == protocol.Start(name="studio", reference="show 7", tags=("pilot", "team a"))
        check_told(greeted.message)
        async with http.delete(f"/whip/{session}") as response:
            assert response.status == 200
        summary = await peer.until(protocol.Summary)
        assert isinstance(summary, protocol.Summary)
        assert summary.tags == ("pilot", "team a")


async def test_a_stream_tells_them_back_too_and_by_a_ticket(http: ClientSession) -> None:
    async with http.ws_connect(f"/listen?{WHOLE}", headers=AS_ALL) as socket:
        check_told(protocol.decode(await socket.receive_str()))
        await socket.send_bytes(SECOND)
        (summary,) = of(protocol.Summary, await finish(socket))
        assert summary.tags == ("pilot", "team a")
    async with http.post(f"/listen?{WHOLE}", headers=AS_ALL) as response:
        assert response.status == 201
        url = (await response.json())["url"]
    async with http.ws_connect(url) as socket:
        hello = protocol.decode(await socket.receive_str())
        check_told(hello)
        assert isinstance(hello, protocol.Hello)
        assert hello.limits is not None
        assert (hello.limits.messages_per_s, hello.limits.longest_s) == (50, 86_400)
        await finish(socket)


async def test_the_longest_options_fit_into_a_ticket_of_another_instance(engine: Engine) -> None:
    """A sealed ticket holds the options of its call, and one that was too long was none."""
    face = "\N{GRINNING FACE}"
    tags = ",".join(f"{number}".rjust(MAX_TAG, "é") for number in range(MAX_TAGS))
    query = {"tags": tags, "reference": face * MAX_REFERENCE, "name": "é" * 100, "messages": "change"}
    async with a_server(engine, settings=LOCKED) as one, a_server(engine, settings=LOCKED) as other:
        async with one.http.post("/listen", params=query, headers=AS_ALL) as response:
            assert response.status == 201, await response.text()
            url = (await response.json())["url"]
        async with other.http.ws_connect(url) as socket:
            hello = protocol.decode(await socket.receive_str())
            assert isinstance(hello, protocol.Hello)
            assert ",".join(hello.tags or ()) == tags
            assert hello.reference == face * MAX_REFERENCE
            await finish(socket)


@pytest.mark.parametrize("hop_ms", ["191", "200", "64", "2112"])
async def test_a_hop_that_does_not_fit_is_refused_with_those_that_do(http: ClientSession, hop_ms: str) -> None:
    fitting = "192, 384, 576, …, 1920"
    async with a_peer(ToneTrack()) as peer:
        offer = await peer.offer()
        async with http.post(f"/whip?hop_ms={hop_ms}", data=offer, headers=SDP | AS_ALL) as response:
            problem = await response.json()
            assert (response.status, problem["code"]) == (400, "option_refused")
            assert fitting in problem["detail"]
        bound = as_token(call={"hop_ms": int(hop_ms)})
        async with http.post("/whip", data=offer, headers=SDP | bound) as response:
            assert fitting in (await response.json())["detail"]
    assert fitting in (await refusal(http, f"/listen?hop_ms={hop_ms}", 400, "option_refused", **AS_ALL))["detail"]
    async with http.post(f"/listen?hop_ms={hop_ms}", headers=AS_ALL) as response:
        assert fitting in (await response.json())["detail"]


@pytest.mark.parametrize(
    ("claim", "query"),
    [
        ({"tags": ["a"]}, "tags=b"),
        ({"tags": ["a"]}, "tags=a,b"),
        ({"hop_ms": 384}, "hop_ms=192"),
        ({"messages": ["change"]}, "messages=change,result"),
    ],
)
async def test_a_token_binds_options_and_a_query_must_not_change_them(
    http: ClientSession, claim: dict[str, Any], query: str
) -> None:
    bound = as_token(call=claim)
    problem = await refusal(http, f"/listen?{query}", 400, "option_refused", **bound)
    assert "binds" in problem["detail"]
    async with http.ws_connect("/listen", headers=bound) as socket:
        hello = json.loads(await socket.receive_str())
        for option, value in claim.items():
            assert hello[option] == [*value, "summary"] if option == "messages" else value
        await finish(socket)


@pytest.mark.parametrize("claim", [{"tags": "a"}, {"hop_ms": "384"}, {"messages": ["hello"]}, {"tags": ["a"] * 9}])
async def test_a_token_whose_options_are_none_is_refused_as_a_whole(engine: Engine, claim: dict[str, Any]) -> None:
    async with a_server(engine, settings=LOCKED) as server:
        problem = await refusal(server.http, "/listen", 401, "unauthorized", **as_token(call=claim))
        assert "claim 'call'" in problem["detail"]


async def test_a_longer_hop_tells_fewer_results_and_the_same_of_all_else(hearing: Engine) -> None:
    """Its results cover the audio without a gap, and changes and segments come as they would without it."""
    told = {}
    async with a_server(hearing) as server:
        for query in ("", "?hop_ms=576"):
            async with server.http.ws_connect(f"/listen{query}") as socket:
                await send(socket, dialogue())
                told[query] = await finish(socket)
    plain, joined = (of(protocol.Result, told[query]) for query in told)
    assert len(plain) / 4 < len(joined) < len(plain) / 2
    assert [result.seq for result in joined] == list(range(1, len(joined) + 1))
    assert (joined[0].start, joined[-1].end) == (plain[0].start, plain[-1].end)
    assert all(before.end == after.start for before, after in pairwise(joined))
    by_end = {result.end: result for result in plain}
    assert all(by_end[result.end].label == result.label for result in joined)
    for kind in (protocol.Change, protocol.Segment):
        assert of(kind, told["?hop_ms=576"]) == of(kind, told[""])
    assert of(protocol.Change, told[""])


@pytest.mark.parametrize(
    ("query", "comes"),
    [
        ("messages=change,segment", {"hello", "change", "segment", "summary"}),
        ("messages=change", {"hello", "change", "summary"}),
        ("messages=summary", {"hello", "summary"}),
        ("interim=false", {"hello", "change", "segment", "summary"}),
        ("interim=false&messages=change", {"hello", "change", "summary"}),
    ],
)
async def test_a_stream_is_told_the_messages_that_it_wants(hearing: Engine, query: str, comes: set[str]) -> None:
    async with a_server(hearing) as server, server.http.ws_connect(f"/listen?{query}") as socket:
        await send(socket, dialogue())
        messages = await finish(socket)
    assert {message.type for message in messages} == comes
    assert isinstance(messages[0], protocol.Hello)
    assert set(messages[0].messages or ()) == comes - {"hello"}


async def test_results_that_are_wanted_and_not_wanted_are_refused(http: ClientSession) -> None:
    # All of them are asked for as well as one.
    for messages in ("result", "result,change,segment"):
        problem = await refusal(http, f"/listen?interim=false&messages={messages}", 400, "option_refused", **AS_ALL)
        assert "interim" in problem["detail"]
    bound = as_token(call={"messages": ["result"]})
    await refusal(http, "/listen?interim=false", 400, "option_refused", **bound)


async def test_a_client_that_wants_only_changes_gets_no_result_and_a_follower_chooses_for_itself(
    http: ClientSession,
) -> None:
    """A publisher that wanted little would have silenced those who follow it."""
    async with a_peer(ToneTrack()) as peer:
        heard: list[str] = []
        peer.channel("results", ordered=False, maxRetransmits=0).on("message", heard.append)
        peer.channel("events")
        session = await publish(peer, http, "?name=studio&messages=change")
        async with (
            http.get(f"/whip/{session}/events?messages=result") as wants_results,
            http.get(f"/whip/{session}/events") as as_the_call,
            http.get("/names/studio/events?messages=result", headers=AS_ALL) as by_name,
            asyncio.timeout(10),
        ):
            for stream in (wants_results, by_name):
                while b'"type":"result"' not in await stream.content.readline():
                    pass
            # Several results have come by now.
            async with http.delete(f"/whip/{session}") as response:
                assert response.status == 200
            types = [json.loads(line[6:])["type"] async for line in as_the_call.content if line.startswith(b"data: ")]
        assert types == ["hello", "summary", "end"]
        await peer.until(protocol.Summary)
        assert {json.loads(text)["type"] for text in heard} == {"hello"}


@pytest.mark.parametrize("path", ["/whip/SESSION/events", "/names/studio/events", "/subjects/ann/events"])
async def test_a_follower_that_wants_what_there_is_not_is_told(http: ClientSession, path: str) -> None:
    async with http.get(f"{path}?messages=results", headers=AS_ALL) as response:
        assert (response.status, (await response.json())["code"]) == (400, "option_refused")


async def test_a_late_channel_is_told_only_the_past_events_that_are_wanted(hearing: Engine) -> None:
    async with a_server(hearing) as server, server.http.ws_connect("/listen?messages=segment") as socket:
        hello = protocol.decode(await socket.receive_str())
        assert isinstance(hello, protocol.Hello)
        await send(socket, dialogue())
        await socket.send_str('{"type":"finalize"}')
        while not isinstance(protocol.decode(await socket.receive_str()), protocol.Segment):
            pass
        async with server.http.get(f"/whip/{hello.session}/events") as late:
            await finish(socket)
            types = [json.loads(line[6:])["type"] async for line in late.content if line.startswith(b"data: ")]
    assert set(types) == {"hello", "segment", "summary", "end"}


async def test_a_gateway_s_custom_parameters_are_options_too(engine: Engine) -> None:
    """Twilio drops the query of a URL, so its callers could give a call no reference."""
    async with (
        a_server(engine, settings=LOCKED) as server,
        following(server.http, "/subjects/ann/events") as told,
        server.http.ws_connect("/listen/twilio") as socket,
    ):
        token = as_token()["Authorization"].removeprefix("Bearer ")
        parameters = {"token": token, "tags": "pilot,phone", "reference": "CA1", "From": "+1"}
        await say(socket, CONNECTED, twilio_start("inbound", **parameters))
        await say(socket, media("inbound", 0, b"\xff" * 160), STOP)
        start, hello = await next_of(told, 2)
        assert start.message == protocol.Start(subject="ann", reference="CA1", tags=("pilot", "phone"))
        assert isinstance(hello.message, protocol.Hello)
        assert hello.message.tags == ("pilot", "phone")
        await until_closed(socket)


async def test_a_gateway_s_custom_parameter_that_is_not_taken_ends_its_stream(engine: Engine) -> None:
    async with a_server(engine) as server, server.http.ws_connect("/listen/twilio") as socket:
        await say(socket, CONNECTED, twilio_start("inbound", hop_ms="200"))
        _, code, reason = await until_closed(socket)
    assert (code, "192, 384" in reason) == (1008, True)

"""Calls followed by their name or their caller's subject, by programs that know no session's URL."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import jwt
import pytest
from aiohttp import ClientResponse, ClientSession

from tests.http.signing import AS_ALL, SECRET, SHARED_TOKEN, as_token
from tests.options import given
from tests.rtc import SDP, Peer, ToneTrack, a_peer, a_server
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.http.app import ClientLimits
from voxgender.http.follow import MAX_FOLLOWERS_EACH
from voxgender.http.follower import MAX_CALLS, read_positions
from voxgender.sessionids import call_hash
from voxgender.settings import FrontSettings

SHARED = given(FrontSettings, token=SHARED_TOKEN, jwt_secret=SECRET)
SECOND = bytes(32_000)


class Event(NamedTuple):
    id: str
    kind: str
    call: str
    message: protocol.AnyMessage


async def events(response: ClientResponse) -> AsyncIterator[Event]:
    """Read a stream of events, but for results."""
    id_ = kind = ""
    async for line in response.content:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        match field:
            case "id":
                id_ = value
            case "event":
                kind = value
            case "data":
                message = protocol.decode(value)
                if not isinstance(message, protocol.Result):
                    yield Event(id_, kind, json.loads(value)["call"], message)
                kind = ""


@asynccontextmanager
async def following(
    http: ClientSession, path: str, *, last: str = "", headers: dict[str, str] = AS_ALL
) -> AsyncIterator[AsyncIterator[Event]]:
    async with http.get(path, headers=headers | ({"Last-Event-ID": last} if last else {})) as response:
        assert response.status == 200, await response.text()
        yield events(response)


async def next_of(told: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(10):
        return [await anext(told) for _ in range(count)]


async def publish(peer: Peer, http: ClientSession, query: str = "?name=studio", **headers: str) -> str:
    """Place a call as OBS does; return its session's id."""
    async with http.post(f"/whip{query}", data=await peer.offer(), headers=SDP | (headers or AS_ALL)) as response:
        assert response.status == 201, await response.text()
        await peer.accept(await response.text())
        return response.headers["Location"].rpartition("/")[2]


async def test_a_publisher_s_name_is_followed_before_during_and_after_its_call(http: ClientSession) -> None:
    """OBS tells the session's URL to nobody, so nobody could read what was heard in its stream."""
    async with following(http, "/names/studio/events") as told:
        async with a_peer(ToneTrack()) as peer:
            session = await publish(peer, http)
            start, hello = await next_of(told, 2)
            assert (start.kind, start.message) == ("start", protocol.Start(name="studio"))
            assert isinstance(hello.message, protocol.Hello)
            # The id would let a follower end the call.
            assert hello.message.session == hello.call == start.call == call_hash(session)
            assert hello.message.name == "studio"
            async with http.delete(f"/whip/{session}") as response:
                assert response.status == 200
        *_, summary, end = await next_of(told, 2)
        assert isinstance(summary.message, protocol.Summary)
        assert (end.kind, end.message, end.id) == ("end", protocol.End(reason="deleted"), "")
        async with a_peer(ToneTrack()) as again:
            session = await publish(again, http)
            (start,) = await next_of(told, 1)
            assert (start.kind, start.call) == ("start", call_hash(session))


async def test_the_newest_of_two_publishers_of_a_name_is_told(http: ClientSession) -> None:
    """A publisher that reconnects comes while its old call has not been given up yet."""
    async with (
        a_peer(ToneTrack()) as old,
        a_peer(ToneTrack()) as new,
        following(http, "/names/studio/events") as told,
    ):
        first = await publish(old, http)
        await next_of(told, 2)
        second = await publish(new, http)
        end, start, hello = await next_of(told, 3)
        assert (end.call, end.message) == (call_hash(first), protocol.End(reason="replaced"))
        assert (start.kind, start.call, hello.call) == ("start", call_hash(second), call_hash(second))
        # The old call goes on for those who know its URL.
        async with http.get(f"/whip/{first}") as response:
            assert (await response.json())["state"] == "connected"


async def test_a_reader_that_comes_back_is_told_nothing_twice(http: ClientSession) -> None:
    async with a_peer(ToneTrack()) as peer:
        session = await publish(peer, http)
        async with following(http, "/names/studio/events") as told:
            start, hello = await next_of(told, 2)
        assert start.id == call_hash(session)
        assert hello.id == f"{call_hash(session)}.0"
        async with following(http, "/names/studio/events", last=start.id) as told:
            assert [event.message.type for event in await next_of(told, 1)] == ["hello"]
        async with following(http, "/names/studio/events", last=hello.id) as told:
            async with http.delete(f"/whip/{session}") as response:
                assert response.status == 200
            assert [event.message.type for event in await next_of(told, 2)] == ["summary", "end"]
    # A call that has ended while the reader was away ends for it, too: once.
    async with following(http, "/names/studio/events", last=hello.id) as told:
        (end,) = await next_of(told, 1)
        assert (end.id, end.call, end.message) == ("", call_hash(session), protocol.End(reason="unknown"))


async def test_a_caller_is_followed_by_its_subject_in_all_of_its_calls(http: ClientSession) -> None:
    """A token's holder could not find its caller. Over a WebSocket and over WebRTC at once."""
    ann = as_token(sub="ann@example.org")
    follower = as_token(sub="backend", scope="call follow:subjects/ann%40example.org")
    async with (
        following(http, "/subjects/ann%40example.org/events", headers=follower) as told,
        a_peer(ToneTrack()) as peer,
        http.ws_connect("/listen?reference=order-7", headers=ann) as socket,
    ):
        await socket.send_bytes(SECOND)
        first = await next_of(told, 2)
        assert first[0].message == protocol.Start(subject="ann@example.org", reference="order-7")
        session = await publish(peer, http, "", **ann)
        (second,) = await next_of(told, 1)
        assert second.call == call_hash(session) != first[0].call
        # The id is the place in both, so that both go on from there.
        assert {place.partition(".")[0] for place in second.id.split(",")} == {first[0].call, second.call}
        await socket.send_str('{"type":"close"}')
        assert {event.message.type for event in await next_of(told, 3)} >= {"summary", "end"}


@pytest.mark.parametrize(
    ("path", "allowed", "not_allowed"),
    [
        ("/names/studio/events", "follow:names/studio", ["follow:names/studio2", "follow:subjects/studio", "follow:"]),
        ("/subjects/ann/events", "x follow:subjects/ann", ["follow:names/ann", "FOLLOW:subjects/ann", "operators"]),
        ("/subjects/a%20b/events", "follow:subjects/a%20b", ["follow:subjects/a b", "follow:subjects/a"]),
    ],
)
async def test_only_a_token_whose_scope_says_so_lets_follow(
    engine: Engine, path: str, allowed: str, not_allowed: list[str]
) -> None:
    async with a_server(engine, settings=SHARED) as server:
        for scope in (allowed, "operator"):
            async with server.http.get(path, headers=as_token(scope=scope)) as response:
                assert response.status == 200
        details = set()
        for name in (path, path.replace("studio", "nobody").replace("ann", "nobody")):
            for scope in not_allowed:
                async with server.http.get(name, headers=as_token(scope=scope)) as response:
                    assert response.status == 403
                    assert "follow:" in response.headers["WWW-Authenticate"]
                    details.add((await response.json())["detail"])
        # Nothing tells whether there is such a call.
        assert len(details) == 1
        async with server.http.get(path) as response:
            assert response.status == 401
        async with server.http.options(path, headers={"Origin": "https://a.example"}) as response:
            assert response.headers["Allow"] == "GET, OPTIONS"


async def test_an_open_server_lets_nobody_follow_a_name_that_can_be_guessed(engine: Engine) -> None:
    async with a_server(engine) as server, server.http.get("/names/studio/events") as response:
        assert response.status == 403
        assert (await response.json())["code"] == "tokens_required"


async def test_a_stream_of_events_ends_with_the_token(engine: Engine) -> None:
    token = jwt.encode({"sub": "b", "aud": "voxgender", "exp": time.time() + 0.3, "scope": "operator"}, SECRET, "HS256")
    async with (
        a_server(engine, settings=SHARED) as server,
        asyncio.timeout(5),
        server.http.get("/names/x/events", headers={"Authorization": f"Bearer {token}"}) as response,
    ):
        assert response.status == 200
        assert await response.read() == b""


async def test_a_caller_s_own_token_names_its_calls(engine: Engine) -> None:
    """A caller with any token could have spoken as the studio to those who follow it."""
    async with a_server(engine, settings=SHARED) as server, a_peer(ToneTrack()) as peer:
        offer = await peer.offer()
        bound = as_token(call={"name": "studio", "reference": "show 7"})
        for headers, query, status, code in (
            (as_token(), "?name=studio", 403, "name_not_allowed"),
            (bound, "?name=another", 400, "option_refused"),
            (as_token(call={"name": "../x"}), "", 401, "unauthorized"),
            (as_token(call={"colour": "blue"}), "", 401, "unauthorized"),
            (as_token(call="studio"), "", 401, "unauthorized"),
        ):
            async with server.http.post(f"/whip{query}", data=offer, headers=SDP | headers) as response:
                assert (response.status, (await response.json())["code"]) == (status, code)
        peer.channels()
        await publish(peer, server.http, "?name=studio", **bound)
        hello = await peer.until(protocol.Hello)
        assert isinstance(hello, protocol.Hello)
        assert (hello.name, hello.reference) == ("studio", "show 7")
        # A stream's name is shown, and followed only where its token allows that.
        ann = as_token(sub="ann")
        async with (
            following(server.http, "/names/lobby/events") as told,
            server.http.ws_connect("/listen?name=lobby", headers=ann) as shown,
            server.http.ws_connect("/listen?name=lobby", headers=AS_ALL) as followed,
        ):
            for socket in (shown, followed):
                assert '"name":"lobby"' in await socket.receive_str()
                await socket.send_bytes(SECOND)
            (start,) = await next_of(told, 1)
            assert start.message == protocol.Start(name="lobby")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?name=", "64"),
        ("?name=.hidden", "letter or a digit"),
        ("?name=" + "a" * 65, "64"),
        ("?name=a%2Fb", "characters"),
        ("?name=caf%C3%A9", "characters"),
        ("?name=a%00b", "characters"),
        ("?name=a&name=b", "twice"),
        ("?names=a", "not known"),
        ("?token=s3cret", "logged"),
        ("?reference=" + "x" * 129, "128"),
        ("?reference=%0A", "printable"),
    ],
)
async def test_an_option_that_is_not_taken_gets_one_clear_sentence(engine: Engine, query: str, said: str) -> None:
    async with a_server(engine) as server, a_peer(ToneTrack()) as peer:
        async with server.http.post(f"/whip{query}", data=await peer.offer(), headers=SDP) as response:
            problem = await response.json()
            assert (response.status, problem["code"]) == (400, "option_refused")
            assert said in problem["detail"]
            assert "s3cret" not in problem["detail"]
        assert not server.node.live


@pytest.mark.parametrize("name", ["%2e%2e", "a%2Fb", "a" * 65, "caf%C3%A9", "-a", "%20"])
async def test_a_name_that_no_call_can_have_is_refused(engine: Engine, name: str) -> None:
    async with (
        a_server(engine, settings=SHARED) as server,
        server.http.get(f"/names/{name}/events", headers=AS_ALL) as response,
    ):
        assert response.status in (400, 404)


@pytest.mark.parametrize(
    "hostile",
    [
        "x",
        "3f2a9c01b7de.-1",
        "3f2a9c01b7de.1,",
        "3f2a9c01b7de.1,,3f2a9c01b7df.2",
        "3F2A9C01B7DE.1",
        "3f2a9c01b7de.١",
        "3f2a9c01b7de." + "1" * 16,
        ",".join(f"{number:012x}.1" for number in range(MAX_CALLS + 1)),
        "3f2a9c01b7de.1," * 5_000,
        "3f2a9c01b7de.1 ",
    ],
)
def test_an_id_that_this_server_never_gave_counts_as_none(hostile: str) -> None:
    assert read_positions(hostile) == {}


def test_a_place_in_several_calls_is_read() -> None:
    assert read_positions("3f2a9c01b7de.17,000000000000") == {"3f2a9c01b7de": 17, "000000000000": None}


async def test_a_reader_that_leaves_gives_its_place_back_at_once(http: ClientSession) -> None:
    """Notice that a reader has left though there is nothing to tell it.

    A page was loaded anew some times, or a proxy cut its stream. Readers that had left kept their places until the next
    comment, 15 s later, and the page got 503, after which a browser's ``EventSource`` does not try again.
    """
    async with AsyncExitStack() as stack:
        for _ in range(MAX_FOLLOWERS_EACH):
            await stack.enter_async_context(following(http, "/names/a/events"))
        async with http.get("/names/a/events", headers=AS_ALL) as response:
            assert response.status == 503
    async with asyncio.timeout(5):
        while response.status == 503:
            async with http.get("/names/a/events", headers=AS_ALL) as response:
                pass
    assert response.status == 200


async def test_readers_of_one_name_leave_places_to_those_of_others(engine: Engine) -> None:
    """One token that may follow one name took all places, so that operators were refused."""
    async with a_server(engine, settings=SHARED) as server, AsyncExitStack() as stack:
        for _ in range(MAX_FOLLOWERS_EACH):
            await stack.enter_async_context(following(server.http, "/names/a/events"))
        async with server.http.get("/names/a/events", headers=AS_ALL) as response:
            assert response.status == 503
        await stack.enter_async_context(following(server.http, "/names/b/events"))


async def test_one_subject_s_tokens_follow_half_of_all_at_most(engine: Engine) -> None:
    """A token that may follow many names took all places, and the operator's own program found none."""
    limits = ClientLimits(followed_by_one=3)
    scope = " ".join(f"follow:names/n{number}" for number in range(4))
    many, short = as_token(scope=scope), as_token(scope=scope, exp=time.time() + 1.5)
    async with a_server(engine, settings=SHARED, clients=limits) as server, AsyncExitStack() as stack:
        read = [
            await stack.enter_async_context(server.http.get(f"/names/n{number}/events", headers=short))
            for number in range(3)
        ]
        assert [response.status for response in read] == [200, 200, 200]
        async with server.http.get("/names/n3/events", headers=many) as response:
            assert response.status == 429
            assert response.headers["Retry-After"]
            assert (await response.json())["code"] == "too_many_requests"
        await stack.enter_async_context(following(server.http, "/names/n3/events"))
        other = as_token(sub="bob", scope=scope)
        await stack.enter_async_context(following(server.http, "/names/n3/events", headers=other))
        async with asyncio.timeout(10):
            assert [await response.read() for response in read] == [b"", b"", b""]
        await stack.enter_async_context(following(server.http, "/names/n3/events", headers=many))


async def test_readers_with_a_token_are_counted_by_its_subject_wherever_they_are(engine: Engine) -> None:
    settings = given(
        FrontSettings, jwt_secret=SECRET, offers_per_minute=1, trusted_proxy=("127.0.0.0/8",), token=SHARED_TOKEN
    )
    token = as_token(scope="follow:names/a")
    async with a_server(engine, settings=settings) as server:
        statuses = []
        for number in range(4):
            headers = token | {"X-Forwarded-For": f"198.51.100.{number}"}
            async with server.http.get("/names/a/events", headers=headers) as response:
                statuses.append(response.status)
        assert statuses == [200, 429, 429, 429]


async def test_a_subject_in_braces_is_followed(engine: Engine) -> None:
    """Identity providers write GUIDs so, and the route took no braces."""
    async with a_server(engine, settings=SHARED) as server, following(server.http, "/subjects/%7Bann%7D/events"):
        pass

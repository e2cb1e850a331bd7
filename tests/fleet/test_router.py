"""Calls through signaling onto nodes elsewhere: placed once, found again by anyone, refused clearly."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NoReturn

import pytest
from aiohttp import ClientResponse

from tests.nodes import SECRET, FacedNode, Front, a_front, a_node
from tests.rooms import a_room
from tests.rtc import FRAGMENT, SDP, ToneTrack, a_peer
from voxgender import protocol
from voxgender.calloptions import DEFAULTS, CallOptions
from voxgender.engine import Engine
from voxgender.errors import TooManySessions
from voxgender.fleet import remote
from voxgender.fleet.member import Member
from voxgender.fleet.placement import PlacementTimes
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.remote import RemoteNode
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import StaticNodes
from voxgender.http.app import MAX_BODY
from voxgender.media.node import MediaNode
from voxgender.media.places import GIVE_WAY_S

NOWHERE = "http://127.0.0.1:9"
IMPATIENT = {"answer_timeout_s": 0.2}


async def refusal(response: ClientResponse, status: int, code: str) -> str:
    """Hold a response against what it should refuse with; return the detail."""
    async with response:
        assert response.status == status, await response.text()
        body = await response.json(content_type="application/problem+json")
        assert body["code"] == code
        assert (status == 503) == ("Retry-After" in response.headers)
        return str(body["detail"])


async def an_offer() -> str:
    async with a_peer(ToneTrack()) as peer:
        return await peer.offer()


async def post(front: Front, offer: str) -> ClientResponse:
    return await front.http.post("/whip", data=offer, headers=SDP)


async def place(front: Front) -> str:
    """An offer that is answered; the session's path."""
    async with await post(front, await an_offer()) as response:
        assert response.status == 201, await response.text()
        return response.headers["Location"]


class HeldNode(MediaNode):
    """Answers offers, but not before it is let."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked = asyncio.Event()
        self.let = asyncio.Event()

    async def open(
        self, offer: str, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        self.asked.set()
        await self.let.wait()
        return await super().open(offer, subject, address, options)


@asynccontextmanager
async def two_held_nodes(
    engine: Engine,
    times: PlacementTimes = PlacementTimes(),  # noqa: B008 - it cannot change
) -> AsyncIterator[tuple[Front, Callable[[], list[HeldNode]]]]:
    """Signaling in front of two nodes that hold their answers back, and those of them that were asked."""
    async with (
        a_node(engine, make=HeldNode) as one,
        a_node(engine, make=HeldNode) as two,
        a_front(one, two, timings={"answer_timeout_s": 1.5}, times=times) as front,
    ):
        held = [node.node for node in (one, two) if isinstance(node.node, HeldNode)]
        yield front, lambda: [node for node in held if node.asked.is_set()]


def only(*nodes: FacedNode) -> MediaNode:
    """The one of them that has a session."""
    (one,) = [node.node for node in nodes if node.node.live]
    return one


async def test_a_whole_call_goes_through_signaling(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front, a_peer(ToneTrack()) as peer:
        peer.channels()
        path = await peer.call(front.http)
        hello = await peer.until(protocol.Hello)
        assert isinstance(hello, protocol.Hello)
        assert path == f"/whip/{hello.session}"
        await peer.until(protocol.Result)
        async with front.http.patch(path, data="a=end-of-candidates", headers=FRAGMENT) as response:
            assert response.status == 204
        async with front.http.get(path) as response:
            assert (await response.json())["state"] == "connected"
            assert (await response.json())["session"] == hello.session
        async with front.http.get("/sessions") as response:
            (entry,) = (await response.json())["sessions"]
            assert entry["session"] == hello.session[:8]
        async with front.http.get(f"{path}/events") as events:
            assert await events.content.readline() == b"id: 0\n"
            first = await events.content.readline()
            assert isinstance(protocol.decode(first.removeprefix(b"data: ")), protocol.Hello)
            async with front.http.delete(path) as response:
                assert response.status == 200
            assert b'"type":"summary"' in await events.read()
        await refusal(await front.http.get(path), 404, "session_not_found")
        assert node.node.live == 0


async def test_any_instance_serves_a_session_that_another_one_opened(engine: Engine) -> None:
    """Signaling keeps no session: it may start again between a POST and its DELETE."""
    async with a_node(engine) as one, a_node(engine) as two:
        async with a_front(one, two) as before:
            path = await place(before)
        async with a_front(one, two) as after:
            async with after.http.get(path) as response:
                assert response.status == 200
            async with after.http.delete(path) as response:
                assert response.status == 200
        assert one.node.live == two.node.live == 0


async def test_an_instance_that_has_not_heard_of_a_node_yet_looks_for_it(engine: Engine) -> None:
    source = StaticNodes([])
    async with a_node(engine) as node, a_front(node) as knowing, a_front(source=source) as new:
        path = await place(knowing)
        source.add(node.url)
        await new.directory.refresh(force=True)
        async with new.http.delete(path) as response:
            assert response.status == 200


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_a_url_that_was_tampered_with_reaches_no_node(engine: Engine, method: str) -> None:
    async with a_node(engine) as one, a_node(engine) as two, a_front(one, two) as front:
        path = await place(front)
        other = two.id if one.node.live else one.id
        session, node_id, signature = path.rsplit(".", 2)
        for tampered in (
            f"{session}.{other}.{signature}",
            f"{session}x.{node_id}.{signature}",
            session,
            f"/whip/{Secret('guessed').new_session_id(node_id)}",
            f"{path}/../../node",
        ):
            response = await front.http.request(method, tampered, data="a=mid:0", headers=FRAGMENT)
            async with response:
                assert response.status in (404, 405)
        assert one.node.live + two.node.live == 1
        await refusal(await front.http.get(f"{session}.{other}.{signature}/events"), 404, "session_not_found")


async def test_the_session_of_a_node_that_is_gone_is_gone_at_once_and_a_new_call_is_taken(engine: Engine) -> None:
    async with a_node(engine) as one, a_node(engine) as two, a_front(one, two) as front:
        path = await place(front)
        dead, alive = (one, two) if one.node.live else (two, one)
        await dead.kill()
        await refusal(await front.http.patch(path, data="a=mid:0", headers=FRAGMENT), 404, "session_not_found")
        await refusal(await front.http.get(f"{path}/events"), 404, "session_not_found")
        for _ in range(3):
            await place(front)
        assert alive.node.live == 3


async def test_a_stream_of_events_ends_with_its_node(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front:
        path = await place(front)
        async with front.http.get(f"{path}/events") as events:
            await events.content.readline()
            await node.kill()
            await events.read()


async def test_a_room_goes_through_signaling_and_its_voices_come_and_go(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front, a_room([ToneTrack(), ToneTrack()], ["a", "b"]) as room:
        path = await room.call(front.http)
        await room.until_all(protocol.Result, [0, 1])
        room.pc.addTrack(ToneTrack())
        room.names.append("c")
        await room.update(front.http, path)
        await room.until_all(protocol.Result, [0, 1, 2])
        assert node.node.live == 3
        await refusal(await front.http.patch(path, data=await an_offer(), headers=SDP), 422, "ice_restart")
        await refusal(await front.http.patch(path, data="v=0", headers=SDP), 422, "no_audio")
        await refusal(await front.http.patch(f"{path}x", data=await an_offer(), headers=SDP), 404, "session_not_found")
        await room.end(front.http, path)


async def test_a_room_is_placed_where_all_its_voices_have_room(engine: Engine) -> None:
    """A node that has room for one call is not asked for eight, and is not taken to be full because of it."""
    async with (
        a_node(engine, max_sessions=2) as small,
        a_node(engine, max_sessions=6) as large,
        a_front(small, large) as front,
        a_room([ToneTrack() for _ in range(5)]) as room,
    ):
        offer = await room.offer()
        async with await post(front, offer) as response:
            assert response.status == 201
        assert (small.node.live, large.node.live) == (0, 5)
        await refusal(await post(front, offer), 503, "at_capacity")
        for _ in range(3):
            await place(front)
        assert (small.node.live, large.node.live) == (2, 6)
        await refusal(await post(front, await an_offer()), 503, "at_capacity")


async def test_an_answer_to_a_later_offer_that_no_node_has_signed_is_not_passed_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_node(engine) as node, a_front(node) as front, a_room([ToneTrack(), ToneTrack()]) as room:
        path = await room.call(front.http)
        monkeypatch.setattr(remote, "SIGNATURE_HEADER", "Somebody-Else")
        await refusal(await front.http.patch(path, data=await room.offer(), headers=SDP), 503, "node_unreachable")


async def test_calls_are_spread_over_the_nodes(engine: Engine) -> None:
    async with a_node(engine) as one, a_node(engine) as two, a_front(one, two) as front:
        offer = await an_offer()
        responses = await asyncio.gather(*(post(front, offer) for _ in range(10)))
        assert Counter(response.status for response in responses) == {201: 10}
        assert sorted((one.node.live, two.node.live)) == [5, 5]


async def test_a_full_fleet_says_when_to_come_again_and_takes_calls_as_soon_as_there_is_room(
    engine: Engine,
) -> None:
    async with (
        a_node(engine, max_sessions=1) as one,
        a_node(engine, max_sessions=1) as two,
        a_front(one, two) as front,
    ):
        paths = [await place(front), await place(front)]
        await refusal(await post(front, await an_offer()), 503, "at_capacity")
        await one.node.end(next(path for path in paths if one.id in path).removeprefix("/whip/"))
        await place(front)
        await refusal(await post(front, await an_offer()), 503, "at_capacity")


async def test_in_a_full_fleet_a_call_that_never_connected_gives_way(engine: Engine) -> None:
    """Signaling sees that all are full, and asks one of them all the same: it knows which of its calls are up."""
    async with (
        a_node(engine, max_sessions=1) as one,
        a_node(engine, max_sessions=1) as two,
        a_front(one, two) as front,
    ):
        paths = [await place(front), await place(front)]
        for node in (one, two):
            for session in node.node.places.sessions():
                session.started_at -= GIVE_WAY_S
        paths.append(await place(front))
        assert sum(bool(node.node.live) for node in (one, two)) == 2
        live = {session.id for node in (one, two) for session in node.node.places.sessions()}
        assert len(live & {path.removeprefix("/whip/") for path in paths}) == 2
        assert paths[2].removeprefix("/whip/") in live


async def test_a_node_is_told_where_an_offer_came_from(engine: Engine) -> None:
    """The call from the same address gives way, though another one has waited for longer."""
    async with a_node(engine, max_sessions=2, give_way_s=0.0) as node, a_front(node) as front:
        elsewhere, _ = await node.node.open(await an_offer(), address="192.0.2.1")
        path = await place(front)
        await place(front)
        assert node.node.places.find(elsewhere) is not None
        assert node.node.places.find(path.removeprefix("/whip/")) is None


async def test_a_burst_of_as_many_calls_as_there_are_places_is_taken_whole(engine: Engine) -> None:
    """A node's record has calls whose answers are still on their way here: they are not to be counted twice."""
    async with (
        a_node(engine, max_sessions=6) as one,
        a_node(engine, max_sessions=6) as two,
        a_front(one, two) as front,
        a_front(one, two) as other,
    ):
        offer = await an_offer()
        responses = await asyncio.gather(*(post(at, offer) for at in (front, other) for _ in range(7)))
        assert Counter(response.status for response in responses) == {201: 12, 503: 2}
        assert (one.node.live, two.node.live) == (6, 6)


async def test_nodes_that_were_filled_by_another_instance_are_not_overfilled(engine: Engine) -> None:
    async with a_node(engine, max_sessions=2) as node, a_front(node) as one, a_front(node) as two:
        for front in (one, two):
            await place(front)
        for front in (one, two):
            await refusal(await post(front, await an_offer()), 503, "at_capacity")
        assert node.node.live == 2


async def test_without_any_node_a_call_is_refused_clearly(engine: Engine) -> None:
    for source in (StaticNodes([]), StaticNodes([NOWHERE])):
        async with a_front(source=source) as front:
            await refusal(await post(front, await an_offer()), 503, "no_node")
            async with front.http.get("/health/ready") as response:
                # It has an answer for every call; a balancer is not to take all instances away for this.
                assert response.status == 200


async def test_a_node_that_has_just_come_is_looked_for_when_none_is_known(engine: Engine) -> None:
    source = StaticNodes([])
    async with a_node(engine) as node, a_front(source=source) as front:
        source.add(node.url)
        front.directory._refreshed_at = 0.0
        await place(front)


async def test_nodes_that_drain_take_no_calls_and_keep_theirs(engine: Engine) -> None:
    async with a_node(engine) as one, a_node(engine) as two, a_front(one, two) as front:
        path = await place(front)
        leaving, staying = (one, two) if one.node.live else (two, one)
        leaving.node.drain()
        for _ in range(3):
            await place(front)
        assert (leaving.node.live, staying.node.live) == (1, 3)
        async with front.http.get(path) as response:
            assert response.status == 200
        staying.node.drain()
        await refusal(await post(front, await an_offer()), 503, "draining")
        async with front.http.delete(path) as response:
            assert response.status == 200


async def test_a_slow_node_is_passed_over_and_left_with_nothing(engine: Engine) -> None:
    async with a_node(engine, make=HeldNode) as slow, a_front(slow, timings=IMPATIENT) as front:
        assert isinstance(slow.node, HeldNode)
        async with a_node(engine) as well:
            # It is listed later, so that the slow one is asked first.
            refused = asyncio.create_task(place(front))
            await slow.node.asked.wait()
            source = front.directory._source
            assert isinstance(source, StaticNodes)
            source.add(well.url)
            await front.directory.refresh(force=True)
            path = await refused
            assert well.id in path
            slow.node.let.set()
            while front.fleet._placement._withdrawing:
                await asyncio.wait(front.fleet._placement._withdrawing)
            assert (slow.node.live, well.node.live) == (0, 1)
            for _ in range(3):
                await place(front)
            assert slow.node.live == 0


async def test_the_node_that_is_asked_first_has_less_time_where_another_one_has_places(
    engine: Engine,
) -> None:
    """Callers of a node that stood still had no result for 5.5 s, of which signaling waited 3 s for that node."""
    # Without the shorter time, nobody would be asked after the first.
    times = PlacementTimes(first_answer_s=0.2, place_timeout_s=1.0)
    async with two_held_nodes(engine, times) as (front, asked):
        await refusal(await post(front, await an_offer()), 503, "no_node")
        assert len(asked()) == 2


async def test_a_node_that_stands_still_is_passed_over_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller had results again 2.14 s after its node stood still, since that node was asked for the new call too."""
    stood: list[str] = []

    async def stand_still(node: RemoteNode) -> NoReturn:
        stood.append(node.url)
        await asyncio.Event().wait()
        raise AssertionError

    # Time for one node after the other only if the first one's usual time is not waited for.
    times = PlacementTimes(first_answer_s=10.0, place_timeout_s=1.0)
    async with two_held_nodes(engine, times) as (front, asked):
        monkeypatch.setattr(RemoteNode, "record", stand_still)
        await refusal(await post(front, await an_offer()), 503, "no_node")
        assert len(asked()) == 2
        assert len(stood) == 1, "the second node has its usual time"


async def test_a_node_that_is_only_busy_is_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of calls keeps a node for longer than one that stands still is waited for; it has these calls already."""
    times = PlacementTimes(standstill_s=5.0, prompt_answer_s=0.01)
    answered = asyncio.Event()
    record = RemoteNode.record

    async def tell(node: RemoteNode) -> NodeRecord:
        told = await record(node)
        answered.set()
        return told

    async with two_held_nodes(engine, times) as (front, asked):
        monkeypatch.setattr(RemoteNode, "record", tell)
        placing = asyncio.create_task(place(front))
        await answered.wait()
        (node,) = asked()
        node.let.set()
        await placing
        assert [one.live for one in asked()] == [1]


async def test_only_a_slow_node_is_no_node(engine: Engine) -> None:
    async with a_node(engine, make=HeldNode) as slow, a_front(slow, timings=IMPATIENT) as front:
        await refusal(await post(front, await an_offer()), 503, "no_node")


async def test_an_offer_that_two_nodes_did_not_answer_is_shown_to_no_third(engine: Engine) -> None:
    """One offer that stopped a node for 10 s went on to the next one, and so through a whole fleet."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(a_node(engine, make=HeldNode)) for _ in range(4)]
        front = await stack.enter_async_context(a_front(*nodes, timings=IMPATIENT))
        await refusal(await post(front, await an_offer()), 503, "no_node")
        asked = [node.node.asked.is_set() for node in nodes if isinstance(node.node, HeldNode)]
        assert sum(asked) == 2


async def test_a_node_that_is_full_is_none_that_did_not_answer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Member, "has_places", lambda *_: True)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(a_node(engine, max_sessions=0)) for _ in range(4)]
        front = await stack.enter_async_context(a_front(*nodes, await stack.enter_async_context(a_node(engine))))
        await place(front)


async def test_what_no_node_could_use_is_sent_to_none(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signaling reads offers and fragments itself: what is too large to be read costs no call on any node a word."""
    sent: list[str] = []

    async def record(_: RemoteNode, session_id: str, *rest: object) -> None:
        sent.append(session_id)

    async with a_node(engine) as node, a_front(node) as front:
        path = await place(front)
        monkeypatch.setattr(RemoteNode, "offer", record)
        monkeypatch.setattr(RemoteNode, "trickle", record)
        for body in ("hello", "v=0\r\n" + 5000 * "a=x\r\n", await an_offer() + "a=" + 5000 * "x"):
            await refusal(await post(front, body), 400, "malformed_sdp")
        await refusal(await post(front, (await an_offer()).replace("sendrecv", "recvonly")), 422, "no_audio")
        for body in ("hello", 5000 * "a=x\r\n"):
            await refusal(await front.http.patch(path, data=body, headers=FRAGMENT), 400, "malformed_sdp")
    assert sent == []


async def test_a_session_whose_node_does_not_answer_is_neither_there_nor_gone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may go on all the while: who asks is to ask again, and not to make a new call."""
    async with a_node(engine) as node, a_front(node, timings=IMPATIENT) as front:
        path = await place(front)

        let = asyncio.Event()

        async def late(_: str) -> dict[str, Any]:
            await let.wait()
            return {}

        monkeypatch.setattr(node.node, "describe", late)
        await refusal(await front.http.get(path), 503, "node_unreachable")
        let.set()


async def test_a_bad_offer_is_said_so_and_tried_nowhere_else(engine: Engine) -> None:
    async with a_node(engine) as one, a_node(engine) as two, a_front(one, two) as front:
        await refusal(await post(front, "hello"), 400, "malformed_sdp")
        detail = await refusal(await post(front, "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"), 422, "no_audio")
        assert "microphone" in detail
        path = await place(front)
        await refusal(await front.http.patch(path, data="hello", headers=FRAGMENT), 400, "malformed_sdp")
        restart: dict[str, Any] = {"data": "a=ice-ufrag:new!\r\na=ice-pwd:0123456789012345678901", "headers": FRAGMENT}
        await refusal(await front.http.patch(path, **restart), 422, "ice_restart")
        assert only(one, two).live == 1


async def test_an_offer_as_large_and_strange_as_it_may_be_is_the_callers_fault_and_no_nodes(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front:
        await refusal(await post(front, "v=0\r\n" + "\x01" * (MAX_BODY - 100)), 400, "malformed_sdp")
        (member,) = front.directory.members()
        assert not member.is_penalised


async def test_a_subject_has_no_more_calls_than_it_may(engine: Engine) -> None:
    async with a_node(engine, max_sessions_per_subject=1) as node, a_front(node) as front:
        await front.fleet.open(await an_offer(), "ann")
        async with a_front(node) as another:
            with pytest.raises(TooManySessions, match="1 calls already"):
                await another.fleet.open(await an_offer(), "ann")
            await another.fleet.open(await an_offer(), "bob")


async def test_a_subject_cannot_have_more_by_many_nodes(engine: Engine) -> None:
    limit: dict[str, Any] = {"max_sessions_per_subject": 2}
    async with (
        a_node(engine, **limit) as one,
        a_node(engine, **limit) as two,
        a_front(one, two, **limit) as front,
        a_front(one, two, **limit) as another,
    ):
        for signaling in (front, another):
            await signaling.fleet.open(await an_offer(), "ann")
        for signaling in (front, another):
            with pytest.raises(TooManySessions):
                await signaling.fleet.open(await an_offer(), "ann")


async def test_signaling_that_stops_places_no_more_calls(engine: Engine) -> None:
    async with a_node(engine) as node, a_front(node) as front:
        path = await place(front)
        front.fleet.drain()
        await refusal(await post(front, await an_offer()), 503, "draining")
        await refusal(await front.http.get("/health/ready"), 503, "draining")
        async with front.http.delete(path) as response:
            assert response.status == 200


async def test_a_session_id_that_a_node_may_not_give_is_not_handed_on(engine: Engine) -> None:
    def foreign() -> str:
        return SECRET.new_session_id("0123456789ab")

    async with a_node(engine, new_session_id=foreign) as node, a_front(node) as front:
        await refusal(await post(front, await an_offer()), 503, "no_node")

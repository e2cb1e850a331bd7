"""The session table: draining, and who gives way where it is full."""

import asyncio

import pytest

from tests.rtc import Server, ToneTrack, a_peer, a_server
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.errors import NotReady
from voxgender.media import node as node_module
from voxgender.protocol import Warning


async def test_a_node_that_drains_asks_its_calls_to_move_and_waits_for_them(server: Server) -> None:
    async with a_peer(ToneTrack()) as one, a_peer(ToneTrack()) as two:
        paths = []
        for peer in (one, two):
            peer.channels()
            paths.append(await peer.call(server.http))
            await peer.until(protocol.Result)
        server.node.drain()
        drained = asyncio.create_task(server.node.drained())
        for peer, path in ((one, paths[0]), (two, paths[1])):
            assert not drained.done()
            warning = await peer.until(Warning)
            assert isinstance(warning, Warning)
            assert warning.code == "draining"
            await peer.until(protocol.Result)
            async with server.http.delete(path) as response:
                assert response.status == 200
        await drained


async def test_a_call_whose_channels_open_later_is_asked_as_well(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        await peer.call(server.http)
        server.node.drain()
        warning = await peer.until(Warning)
        assert isinstance(warning, Warning)
        assert warning.code == "draining"


async def test_a_node_that_drains_takes_no_call_and_is_not_ready(server: Server) -> None:
    server.node.drain()
    async with a_peer(ToneTrack()) as peer:
        offer = await peer.offer()
    async with server.http.post("/whip", data=offer, headers={"Content-Type": "application/sdp"}) as response:
        assert response.status == 503
        assert (await response.json())["code"] == "draining"
        assert response.headers["Retry-After"]
    async with server.http.get("/health/ready") as response:
        assert response.status == 503


async def test_a_node_without_calls_has_drained_at_once(engine: Engine) -> None:
    async with a_server(engine) as server:
        server.node.drain()
        await server.node.drained()


async def an_offer() -> str:
    async with a_peer(ToneTrack()) as peer:
        return await peer.offer()


async def test_where_all_places_are_taken_the_oldest_without_a_connection_gives_way(engine: Engine) -> None:
    """Offers that never connect filled the server for 15 s; first those of the address that asks for more."""
    async with a_server(engine, max_sessions=3, give_way_s=0.0) as server:
        node, offer = server.node, await an_offer()
        first, _ = await node.open(offer, address="192.0.2.1")
        second, _ = await node.open(offer, address="192.0.2.2")
        third, _ = await node.open(offer, address="192.0.2.2")
        sessions = dict(node._sessions)
        fourth, _ = await node.open(offer, address="192.0.2.2")
        assert [*node._sessions] == [first, third, fourth]
        assert sessions[second].ended_for == "gave_way"
        assert sessions[second].state == "closed"
        fifth, _ = await node.open(offer, address="192.0.2.9")
        assert [*node._sessions] == [third, fourth, fifth]
        assert set(node._addresses_of) == set(node._sessions)


async def test_calls_that_are_up_or_have_only_begun_do_not_give_way(engine: Engine) -> None:
    async with a_server(engine, max_sessions=2) as server, a_peer(ToneTrack()) as peer:
        peer.channels()
        await peer.call(server.http)
        await peer.until(protocol.Hello)
        offer = await an_offer()
        begun, _ = await server.node.open(offer)
        with pytest.raises(NotReady, match="full"):
            await server.node.open(offer)
        server.node._sessions[begun].started_at -= node_module.GIVE_WAY_S
        later, _ = await server.node.open(offer)
        assert begun not in server.node._sessions
        server.node._sessions[later].started_at -= node_module.GIVE_WAY_S
        # None is taken beyond the limit though many ask at once.
        opened = await asyncio.gather(*(server.node.open(offer) for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(one, tuple) for one in opened) == 1
        assert server.node.live == 2
        await peer.until(protocol.Result)

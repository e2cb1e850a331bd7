"""Draining a node."""

import asyncio

from tests.rtc import Server, ToneTrack, a_peer, a_server
from voxgender import protocol
from voxgender.engine import Engine
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

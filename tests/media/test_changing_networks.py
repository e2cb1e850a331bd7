"""Callers whose address changes in mid-call, and strangers who would like it to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aioice import stun

from tests.nat import Nat, call_behind_nat, udp_port
from tests.rtc import Peer, Server, ToneTrack, a_peer, a_server
from voxgender import metrics
from voxgender.engine import Engine
from voxgender.media.aiortc_internals import paths
from voxgender.protocol import Error, Result


def connection(server: Server, path: str) -> Any:
    """The ICE connection of a session on the server's side."""
    session = server.node._sessions[path.rpartition("/")[2]]
    return session._pc.getTransceivers()[0].receiver.transport.transport._connection


def answers_go_to(server: Server, path: str) -> tuple[str, int]:
    address: tuple[str, int] = connection(server, path)._nominated[1].remote_addr
    return address


@asynccontextmanager
async def a_caller(server: Server) -> AsyncIterator[tuple[Peer, str, Nat]]:
    """A caller behind a NAT who hears results."""
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        path, nat = await call_behind_nat(peer, server.http)
        try:
            await peer.until(Result)
            yield peer, path, nat
        finally:
            nat.close()


async def results_again_after_s(peer: Peer) -> float:
    """Wait for a result that was sent from now on; return how long that takes, in seconds."""
    while not peer.messages.empty():
        peer.messages.get_nowait()
    began = asyncio.get_running_loop().time()
    await peer.until(Result)
    return asyncio.get_running_loop().time() - began


async def test_results_follow_a_caller_whose_nat_gave_it_another_port(server: Server) -> None:
    """The caller was heard again after 3 s, and answers went to the old port for ever: no result came any more."""
    async with a_caller(server) as (peer, path, nat):
        for _ in range(2):
            before = metrics.PATHS_CHANGED._value.get()
            await nat.rebind()
            assert await results_again_after_s(peer) < 2
            assert answers_go_to(server, path) == nat.mapped
            assert metrics.PATHS_CHANGED._value.get() == before + 1
        (session,) = server.node._sessions.values()
        assert session.state == "connected"

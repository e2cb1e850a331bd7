"""Clients whose calls share an address: begun anew from their only port, or from one offer that was sent twice."""

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.nat import call_behind_nat
from tests.rtc import LOOPBACK, SDP, Peer, Server, ToneTrack, a_peer, a_server
from tests.waits import until
from voxgender.engine import Engine
from voxgender.protocol import Result


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def a_server_of_one_port(engine: Engine) -> AsyncIterator[Server]:
    port = free_port()
    async with a_server(engine, udp_ports=(port, port)) as server:
        yield server


async def answered(server: Server, offer: str) -> str:
    async with server.http.post("/whip", data=offer, headers=SDP) as response:
        assert response.status == 201, await response.text()
        return await response.text()


def answers_every_check(peer: Peer) -> None:
    """Let a peer answer checks of all calls that have its offer, as browsers do: aiortc answers those of one alone."""
    connection: Any = peer.pc.getTransceivers()[0].sender.transport.transport._connection
    connection._valid_username = lambda name: name.partition(":")[0] == connection.local_username


async def test_a_client_that_begins_anew_from_its_only_port_is_heard_at_once(server: Server) -> None:
    """A gateway was killed and called again from the same port, which belonged to its first call for 15 s.

    DTLS and media of the second call went there, and it never connected.
    """
    async with a_peer(ToneTrack()) as first, a_peer(ToneTrack()) as second:
        first.channels()
        second.channels()
        _, before = await call_behind_nat(first, server.http)
        await first.until(Result)
        # Nothing more comes of it, not even a goodbye.
        before._inside.close()
        _, after = await call_behind_nat(second, server.http)
        after._outside.close()
        after._outside = before._outside
        after._outside.get_protocol().on_datagram = after._from_server
        await second.until(Result)
        assert server.node.live == 2
        after.close()


@pytest.mark.parametrize("has_ports", [True, False], ids=["many ports", "one port"])
async def test_an_offer_whose_answer_was_lost_may_be_sent_again(engine: Engine, has_ports: bool) -> None:
    """The first call asked the client's address at once, was answered, and kept the address.

    DTLS of the second call went to the first one, and no call of this client ever connected. Later, the first one held
    its place for as long as a call may take to connect.
    """
    async with a_server(engine) if has_ports else a_server_of_one_port(engine) as server, a_peer(ToneTrack()) as peer:
        peer.channels()
        offer = await peer.offer()
        answers_every_check(peer)
        lost = await answered(server, offer)
        (shared,) = server.node.sockets.shared
        await until(lambda: shared._by_source)
        answer = await answered(server, offer)
        ports = [re.findall(r"^a=candidate:.* (\d+) typ host", one, re.MULTILINE) for one in (lost, answer)]
        # Chromium takes what comes from one address for one call, so only another port helps it.
        assert (ports[0] != ports[1]) == has_ports
        await peer.accept(answer)
        await peer.until(Result)
        # The call whose answer was lost can never connect, and gives its place back.
        await until(lambda: server.node.live == 1)
        await peer.until(Result)

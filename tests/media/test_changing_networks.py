"""Callers whose address changes in mid-call, and strangers who would like it to."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aioice import stun

from tests.figures import value_of
from tests.nat import Nat, call_behind_nat, udp_port
from tests.processor import waited_s
from tests.rtc import Peer, Server, ToneTrack, a_peer, a_server, session_on
from tests.waits import until
from voxgender import metrics
from voxgender.engine import Engine
from voxgender.media.aiortc_internals.paths import HEARD_ELSEWHERE_S, QUIET_S, Consent
from voxgender.media.rtp import is_rtcp
from voxgender.media.session import SessionTimes
from voxgender.protocol import Error, Hello, Result


def connection(server: Server, path: str) -> Any:
    """The ICE connection of a session on the server's side."""
    session = session_on(server.node, path)
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
    """Wait for a result that was sent from now on; return the seconds that takes, those of other programs left out."""
    while not peer.messages.empty():
        peer.messages.get_nowait()
    began_at, waited_before_s = asyncio.get_running_loop().time(), waited_s()
    await peer.until(Result)
    return asyncio.get_running_loop().time() - began_at - (waited_s() - waited_before_s)


async def consent_given_after(server: Server, path: str, seconds: float) -> None:
    """Wait until a caller has consented again, so many seconds from now or later."""
    paths = connection(server, path)._protocols[0]._paths
    at = asyncio.get_running_loop().time() + seconds
    await until(lambda: paths._consented_at > at)


def is_media(data: bytes) -> bool:
    return 127 < data[0] < 192


def is_check(data: bytes) -> bool:
    return data[:2] == b"\x00\x01"


async def test_results_follow_a_caller_whose_nat_gave_it_another_port(server: Server) -> None:
    """The caller was heard again after 3 s, and answers went to the old port for ever: no result came any more."""
    async with a_caller(server) as (peer, path, nat):
        for _ in range(2):
            before = value_of(metrics.PATHS_CHANGED)
            await nat.rebind()
            assert await results_again_after_s(peer) < 2
            assert answers_go_to(server, path) == nat.mapped
            assert value_of(metrics.PATHS_CHANGED) == before + 1
        session = session_on(server.node)
        assert session.state == "connected"


async def test_results_follow_a_caller_that_is_given_one_port_after_another(server: Server) -> None:
    """By the time an address is checked the caller has left it."""
    async with a_caller(server) as (peer, path, nat):
        for _ in range(3):
            await nat.rebind()
            await asyncio.sleep(QUIET_S + 0.1)
        assert await results_again_after_s(peer) < 2
        assert answers_go_to(server, path) == nat.mapped


async def test_a_flood_under_the_callers_own_ssrc_does_not_hide_where_it_is(server: Server) -> None:
    """Anybody who sees the packets on their way knows the SSRC, and nothing else is needed to be tried."""
    async with a_caller(server) as (peer, path, nat), a_stranger(nat) as stranger:
        forged = next(data for data in reversed(nat.sent) if is_media(data) and not is_rtcp(data))[:12] + os.urandom(40)
        await nat.rebind()

        async def flood() -> None:
            while True:
                for _ in range(40):
                    stranger.send(forged)
                await asyncio.sleep(0.01)

        flooding = asyncio.create_task(flood())
        try:
            assert await results_again_after_s(peer) < 2
            assert answers_go_to(server, path) == nat.mapped
        finally:
            flooding.cancel()


async def test_a_caller_that_says_nothing_is_followed_by_its_checks(server: Server) -> None:
    """Somebody on mute sends no media; a signed check of ICE tells as well where it is."""
    async with a_caller(server) as (_, path, nat):
        nat.intercept = lambda data: None if is_media(data) else nat.to_server(data)
        await nat.rebind()
        await until(lambda: answers_go_to(server, path) == nat.mapped)


async def test_two_callers_whose_nat_swaps_their_ports_are_told_apart(server: Server) -> None:
    """Each had the other's address, and would have stayed deaf and unheard for good."""
    async with a_caller(server) as (one, path, nat), a_caller(server) as (two, other_path, other_nat):
        assert nat.server == other_nat.server
        nat.swap(other_nat)
        assert await results_again_after_s(one) < 2
        assert await results_again_after_s(two) < 2
        assert answers_go_to(server, path) == nat.mapped
        assert answers_go_to(server, other_path) == other_nat.mapped


class Stranger:
    """Somebody with a UDP port, who sends to the server; what comes back is counted and may be passed on."""

    def __init__(self, nat: Nat) -> None:
        self._nat = nat
        self.got: list[bytes] = []
        self.forwards = False
        self.transport: Any = None

    async def open(self) -> "Stranger":
        self.transport = await udp_port(self._received)
        return self

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.transport.get_extra_info("sockname")
        return host, port

    def send(self, data: bytes) -> None:
        self.transport.sendto(data, self._nat.server)

    def _received(self, data: bytes, _: Any) -> None:
        self.got.append(data)
        if self.forwards:
            self._nat.to_caller(data)


@asynccontextmanager
async def a_stranger(nat: Nat) -> AsyncIterator[Stranger]:
    stranger = await Stranger(nat).open()
    try:
        yield stranger
    finally:
        stranger.transport.close()


def signed_by(ice: Any, *, nominating: bool) -> bytes:
    """A check such as the peer of this connection of the server makes."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{ice.local_username}:{ice.remote_username}"
    request.attributes["PRIORITY"] = 2**31 - 1
    request.attributes["ICE-CONTROLLING"] = 1
    if nominating:
        request.attributes["USE-CANDIDATE"] = None
    request.add_message_integrity(ice.local_password.encode())
    return bytes(request)


async def test_nobody_else_moves_a_call_not_even_while_its_caller_is_silent(server: Server) -> None:
    """Junk, copies of all that the caller sent, unsigned checks and checks of a call of one's own move nothing."""
    async with a_caller(server) as (peer, path, nat), a_caller(server) as (own, own_path, own_nat):
        assert nat.server == own_nat.server
        mapped = nat.mapped
        before = value_of(metrics.PATHS_CHANGED)
        ice = connection(server, path)
        unsigned = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        unsigned.attributes["USERNAME"] = f"{ice.local_username}:{ice.remote_username}"
        unsigned.attributes["PRIORITY"] = 1
        unsigned.attributes["USE-CANDIDATE"] = None
        # The caller's path falls silent. What it sends now is another matter: see the next test.
        nat.intercept = lambda _: None
        async with a_stranger(nat) as stranger:
            for _ in range(int(2 * QUIET_S / 0.05)):
                await asyncio.sleep(0.05)
                media = [data for data in nat.sent if is_media(data)]
                checks = [data for data in nat.sent if is_check(data)]
                junk = (os.urandom(100), b"\x80\x60" + os.urandom(60), bytes(unsigned))
                for data in (*media[:50], *checks[:5], *junk):
                    stranger.send(data)
                stranger.send(signed_by(connection(server, own_path), nominating=True))
            # By then the server has read what the stranger sent last.
            await results_again_after_s(own)
            assert answers_go_to(server, path) == mapped
            assert stranger.address not in connection(server, path)._protocols[0].transport.sources.values()
            # Its own call is its own matter.
            assert not [data for data in stranger.got if is_media(data)]
        assert value_of(metrics.PATHS_CHANGED) == before
        nat.intercept = None
        assert await results_again_after_s(peer) < 2


async def test_packets_that_somebody_held_back_move_nothing(server: Server) -> None:
    """They are new to the server, and signed. Yet who sends them cannot answer for the caller."""
    async with a_caller(server) as (peer, path, nat), a_stranger(nat) as stranger:
        mapped = nat.mapped
        nat.intercept = stranger.send
        await asyncio.sleep(2 * QUIET_S + 0.5)
        assert any(is_check(data) for data in stranger.got), "it was to be asked"
        assert not any(20 <= data[0] < 64 for data in stranger.got), "nothing of the call may go there"
        assert answers_go_to(server, path) == mapped
        nat.intercept = None
        assert await results_again_after_s(peer) < 2


async def test_somebody_who_is_quicker_than_the_caller_does_not_get_between_the_two(server: Server) -> None:
    """It copies all that the caller sends, is there first, and passes checks on to the caller, who answers them.

    So the other path works, but so does the caller's own (compare RFC 9000 section 9.3.3).
    """
    async with a_caller(server) as (peer, path, nat), a_stranger(nat) as stranger:
        mapped = nat.mapped
        stranger.forwards = True

        def race(data: bytes) -> None:
            stranger.send(data)
            asyncio.get_running_loop().call_later(0.005, nat.to_server, data)

        # While the caller is heard nothing from elsewhere is even looked at, so it begins after a gap.
        nat.intercept = lambda _: None
        await asyncio.sleep(2 * HEARD_ELSEWHERE_S)
        nat.intercept = race
        await asyncio.sleep(2 * QUIET_S + 1)
        assert any(is_check(data) for data in stranger.got), "it was to be asked"
        assert answers_go_to(server, path) == mapped
        assert await results_again_after_s(peer) < 2


async def test_a_copied_nomination_does_not_bring_back_an_address_that_was_left(server: Server) -> None:
    """Its pair has answered once, so a signed check under its address was enough."""
    async with a_caller(server) as (peer, path, nat), a_stranger(nat) as stranger:
        # A caller of two addresses, of which this is the other.
        ice = connection(server, path)
        here = nat.mapped
        copied = signed_by(ice, nominating=True)
        nat.to_server(copied)
        stranger.forwards = True
        nominated = signed_by(ice, nominating=True)

        def answer(data: bytes) -> None:
            if data[:2] == b"\x01\x01":
                stranger.send(data)
            nat.to_server(data)

        nat.intercept = answer
        stranger.send(nominated)
        await until(lambda: answers_go_to(server, path) == stranger.address)
        nat.to_server(copied)
        await results_again_after_s(peer)
        assert answers_go_to(server, path) == stranger.address
        nat.to_server(signed_by(ice, nominating=True))
        await until(lambda: answers_go_to(server, path) == here)
        assert await results_again_after_s(peer) < 2


async def test_a_call_whose_caller_no_longer_answers_ends_with_a_reason(engine: Engine) -> None:
    """Consent (RFC 7675): nothing may be sent for longer to who does not say that it is wanted."""
    times = SessionTimes(consent=Consent(1.0, (0.1, 0.2)))
    before = value_of(metrics.SESSIONS_ENDED.labels("consent_expired"))
    async with a_server(engine, session_times=times) as server, a_caller(server) as (_, path, nat):
        session = session_on(server.node)
        messages = session.follow()
        await consent_given_after(server, path, 1.0)
        nat.way_back = False
        async with asyncio.timeout(10):
            errors = [message async for _, message in messages if isinstance(message, Error)]
        assert [error.code for error in errors] == ["consent_expired"]
        assert session.ended_for == "consent_expired"
        await until(lambda: not server.node.live)
        assert value_of(metrics.SESSIONS_ENDED.labels("consent_expired")) == before + 1
        async with server.http.get(path) as response:
            assert response.status == 404


async def test_a_long_way_is_no_missing_consent(engine: Engine) -> None:
    """aioice waits half a second for an answer: calls by satellite ended after half a minute."""
    times = SessionTimes(consent=Consent(2.0, (0.8, 0.9)))
    async with a_server(engine, session_times=times) as server, a_caller(server) as (peer, path, nat):
        nat.delay_s = 0.3
        await consent_given_after(server, path, 2.0)
        session = session_on(server.node)
        assert session.ended_for is None
        await peer.until(Result)


async def test_nothing_is_left_of_a_call_that_ends_while_its_caller_is_looked_for(server: Server) -> None:
    async with a_caller(server) as (_, path, nat):
        ice = connection(server, path)
        protocol = ice._protocols[0]
        nat.way_back = False
        await nat.rebind()
        await until(lambda: protocol._paths._checked)
        async with server.http.delete(path) as response:
            assert response.status == 200
        await asyncio.sleep(0)
        assert not protocol._paths._checked
        assert not protocol.transactions
    assert server.node.sockets.shared == []


async def test_an_address_that_a_call_gives_up_is_forgotten_by_its_ice_too(server: Server) -> None:
    """Each address of a peer is a candidate to aioice, and a pair, for as long as the call lasts."""
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        path = await peer.call(server.http)
        await peer.until(Hello)
        ice = connection(server, path)
        port = int(ice._protocols[0].transport.get_extra_info("sockname")[1])
        strangers = [await udp_port(lambda *_: None) for _ in range(40)]
        for stranger in strangers:
            stranger.sendto(signed_by(ice, nominating=False), ("127.0.0.1", port))
            await asyncio.sleep(0.01)
        await peer.until(Result)
        assert len(ice._remote_candidates) <= 20
        assert len(ice._check_list) <= 20
        for stranger in strangers:
            stranger.close()

"""A stranger with a UDP socket who knows a call's ICE name or address cannot harm the call."""

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from aioice import stun

from tests.figures import value_of
from tests.rtc import LOOPBACK, SDP, Peer, Server, ToneTrack, a_peer
from tests.waits import until
from voxgender import metrics
from voxgender.media.aiortc_internals.ice import MAX_ERRORS
from voxgender.protocol import Hello, Result

CANDIDATE = re.compile(r"(a=candidate:\S+ 1 udp \d+) (\S+) (\d+) typ host", re.IGNORECASE)
ALERT = bytes.fromhex("15fefd0000000000000000000202") + bytes((2, 40))  # fatal, handshake_failure
HELLO = bytes.fromhex("16fefd0000000000000000000401000000")


class Answer:
    """An answer's ICE name, password and address."""

    def __init__(self, sdp: str) -> None:
        self.sdp = sdp
        self.ufrag = re.findall(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE)[0]
        self.password = re.findall(r"^a=ice-pwd:(\S+)", sdp, re.MULTILINE)[0]
        found = CANDIDATE.search(sdp)
        assert found is not None
        self.address = (found[2], int(found[3]))


@pytest.fixture
def strangers() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(20)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
            each.setblocking(False)
        yield sockets


async def offered(peer: Peer, server: Server, change: Callable[[str], str] = lambda offer: offer) -> Answer:
    """Send an offer and keep the answer back, so that the server is reached before its peer is."""
    async with server.http.post("/whip", data=change(await peer.offer()), headers=SDP) as response:
        assert response.status == 201, await response.text()
        return Answer(await response.text())


def check(answer: Answer, *, remote: str = "peer", password: str = "a guess that is wrong", **attributes: Any) -> bytes:
    """A connectivity check by somebody who has read the name."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes |= {"USERNAME": f"{answer.ufrag}:{remote}", "PRIORITY": 7, **attributes}
    request.add_message_integrity(password.encode())
    return bytes(request)


def ignored() -> float:
    return value_of(metrics.STUN_IGNORED)


async def until_ignored(count: float) -> None:
    await until(lambda: ignored() >= count)


def silent(strangers: list[socket.socket]) -> bool:
    """Return whether none was sent anything."""
    for each in strangers:
        try:
            each.recv(2_000)
        except BlockingIOError:
            continue
        return False
    return True


async def test_wrong_checks_alerts_and_hellos_from_twenty_ports_do_not_keep_a_call_from_connecting(
    server: Server, strangers: list[socket.socket]
) -> None:
    """Sixteen took all the addresses that a call may have; an alert from one of them ended its handshake."""
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        answer = await offered(peer, server)
        before = ignored()
        for each in strangers:
            for data in (check(answer), ALERT, HELLO):
                each.sendto(data, answer.address)
        await until_ignored(before + len(strangers))
        await peer.accept(answer.sdp)
        for each in strangers:
            for data in (check(answer), ALERT, HELLO):
                each.sendto(data, answer.address)
        await peer.until(Hello)
        await peer.until(Result)
    assert silent(strangers)


async def test_a_name_cannot_be_told_from_a_wrong_one(server: Server, strangers: list[socket.socket]) -> None:
    """A 401 said that the name was right, and names had four characters."""
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        answer = await offered(peer, server)
        assert len(answer.ufrag) == 16
        before = ignored()
        right, wrong = check(answer), check(answer).replace(answer.ufrag.encode(), b"0" * 16)
        for data in (right, wrong):
            strangers[0].sendto(data, answer.address)
        await until_ignored(before + 2)
        assert silent(strangers)


async def test_a_peer_that_finds_a_conflict_of_roles_in_each_check_is_not_asked_for_ever(server: Server) -> None:
    """Each was followed by another check at once: 500 in a second, each dearer than the one before."""
    async with a_peer(ToneTrack()) as peer:
        answer = await offered(peer, server)
        connection: Any = peer.pc.getTransceivers()[0].sender.transport.transport._connection
        connection.remote_username, connection.remote_password = answer.ufrag, answer.password
        asked = 0

        def refuse(message: stun.Message, addr: Any, protocol: Any) -> None:
            nonlocal asked
            asked += 1
            connection.respond_error(message, addr, protocol, (487, "Role Conflict"))

        connection.request_received = refuse
        before = ignored()
        await until_ignored(before + 1)
        # aioice sends the same check again for want of an answer.
        assert MAX_ERRORS < asked < 2 * MAX_ERRORS


async def test_an_offer_that_names_a_callers_address_does_not_take_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks that went to the address claimed it, and the call of its owner never connected."""
    async with a_peer(ToneTrack()) as victim, a_peer(ToneTrack()) as attacker:
        victim.channels()
        attacker.channels()
        found = CANDIDATE.search(await victim.offer())
        assert found is not None
        checked = asyncio.Event()
        (protocol, *_) = victim.pc.getTransceivers()[0].receiver.transport.transport._connection._protocols
        plain = protocol.datagram_received

        def receive(data: bytes | str, address: tuple[Any, ...]) -> None:
            checked.set()
            plain(data, address)

        monkeypatch.setattr(protocol, "datagram_received", receive)
        await offered(attacker, server, lambda offer: CANDIDATE.sub(rf"\1 {found[2]} {found[3]} typ host", offer))
        await asyncio.wait_for(checked.wait(), 5)
        async with server.http.post("/whip", data=victim.pc.localDescription.sdp, headers=SDP) as response:
            await victim.accept(await response.text())
        await victim.until(Hello)
        await victim.until(Result)


def own_socket(peer: Peer) -> socket.socket:
    """The socket that a peer's own ICE uses: asyncio's transport sends no empty datagram."""
    (protocol, *_) = peer.pc.getTransceivers()[0].receiver.transport.transport._connection._protocols
    return socket.socket(fileno=os.dup(protocol.transport.get_extra_info("socket").fileno()))


def without_priority(answer: Answer, remote: str) -> bytes:
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{answer.ufrag}:{remote}"
    request.add_message_integrity(answer.password.encode())
    return bytes(request)


def signed(answer: Answer, remote: str, kind: int, value: bytes) -> bytes:
    """A check with a malformed attribute, and a signature that is right."""
    body = check(answer, remote=remote)[20:]
    username = body[: 4 + len(f"{answer.ufrag}:{remote}") + -len(f"{answer.ufrag}:{remote}") % 4]
    attributes = username + kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
    header = b"\x00\x01" + (len(attributes) + 24).to_bytes(2, "big") + bytes.fromhex("2112a442") + bytes(12)
    signature = stun.message_integrity(header + attributes, answer.password.encode())
    return header + attributes + b"\x00\x08\x00\x14" + signature


MALFORMED: dict[str, Callable[[Answer, str], bytes]] = {
    "empty": lambda answer, remote: b"",
    "one byte": lambda answer, remote: b"\x00",
    "no STUN": lambda answer, remote: b"\x01" + bytes(40),
    "no PRIORITY": without_priority,
    "PRIORITY of 3 bytes": lambda answer, remote: signed(answer, remote, 0x0024, b"\0\0\7"),
    "PRIORITY of 5 bytes": lambda answer, remote: signed(answer, remote, 0x0024, bytes(5)),
    "ICE-CONTROLLING of 2 bytes": lambda answer, remote: signed(answer, remote, 0x802A, bytes(2)),
    "ICE-CONTROLLED of no bytes": lambda answer, remote: signed(answer, remote, 0x8029, b""),
    "USERNAME that is no UTF-8": lambda answer, remote: signed(answer, remote, 0x0006, b"\xff\xfe"),
    "SOFTWARE that is no UTF-8": lambda answer, remote: signed(answer, remote, 0x8022, b"\xff"),
    "ERROR-CODE that is no UTF-8": lambda answer, remote: signed(answer, remote, 0x0009, b"\0\0\4\1\xff"),
    "ERROR-CODE of 2 bytes": lambda answer, remote: signed(answer, remote, 0x0009, bytes(2)),
    "address of no family": lambda answer, remote: signed(answer, remote, 0x0020, bytes(8)),
    "FINGERPRINT of 1 byte": lambda answer, remote: signed(answer, remote, 0x8028, b"\1"),
    "an unknown method": lambda answer, remote: b"\x00\x0a" + check(answer)[2:],
    "an answer to nothing": lambda answer, remote: b"\x01\x01" + check(answer)[2:],
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_malformed_stun_of_strangers_and_of_the_caller_leaves_no_trace_but_a_count(
    server: Server, strangers: list[socket.socket], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """48 bytes in, 1,082 bytes of log: a traceback for each."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        answer = await offered(peer, server)
        remote = re.findall(r"^a=ice-ufrag:(\S+)", peer.pc.localDescription.sdp, re.MULTILINE)[0]
        data = MALFORMED[kind](answer, remote)
        with caplog.at_level(logging.INFO):
            strangers[0].sendto(data, answer.address)
            await peer.accept(answer.sdp)
            await peer.until(Hello)
            before = ignored()
            with own_socket(peer) as own:
                for _ in range(3):
                    own.sendto(data, answer.address)
            await until_ignored(before + 3)
            await peer.until(Result)
        assert told == []
        assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]
        assert silent(strangers)

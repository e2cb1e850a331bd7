"""A link in the way of everything that a peer sends and receives."""

from collections.abc import Callable

import pytest

from tests.peer.written import a_call
from voxgender.peer.link import impair


class Switch:
    """A link that is up or down, either way."""

    def __init__(self) -> None:
        self.up = True
        self.sent = 0

    def send(self, datagram: bytes, out: Callable[[bytes], object]) -> None:
        self.sent += 1
        if self.up:
            out(datagram)

    def admits(self) -> bool:
        return self.up


async def test_a_link_stands_in_the_way_of_media_and_messages_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_call() as (caller, writer, heard):
        link = Switch()
        impair(caller, link)
        writer.write(b"heard", 0)
        assert (await heard.packets.get()).payload == b"heard"

        link.up = False
        sent = link.sent
        writer.write(b"lost", 960)
        assert link.sent == sent + 1
        link.up = True
        writer.write(b"heard again", 1920)
        assert (await heard.packets.get()).payload == b"heard again"

        (protocol,) = caller.getTransceivers()[0].sender.transport.transport._connection._protocols
        arrived: list[bytes] = []
        monkeypatch.setattr(protocol.receiver, "data_received", lambda data, component: arrived.append(data))
        for link.up in (True, False):
            protocol.datagram_received(b"\x80from the other side", ("127.0.0.1", 9))
        assert arrived == [b"\x80from the other side"]
        link.up = True


async def test_a_datagram_that_a_link_held_back_until_the_end_is_lost_and_no_error() -> None:
    class Slow(Switch):
        held: Callable[[], object] = staticmethod(lambda: None)

        def send(self, datagram: bytes, out: Callable[[bytes], object]) -> None:
            self.held = lambda: out(datagram)

    async with a_call() as (caller, writer, heard):
        link = Slow()
        impair(caller, link)
        writer.write(b"late", 0)
        held = link.held
        await caller.close()
        held()

    assert heard.packets.empty()

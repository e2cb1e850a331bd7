"""Application data is read from the socket in one call; everything else of DTLS stays aiortc's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiortc import RTCPeerConnection

from tests.media.aiortc_internals.pair import Pair, a_pair
from tests.rtc import LOOPBACK
from voxgender.media.aiortc_internals.bundling import bundle
from voxgender.media.aiortc_internals.ice import HostAddresses, gather_on
from voxgender.media.aiortc_internals.records import read_records
from voxgender.media.sockets import Sockets


class Wire:
    """The datagrams that a pair's caller would send, handed to the callee by hand."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.held: list[bytes] = []
        self.queued: list[bytes] = []
        """DTLS datagrams that went to aiortc's queue."""
        self.received: list[str] = []
        connection: Any = pair.caller.sctp.transport.transport._connection  # type: ignore[union-attr]
        self._theirs = connection._nominated[1].protocol
        self._transport = self._theirs.transport
        self.ours: Any = pair.connection._nominated[1].protocol
        receive = pair.connection.data_received

        def queue(data: bytes, component: int) -> None:
            if 19 < data[0] < 64:
                self.queued.append(data)
            receive(data, component)

        vars(pair.connection)["data_received"] = queue
        vars(self._theirs)["transport"] = self
        sctp: Any = pair.callee.sctp
        sctp._data_channels[pair.channel.id].on("message", self.received.append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def sendto(self, data: bytes, address: Any = None) -> None:
        if 19 < data[0] < 64:
            self.held.append(bytes(data))
        else:
            self._transport.sendto(data, address)

    async def send(self, text: str) -> bytes:
        """Return the datagram of a message."""
        self.held.clear()
        self.pair.channel.send(text)
        while not self.held:  # noqa: ASYNC110 - the loop is to turn, not to wait
            await asyncio.sleep(0)
        (datagram,) = self.held
        return datagram

    def deliver(self, datagram: bytes) -> None:
        self.ours.datagram_received(datagram, (LOOPBACK, 9))

    def restore(self) -> None:
        vars(self._theirs)["transport"] = self._transport


@asynccontextmanager
async def a_wire() -> AsyncIterator[Wire]:
    sockets = Sockets()

    def before_answer(callee: RTCPeerConnection) -> None:
        gather_on(callee, sockets, HostAddresses((LOOPBACK,)))
        bundle(callee)
        callee.on("connectionstatechange", lambda: read_records(callee))

    async with a_pair(before_answer) as pair:
        wire = Wire(pair)
        try:
            yield wire
        finally:
            wire.restore()


async def test_a_message_is_received_in_the_call_that_read_it() -> None:
    """It went through a queue and a task, which cost more than all that was done with it."""
    async with a_wire() as wire:
        datagram = await wire.send("hello")
        wire.deliver(datagram)
        assert wire.received == ["hello"]
        assert not wire.queued


async def test_a_record_that_comes_twice_is_received_once() -> None:
    async with a_wire() as wire:
        datagram = await wire.send("hello")
        wire.deliver(datagram)
        wire.deliver(datagram)
        wire.deliver(await wire.send("again"))
        assert wire.received == ["hello", "again"]


@pytest.mark.parametrize("flaw", ["a byte", "the length", "cut off", "no header"])
async def test_a_record_that_somebody_else_made_is_dropped(flaw: str) -> None:
    async with a_wire() as wire:
        datagram = await wire.send("hello")
        flawed = {
            "a byte": datagram[:-1] + bytes((datagram[-1] ^ 1,)),
            "the length": datagram[:11] + b"\xff\xff" + datagram[13:],
            "cut off": datagram[:-5],
            "no header": datagram[:12],
        }[flaw]
        wire.deliver(flawed)
        assert not wire.received
        wire.deliver(datagram)
        wire.deliver(await wire.send("again"))
        assert wire.received == ["hello", "again"]


async def test_all_records_of_a_datagram_are_received_in_order() -> None:
    async with a_wire() as wire:
        first, second = await wire.send("one"), await wire.send("two")
        wire.deliver(first + second)
        assert wire.received == ["one", "two"]
        assert not wire.queued


async def test_the_peer_s_goodbye_ends_the_connection() -> None:
    async with a_wire() as wire:
        ended = asyncio.Event()
        dtls: Any = wire.pair.callee.sctp.transport  # type: ignore[union-attr]
        dtls.on("statechange", ended.set)
        wire.restore()
        await wire.pair.caller.close()
        await asyncio.wait_for(ended.wait(), 5)
        assert dtls.state == "closed"
        # Records that come later are left to aiortc, which reads no more.
        wire.deliver(b"\x17\xfe\xfd" + bytes(8) + b"\0\5" + bytes(5))

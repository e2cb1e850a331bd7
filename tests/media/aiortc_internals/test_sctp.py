"""Waiting for the peer's acknowledgement."""

from aiortc import RTCConfiguration, RTCPeerConnection

from tests.media.aiortc_internals.pair import a_pair
from voxgender.media.aiortc_internals.sctp import wait_delivered


async def test_delivered_is_false_without_an_association() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    assert not await wait_delivered(pc, 0.1)
    pc.createDataChannel("x")
    assert not await wait_delivered(pc, 0.1)
    await pc.close()


async def test_a_message_is_delivered_when_the_peer_has_acknowledged_it_and_not_before() -> None:
    """Sent it is at once: ``bufferedAmount`` is nought then."""
    async with a_pair() as pair:
        assert await wait_delivered(pair.caller, 5)
        vars(pair.connection)["data_received"] = lambda data, component: None
        pair.channel.send("x")
        assert not await wait_delivered(pair.caller, 0.2)
        assert pair.channel.bufferedAmount == 0
        del vars(pair.connection)["data_received"]
        assert await wait_delivered(pair.caller, 10)


async def test_messages_that_still_wait_to_be_sent_are_not_delivered() -> None:
    async with a_pair() as pair:
        for _ in range(40):
            pair.channel.send(bytes(50_000))
        assert pair.channel.bufferedAmount > 0
        assert not await wait_delivered(pair.caller, 0.0)
        assert await wait_delivered(pair.caller, 10)
        assert pair.channel.bufferedAmount == 0

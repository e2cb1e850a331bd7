"""Two aiortc peers in a call with each other, on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection

from tests.rtc import LOOPBACK, ToneTrack
from voxgender.media.aiortc_internals.ice import bind_ice


class Pair(NamedTuple):
    """One who speaks, and one who answers."""

    caller: RTCPeerConnection
    callee: RTCPeerConnection
    channel: RTCDataChannel
    """The caller's end of a reliable data channel."""

    @property
    def receiver(self) -> Any:
        """The callee's."""
        return self.callee.getTransceivers()[0].receiver

    @property
    def connection(self) -> Any:
        """The callee's ICE connection."""
        return self.receiver.transport.transport._connection


def on_loopback(pc: RTCPeerConnection) -> None:
    bind_ice(pc, [LOOPBACK])


@asynccontextmanager
async def a_pair(before_answer: Callable[[RTCPeerConnection], object] = on_loopback) -> AsyncIterator[Pair]:
    """Connect two peers; what follows may take ten seconds.

    Args:
        before_answer: called with the callee once it knows the offer.
    """
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    opened = asyncio.Event()
    try:
        caller.addTrack(ToneTrack())
        channel = caller.createDataChannel("x")
        channel.on("open", opened.set)
        on_loopback(caller)
        await caller.setLocalDescription(await caller.createOffer())
        await callee.setRemoteDescription(caller.localDescription)
        before_answer(callee)
        await callee.setLocalDescription(await callee.createAnswer())
        await caller.setRemoteDescription(callee.localDescription)
        async with asyncio.timeout(10):
            await opened.wait()
            yield Pair(caller, callee, channel)
    finally:
        await caller.close()
        await callee.close()

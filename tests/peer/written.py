"""A call whose packets a writer sends, to a plain aiortc peer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.rtp import RtcpSrPacket, RtpPacket

from voxgender.media.aiortc_internals.ice import bind_ice
from voxgender.peer.sending import RtpWriter, write_rtp


class Received:
    """Packets, reports and messages that a plain aiortc peer has received."""

    def __init__(self) -> None:
        self.packets: asyncio.Queue[RtpPacket] = asyncio.Queue()
        self.reports: asyncio.Queue[RtcpSrPacket] = asyncio.Queue()
        self.messages: asyncio.Queue[str] = asyncio.Queue()


@asynccontextmanager
async def a_call() -> AsyncIterator[tuple[RTCPeerConnection, RtpWriter, Received]]:
    """A connected caller with its writer, and what the other side hears."""
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    received = Received()
    ready: asyncio.Future[RtpWriter] = asyncio.get_running_loop().create_future()
    channel = caller.createDataChannel("chat")
    opened = asyncio.Event()
    channel.on("open", opened.set)
    callee.on("datachannel", lambda channel: channel.on("message", received.messages.put_nowait))
    try:
        transceiver = caller.addTransceiver("audio", direction="sendonly")
        write_rtp(transceiver, ready.set_result)
        bind_ice(caller, ["127.0.0.1"])
        await caller.setLocalDescription(await caller.createOffer())
        await callee.setRemoteDescription(caller.localDescription)
        _listen(callee, received)
        bind_ice(callee, ["127.0.0.1"])
        await callee.setLocalDescription(await callee.createAnswer())
        await caller.setRemoteDescription(callee.localDescription)
        async with asyncio.timeout(10):
            writer = await ready
            await opened.wait()
            yield caller, writer, received
    finally:
        await caller.close()
        await callee.close()


def _listen(callee: RTCPeerConnection, received: Received) -> None:
    (transceiver,) = callee.getTransceivers()
    receiver: Any = transceiver.receiver
    handle_rtcp = receiver._handle_rtcp_packet

    async def rtp(packet: RtpPacket, arrival_time_ms: int) -> None:
        received.packets.put_nowait(packet)

    async def rtcp(packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket):
            received.reports.put_nowait(packet)
        await handle_rtcp(packet)

    receiver._handle_rtp_packet = rtp
    receiver._handle_rtcp_packet = rtcp

"""Real WebRTC peers and the real HTTP application, on loopback, for tests of the server's side."""

import asyncio
import fractions
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
from aiohttp import ClientSession
from aiortc import MediaStreamTrack, RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from tests.waits import PATIENCE_S
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.http.app import ClientLimits, create_app
from voxgender.http.connections import TimeLimits
from voxgender.media.aiortc_internals.ice import bind_ice
from voxgender.media.node import MediaNode
from voxgender.media.session import Session
from voxgender.roles.hosting import LIMITS, listen
from voxgender.settings import FrontSettings

LOOPBACK = "127.0.0.1"
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


class ToneTrack(MediaStreamTrack):
    """A steady 200 Hz tone, 20 ms frames at 48 kHz in real time; ``limit`` frames, then the track ends."""

    kind = "audio"

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.sent = 0
        self._limit = limit
        self._started = 0.0

    async def recv(self) -> AudioFrame:
        if self.readyState != "live" or self.sent == self._limit:
            self.stop()
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        self._started = self._started or loop.time()
        await asyncio.sleep(max(0.0, self._started + self.sent * 0.02 - loop.time()))
        time = (np.arange(960) + self.sent * 960) / 48_000
        tone = (8_000 * np.sin(2 * np.pi * 200 * time)).astype(np.int16).reshape(1, -1)
        frame = AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self.sent * 960, fractions.Fraction(1, 48_000)
        self.sent += 1
        return frame


class Peer:
    """One aiortc peer: what a browser does, by hand."""

    def __init__(self, track: MediaStreamTrack | None = None, *, address: str = LOOPBACK) -> None:
        self._address = address
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.messages: asyncio.Queue[protocol.Message] = asyncio.Queue()
        self.closed = asyncio.Event()
        if track is not None:
            self.pc.addTrack(track)

    def channel(self, label: str, **shape: Any) -> RTCDataChannel:
        """Open a channel; what comes over it goes to ``messages``."""
        channel = self.pc.createDataChannel(label, **shape)
        channel.on("message", lambda text: self.messages.put_nowait(protocol.decode(text)))
        channel.on("close", lambda *_: self.closed.set())
        return channel

    def channels(self) -> None:
        """The two channels that clients open."""
        self.channel("results", ordered=False, maxRetransmits=0)
        self.channel("events")

    async def offer(self) -> str:
        bind_ice(self.pc, [self._address])
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return self.pc.localDescription.sdp

    async def accept(self, answer: str) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def call(self, http: ClientSession, *, endpoint: str = "/whip") -> str:
        """Place the call; return the session's path."""
        async with http.post(endpoint, data=await self.offer(), headers=SDP) as response:
            assert response.status == 201, await response.text()
            await self.accept(await response.text())
            return response.headers["Location"]

    async def until(self, kind: type[protocol.Message]) -> protocol.Message:
        """The next message of a kind; what comes before it is passed over."""
        while not isinstance(message := await asyncio.wait_for(self.messages.get(), PATIENCE_S), kind):
            pass
        return message

    async def close(self) -> None:
        await self.pc.close()


@asynccontextmanager
async def a_peer(track: MediaStreamTrack | None = None) -> AsyncIterator[Peer]:
    peer = Peer(track)
    try:
        yield peer
    finally:
        await peer.close()


class Server:
    """The application and its media node; ``http`` speaks to it."""

    def __init__(self, node: MediaNode, http: ClientSession, url: str) -> None:
        self.node = node
        self.http = http
        self.url = url


def session_on(node: MediaNode, path: str = "") -> Session:
    """Return the call over WebRTC that has this path or id; without one, the only call of a node."""
    (session,) = (session for session in node.places.sessions() if session.id in path or not path)
    assert isinstance(session, Session)
    return session


@asynccontextmanager
async def a_server(
    engine: Engine | None,
    *,
    settings: FrontSettings | None = None,
    http_limits: TimeLimits = LIMITS,
    clients: ClientLimits = ClientLimits(),  # noqa: B008 - it cannot change
    **limits: Any,
) -> AsyncIterator[Server]:
    """Serve on a free loopback port. Without an engine it stays in the state before its model is loaded."""
    node = MediaNode(**{"ice_addresses": [LOOPBACK], **limits})
    if engine is not None:
        node.start(engine)
    app = create_app(settings or FrontSettings(), node, limits=clients)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(node.close)
        port = await listen(app, stack, host=LOOPBACK, port=0, limits=http_limits)
        url = f"http://{LOOPBACK}:{port}"
        yield Server(node, await stack.enter_async_context(ClientSession(url)), url)

"""One synthetic caller: offers its audio to a server, plays it in real time, and measures what comes back."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from itertools import islice
from typing import NamedTuple

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from voxgender.errors import CallError
from voxgender.media.network import bind_ice
from voxgender.peer.report import Ending, Recorder, Report
from voxgender.peer.speech import PACKET_S, Speech
from voxgender.peer.track import PacketTrack
from voxgender.peer.whip import WhipClient, WhipSession, is_loopback
from voxgender.protocol import EVENTS_CHANNEL, RESULTS_CHANNEL, AnyMessage, Error, decode

CONNECT_TIMEOUT_S = 10.0
QUIET_S = 5.0
"""With no message for so long the server is asked whether the session still lives. A server that vanishes says
nothing, and ICE would take half a minute to notice (RFC 7675)."""
LAST_PACKETS_S = 0.1
"""Between the last packet and the DELETE, which travels another way and must not overtake it."""
FAREWELL_S = 3.0
"""How long the summary may take after the DELETE."""


class CallLost(CallError):
    """A call that was up came down before its time."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report
        """What was measured until then."""


class _Arrival(NamedTuple):
    message: AnyMessage
    at: float


class _End(NamedTuple):
    ending: Ending
    reason: str = ""


OnMessage = Callable[[AnyMessage], None]


def _ignore(message: AnyMessage) -> None:
    """Whoever only wants the report."""


class Caller:
    """A single call; :meth:`run` places it and sees it through."""

    def __init__(self, url: str, speech: Speech, *, token: str | None = None, duration_s: float | None = None) -> None:
        """
        Args:
            url: the server, ``http://host:port`` or its ``…/whip``. On a loopback host the call stays on loopback.
            speech: what to say.
            token: bearer token, for a server that asks for one.
            duration_s: hang up after so many seconds of audio; by default when the speech ends.
        """
        self._url = url
        self._token = token
        self._turns = speech.turns
        self._packets = speech.packets
        if duration_s is not None:
            self._packets = islice(speech.packets, round(duration_s / PACKET_S))
        self._events: asyncio.Queue[_Arrival | _End] = asyncio.Queue()
        self._settled = asyncio.Event()
        self._connected = False
        self._hung_up = False
        self._connect_ms = 0.0
        self.recorder = Recorder(())

    def hang_up(self) -> None:
        """End the call early, in good order: :meth:`run` returns its report."""
        self._hung_up = True
        self._end(_End("hung_up"))

    async def run(self, on_message: OnMessage = _ignore, *, on_connected: Callable[[], None] = lambda: None) -> Report:
        """Place the call, and stay until the audio has been played or :meth:`hang_up`.

        Args:
            on_message: called with every message from the server, as it comes.
            on_connected: called once, when audio flows.

        Raises:
            CallError: the call did not come about; the message says what to do.
            CallLost: it came down before its time.
        """
        async with AsyncExitStack() as stack:
            whip = await stack.enter_async_context(WhipClient(self._url, token=self._token))
            track = PacketTrack(self._packets)
            self.recorder = Recorder(track.sent, self._turns)
            pc = self._connection(track)
            stack.push_async_callback(pc.close)
            if is_loopback(whip.endpoint):
                bind_ice(pc, ["127.0.0.1"])
            session = await self._connect(pc, whip, stack)
            on_connected()
            end = await self._listen(session, on_message)
            if end.ending == "lost":
                raise CallLost(end.reason, self._report("lost"))
            if end.ending == "played":
                await asyncio.sleep(LAST_PACKETS_S)
            await self._say_goodbye(session, on_message)
            return self._report(end.ending)

    def _connection(self, track: PacketTrack) -> RTCPeerConnection:
        # One transport for everything, as RFC 9725 section 4.4.1 asks; no STUN server to wait for.
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        pc.addTransceiver(track, direction="sendonly")
        results = pc.createDataChannel(RESULTS_CHANNEL, ordered=False, maxRetransmits=0)
        events = pc.createDataChannel(EVENTS_CHANNEL)
        for channel in (results, events):
            channel.on("message", self._receive)
        events.on("close", lambda: self._end(_End("lost", "the server ended the call")))
        pc.on("connectionstatechange", lambda: self._watch(pc))
        track.played.add_done_callback(lambda _: self._end(_End("played")))
        return pc

    async def _connect(self, pc: RTCPeerConnection, whip: WhipClient, stack: AsyncExitStack) -> WhipSession:
        started = time.monotonic()
        await pc.setLocalDescription(await pc.createOffer())
        session = await whip.open(pc.localDescription.sdp)
        stack.push_async_callback(session.delete)
        try:
            await pc.setRemoteDescription(RTCSessionDescription(session.answer, "answer"))
        except Exception as error:  # noqa: BLE001 - aiortc raises whatever it stumbles over in an SDP
            raise CallError(f"{whip.endpoint}: its answer cannot be used: {error!r}") from None
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._settled.wait()
        if not self._connected and not self._hung_up:
            if not await session.alive():
                raise CallError(f"{whip.endpoint}: the server took the call and gave it up; its log says why")
            raise CallError(
                f"{whip.endpoint}: the server answered, but no media path to it came up; "
                "is UDP open on the way, and its --ice-address one that this machine reaches?"
            )
        self._connect_ms = (time.monotonic() - started) * 1000
        return session

    def _watch(self, pc: RTCPeerConnection) -> None:
        if pc.connectionState == "connected":
            self._connected = True
            self._settled.set()
        elif pc.connectionState in ("failed", "closed"):
            self._end(_End("lost", "the connection to the server is gone"))

    def _receive(self, text: str | bytes) -> None:
        try:
            message = decode(text)
        except ValueError:
            self.recorder.messages["unknown"] += 1
            return
        self._events.put_nowait(_Arrival(message, time.monotonic()))

    def _end(self, end: _End) -> None:
        self._events.put_nowait(end)
        self._settled.set()

    async def _listen(self, session: WhipSession, on_message: OnMessage) -> _End:
        """Take messages in until something ends the call."""
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    event = await self._events.get()
            except TimeoutError:
                if await session.alive():
                    continue
                return _End("lost", "the server is gone")
            if isinstance(event, _End):
                return event
            self.recorder.take(*event)
            on_message(event.message)
            if isinstance(event.message, Error):
                return _End("lost", f"the server ended the call: {event.message.message}")

    async def _say_goodbye(self, session: WhipSession, on_message: OnMessage) -> None:
        """End the session, and take in what the server still has to say: the last segment and the summary."""
        expected = await session.delete()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S if expected else 0):
                while self.recorder.summary is None:
                    event = await self._events.get()
                    if isinstance(event, _Arrival):
                        self.recorder.take(*event)
                        on_message(event.message)
                    elif event.ending == "lost":
                        return

    def _report(self, ending: Ending) -> Report:
        return self.recorder.report(ended=ending, connect_ms=self._connect_ms)

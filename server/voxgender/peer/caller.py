"""Place one synthetic call: offer audio to a server, play it in real time, measure the results."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from types import MappingProxyType
from typing import Literal, NamedTuple

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

from voxgender.errors import CallError
from voxgender.media.aiortc_internals.ice import bind_ice
from voxgender.peer.faults import FaultyLink
from voxgender.peer.link import impair
from voxgender.peer.pacer import Pacer
from voxgender.peer.player import Player
from voxgender.peer.relay import working_relay
from voxgender.peer.report import Ending, Recorder, Report
from voxgender.peer.sending import write_rtp
from voxgender.peer.speech import PACKET_S, Speech, packet_times
from voxgender.peer.whip import WhipClient, WhipSession, is_loopback
from voxgender.protocol import EVENTS_CHANNEL, RESULTS_CHANNEL, AnyMessage, Error, Summary, decode

CONNECT_TIMEOUT_S = 10.0
QUIET_S = 5.0
"""Time without messages after which the server is asked whether the session still exists. ICE would take half a minute
to notice that a server is gone (RFC 7675)."""
LAST_PACKETS_S = 0.1
"""Time between the last packet and the DELETE, which travels another way and must not overtake it."""
SUMMARY_S = 3.0
"""Time for the summary to come after the DELETE."""


class CallLost(CallError):
    """A connected call was lost before its end."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report
        """The measurements up to the loss."""


class _End(NamedTuple):
    ending: Ending
    reason: str = ""


OnMessage = Callable[[AnyMessage], None]
Route = Literal["direct", "any", "relay"]
"""Ways to the server: from this machine's own addresses; also by the server's TURN server; by that alone."""


def ignore(message: AnyMessage) -> None:
    """Ignore a message."""


class Caller:
    """A single call; :meth:`run` places it and waits for its end."""

    def __init__(
        self,
        url: str,
        speech: Speech,
        *,
        token: str | None = None,
        query: Mapping[str, str] = MappingProxyType({}),
        duration_s: float | None = None,
        route: Route = "direct",
        link: FaultyLink | None = None,
        pacer: Pacer | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        quiet_s: float = QUIET_S,
    ) -> None:
        """Prepare a call.

        Args:
            url: the server, ``http://host:port`` or its ``…/whip``. On a loopback host the call stays on loopback.
            speech: the speech to play.
            token: bearer token, for a server that asks for one.
            query: options of the call.
            duration_s: hang up after so many seconds of audio; by default when the speech ends.
            route: the ways to the server that are tried. On a loopback host only "relay" asks for a TURN server.
            link: applies faults of the network.
            pacer: shared by callers of one event loop, so that they share a timer.
            connect_timeout_s: time for the media path to connect.
            quiet_s: with no message for so long the server is asked whether the session still lives.
        """
        self._url = url
        self._token = token
        self._query = query
        self._turns = speech.turns
        self._speech = speech
        self._most = None if duration_s is None else round(duration_s / PACKET_S)
        self._answer = ""
        self._route: Route = route
        self._pacer = pacer or Pacer()
        self._connect_timeout_s = connect_timeout_s
        self._quiet_s = quiet_s
        self._on_message: OnMessage = ignore
        self._heard_at = 0.0
        self._over: asyncio.Future[_End] = asyncio.get_running_loop().create_future()
        self._failure: BaseException | None = None
        self._settled = asyncio.Event()
        self._summed_up = asyncio.Event()
        self._connected = False
        self._hung_up = False
        self.link = link
        self.recorder = Recorder(())

    def hang_up(self) -> None:
        """End the call early; :meth:`run` returns its report."""
        self._hung_up = True
        self._end(_End("hung_up"))

    async def run(self, on_message: OnMessage = ignore, *, on_connected: Callable[[], None] = lambda: None) -> Report:
        """Place the call, and stay until the audio has been played or :meth:`hang_up`.

        Args:
            on_message: called with every message from the server, as it comes.
            on_connected: called once, when audio flows.

        Raises:
            CallError: the call did not come about; the message says what to do.
            CallLost: it came down before its time.
        """
        self._on_message = on_message
        async with AsyncExitStack() as stack:
            whip = await stack.enter_async_context(WhipClient(self._url, token=self._token, query=self._query))
            player = Player(self._packets(), self._pacer)
            stack.callback(player.stop)
            player.played.add_done_callback(self._when_played)
            self.recorder = Recorder(player.sent, self._turns, outages=self.link.outages if self.link else ())
            relay = await self._relay(whip)
            pc = self._connection(player, relay)
            stack.push_async_callback(pc.close)
            if is_loopback(whip.endpoint) and self._route != "relay":
                bind_ice(pc, ["127.0.0.1"])
            session = await self._connect(pc, whip, stack)
            if self.link is not None:
                stack.callback(self.link.close)
                impair(pc, self.link)
                self.link.start()
            on_connected()
            end = await self._wait_for_end(session)
            if end.ending == "lost":
                raise CallLost(end.reason, self.recorder.report(ended="lost"))
            if end.ending == "played":
                await asyncio.sleep(LAST_PACKETS_S)
            await self._end_session(session)
            return self.recorder.report(ended=end.ending)

    async def _relay(self, whip: WhipClient) -> RTCIceServer | None:
        """Return a TURN server that works, or None if this call needs none."""
        if self._route == "direct" or (self._route == "any" and is_loopback(whip.endpoint)):
            return None
        servers = [server for server in await whip.ice_servers() if str(server.urls).startswith("turn")]
        if not servers and self._route == "relay":
            raise CallError(
                f"{whip.endpoint}: the server tells this caller of no TURN server; "
                "it needs an --ice-server turn:HOST, and the caller the token where one is asked for"
            )
        try:
            return await working_relay(servers) if servers else None
        except CallError as error:
            if self._route == "relay":
                raise CallError(f"{whip.endpoint}: {error}") from None
            return None

    def _connection(self, player: Player, relay: RTCIceServer | None) -> RTCPeerConnection:
        policy = RTCIceTransportPolicy.RELAY if self._route == "relay" else RTCIceTransportPolicy.ALL
        # One transport for everything, as RFC 9725 section 4.4.1 asks; no STUN server to wait for.
        pc = RTCPeerConnection(
            RTCConfiguration([relay] if relay else [], policy, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        transceiver = pc.addTransceiver("audio", direction="sendonly")
        opus = [codec for codec in RTCRtpSender.getCapabilities("audio").codecs if codec.mimeType == "audio/opus"]
        transceiver.setCodecPreferences(opus)
        write_rtp(transceiver, player.start)
        results = pc.createDataChannel(RESULTS_CHANNEL, ordered=False, maxRetransmits=0)
        events = pc.createDataChannel(EVENTS_CHANNEL)
        for channel in (results, events):
            channel.on("message", self._receive)
        events.on("close", lambda: self._end(_End("lost", "the server ended the call")))
        pc.on("connectionstatechange", lambda: self._watch(pc))
        return pc

    def _packets(self) -> Iterator[bytes]:
        """Return the packets to play, in the form that the answer asks for."""
        said = 0
        for payload in self._speech.asked_for_by(self._answer):
            if self._most is not None and said >= self._most:
                return
            yield payload
            said += packet_times(payload)

    async def _connect(self, pc: RTCPeerConnection, whip: WhipClient, stack: AsyncExitStack) -> WhipSession:
        started = self.recorder.placed_at = time.monotonic()
        await pc.setLocalDescription(await pc.createOffer())
        session = await whip.open(pc.localDescription.sdp)
        stack.push_async_callback(session.delete)
        self._answer = session.answer
        try:
            await pc.setRemoteDescription(RTCSessionDescription(session.answer, "answer"))
        except Exception as error:  # noqa: BLE001 - aiortc raises whatever it stumbles over in an SDP
            raise CallError(f"{whip.endpoint}: its answer cannot be used: {error!r}") from None
        with suppress(TimeoutError):
            async with asyncio.timeout(self._connect_timeout_s):
                await self._settled.wait()
        if not self._connected and not self._hung_up:
            if not await session.alive():
                raise CallError(f"{whip.endpoint}: the server took the call and gave it up; its log says why")
            if self._route == "relay":
                raise CallError(
                    f"{whip.endpoint}: the server answered, but no media path by the TURN server came up; "
                    "may that relay to the server's --ice-address?"
                )
            raise CallError(
                f"{whip.endpoint}: the server answered, but no media path to it came up; "
                "is UDP open on the way, and its --ice-address one that this machine reaches?"
            )
        self.recorder.connect_ms = (time.monotonic() - started) * 1000
        return session

    def _watch(self, pc: RTCPeerConnection) -> None:
        if pc.connectionState == "connected":
            self._connected = True
            self._settled.set()
        elif pc.connectionState in ("failed", "closed"):
            self._end(_End("lost", "the connection to the server is gone"))

    def _receive(self, text: str | bytes) -> None:
        self._heard_at = now = time.monotonic()
        try:
            message = decode(text)
        except ValueError:
            self.recorder.messages["unknown"] += 1
            return
        self.recorder.add(message, now)
        try:
            self._on_message(message)
        except Exception as error:  # noqa: BLE001 - aiortc would only log it; run() raises it
            self._fail(error)
        match message:
            case Summary():
                self._summed_up.set()
            case Error():
                self._end(_End("lost", f"the server ended the call: {message.message}"))

    def _when_played(self, played: asyncio.Future[None]) -> None:
        if played.cancelled():
            return
        if (error := played.exception()) is not None:
            self._fail(error)
        else:
            self._end(_End("played"))

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._end(_End("lost", "the caller failed"))

    def _end(self, end: _End) -> None:
        if not self._over.done():
            self._over.set_result(end)
        self._settled.set()
        self._summed_up.set()

    async def _wait_for_end(self, session: WhipSession) -> _End:
        """Wait for the end of the call while messages come."""
        self._heard_at = time.monotonic()
        while True:
            quiet_s = time.monotonic() - self._heard_at
            done, _ = await asyncio.wait((self._over,), timeout=max(0.0, self._quiet_s - quiet_s))
            if done:
                if self._failure is not None:
                    raise self._failure
                return self._over.result()
            if time.monotonic() - self._heard_at >= self._quiet_s:
                if not await session.alive():
                    return _End("lost", "the server is gone")
                self._heard_at = time.monotonic()

    async def _end_session(self, session: WhipSession) -> None:
        """End the session, and wait for the last segment and the summary."""
        if self.recorder.summary is None:
            self._summed_up.clear()
        if await session.delete():
            with suppress(TimeoutError):
                async with asyncio.timeout(SUMMARY_S):
                    await self._summed_up.wait()
        if self._failure is not None:
            raise self._failure

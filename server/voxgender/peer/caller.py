"""Place one synthetic call: offer one voice or several to a server, play them in real time, measure the results."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from aiortc import RTCPeerConnection

from voxgender.errors import CallError
from voxgender.media.aiortc_internals.ice import bind_ice
from voxgender.peer.faults import FaultyLink
from voxgender.peer.link import impair
from voxgender.peer.negotiation import Negotiation
from voxgender.peer.pacer import Pacer
from voxgender.peer.player import Player
from voxgender.peer.report import Ending, Recorder, Report
from voxgender.peer.route import Route, new_connection, no_path, relay_for
from voxgender.peer.speech import PACKET_S, Speech, packet_times
from voxgender.peer.whip import WhipClient, WhipSession, is_loopback
from voxgender.protocol import EVENTS_CHANNEL, RESULTS_CHANNEL, AnyMessage, Error, Hello, Result, Summary, decode
from voxgender.sdp import MAX_NAME, MAX_VOICES, is_title

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


class _Voice(NamedTuple):
    """A voice that is sent, or has been."""

    player: Player
    recorder: Recorder


OnMessage = Callable[[AnyMessage], None]


def ignore(message: AnyMessage) -> None:
    """Ignore a message."""


class Caller:
    """A single call; :meth:`run` places it and waits for its end.

    A room sends several voices, each by its name. One whose speech is over leaves it; with the last one the call ends.
    """

    def __init__(
        self,
        url: str,
        speech: Speech | Mapping[str, Speech],
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
            speech: the speech to play; for a room, that of each voice by its name.
            token: bearer token, for a server that asks for one.
            query: options of the call.
            duration_s: hang up after so many seconds of audio; by default when the speech ends.
            route: the ways to the server that are tried. On a loopback host only "relay" asks for a TURN server.
            link: applies faults of the network.
            pacer: shared by callers of one event loop, so that they share a timer.
            connect_timeout_s: time for the media path to connect.
            quiet_s: with no message for so long the server is asked whether the session still lives.

        Raises:
            ValueError: there is no voice, there are too many, or one has a name that no voice can have.
        """
        self._is_room = not isinstance(speech, Speech)
        self._speech: Mapping[str | None, Speech] = (
            {None: speech} if isinstance(speech, Speech) else dict(speech.items())
        )
        _check_names(self._speech)
        self._url = url
        self._token = token
        self._query = query
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
        self._voices: dict[str | None, _Voice] = {}
        """All voices that are sent, or have been, by their names."""
        self._playing: set[str | None] = set()
        self._negotiation: Negotiation | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._decided = asyncio.Event()
        """Set once the call is connected, or is over before."""
        self._summed_up = asyncio.Event()
        self._connected = False
        self._hung_up = False
        self.link = link
        self.recorder = Recorder(())
        """Measurements of the call; those of a room's voices are their own, and are joined in its report."""

    def hang_up(self) -> None:
        """End the call early; :meth:`run` returns its report."""
        self._hung_up = True
        self._end(_End("hung_up"))

    async def add(self, name: str, speech: Speech) -> None:
        """Let another voice join the room in mid-call.

        Args:
            name: its name, which no other voice of the call has had.
            speech: the speech to play.

        Raises:
            ValueError: the name cannot be used, or there are too many voices.
            CallError: the server refuses, or does not answer; the others go on.
        """
        negotiation = self._room()
        if name in self._voices:
            raise ValueError(f"there is, or has been, a voice {name} already")
        _check_names([*self._playing, name])
        placed_at = time.monotonic()
        self._begin_voice(name, speech)
        try:
            await negotiation.add(name, self._voices[name].player.start)
        except BaseException:
            self._end_voice(name)
            del self._voices[name]
            raise
        self._voices[name].recorder.placed_at = placed_at

    async def remove(self, name: str) -> None:
        """Let a voice leave the room. Nothing of it is sent any more, even if the server does not answer.

        Raises:
            ValueError: there is no such voice, or it is the last one: hang up instead.
            CallError: the server refuses, or does not answer.
        """
        negotiation = self._room()
        if name not in self._playing:
            raise ValueError(f"there is no voice {name}")
        if len(self._playing) == 1:
            raise ValueError(f"{name} is the last voice: hang up")
        self._end_voice(name)
        await negotiation.remove(name)

    async def run(self, on_message: OnMessage = ignore, *, on_connected: Callable[[], None] = lambda: None) -> Report:
        """Place the call, and stay until the audio has been played or :meth:`hang_up`.

        Args:
            on_message: called with every message from the server, as it comes.
            on_connected: called once, when audio flows.

        Raises:
            CallError: the call could not be placed; the message says what to do.
            CallLost: it came down before its time.
        """
        self._on_message = on_message
        async with AsyncExitStack() as stack:
            whip = await stack.enter_async_context(WhipClient(self._url, token=self._token, query=self._query))
            outages = self.link.outages if self.link else ()
            self.recorder = Recorder((), outages=outages)
            pc = new_connection(self._route, await relay_for(self._route, whip))
            pc.on("connectionstatechange", lambda: self._watch(pc))
            stack.push_async_callback(pc.close)
            stack.callback(self._stop_playing)
            stack.push_async_callback(self._stop_negotiating)
            self._negotiation = Negotiation(pc)
            for name, words in self._speech.items():
                self._begin_voice(name, words)
                self._negotiation.begin_line(name, self._voices[name].player.start)
            self._open_channels(pc)
            if is_loopback(whip.endpoint) and self._route != "relay":
                bind_ice(pc, ["127.0.0.1"])
            session = await self._connect(whip, stack)
            if self.link is not None:
                stack.callback(self.link.close)
                impair(pc, self.link)
                self.link.start()
            on_connected()
            end = await self._wait_for_end(session)
            if end.ending == "lost":
                raise CallLost(end.reason, self._report("lost"))
            if end.ending == "played":
                await asyncio.sleep(LAST_PACKETS_S)
            await self._end_session(session)
            return self._report(end.ending)

    def _open_channels(self, pc: RTCPeerConnection) -> None:
        results = pc.createDataChannel(RESULTS_CHANNEL, ordered=False, maxRetransmits=0)
        events = pc.createDataChannel(EVENTS_CHANNEL)
        for channel in (results, events):
            channel.on("message", self._receive)
        events.on("close", lambda: self._end(_End("lost", "the server ended the call")))

    def _begin_voice(self, name: str | None, speech: Speech) -> None:
        """Prepare a voice, which is played once its line can send."""
        player = Player(self._packets(speech), self._pacer)
        player.played.add_done_callback(partial(self._when_played, name))
        recorder = Recorder(player.sent, speech.turns, outages=self.recorder.outages)
        if name is None:
            self.recorder = recorder
        self._voices[name] = _Voice(player, recorder)
        self._playing.add(name)

    def _end_voice(self, name: str | None) -> None:
        self._playing.discard(name)
        self._voices[name].player.stop()

    def _room(self) -> Negotiation:
        if not self._is_room:
            raise CallError("a call of one voice takes no others: begin with voices by their names")
        if self._negotiation is None or not self._connected or self._over.done():
            raise CallError("there is no call to join: wait until it is connected")
        return self._negotiation

    def _packets(self, speech: Speech) -> Iterator[bytes]:
        """Return the packets to play, in the form that the answer asks for."""
        said = 0
        for payload in speech.asked_for_by(self._answer):
            if self._most is not None and said >= self._most:
                return
            yield payload
            said += packet_times(payload)

    def _stop_playing(self) -> None:
        for voice in self._voices.values():
            voice.player.stop()

    async def _stop_negotiating(self) -> None:
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._negotiation is not None:
            await self._negotiation.close()

    def _report(self, ended: Ending) -> Report:
        voices = {name: voice.recorder for name, voice in self._voices.items() if name is not None}
        return self.recorder.report(ended=ended, voices=voices)

    async def _connect(self, whip: WhipClient, stack: AsyncExitStack) -> WhipSession:
        assert self._negotiation is not None
        started = time.monotonic()
        for recorder in (self.recorder, *(voice.recorder for voice in self._voices.values())):
            recorder.placed_at = started
        session = await whip.open(await self._negotiation.offer())
        stack.push_async_callback(session.delete)
        self._answer = session.answer
        try:
            await self._negotiation.accept(session)
        except CallError as error:
            raise CallError(f"{whip.endpoint}: {error}") from None
        with suppress(TimeoutError):
            async with asyncio.timeout(self._connect_timeout_s):
                await self._decided.wait()
        if not self._connected and not self._hung_up:
            if not await session.alive():
                raise CallError(f"{whip.endpoint}: the server took the call and gave it up; its log says why")
            raise no_path(self._route, whip)
        self.recorder.connect_ms = (time.monotonic() - started) * 1000
        return session

    def _watch(self, pc: RTCPeerConnection) -> None:
        if pc.connectionState == "connected":
            self._connected = True
            self._decided.set()
        elif pc.connectionState in ("failed", "closed"):
            self._end(_End("lost", "the connection to the server is gone"))

    def _receive(self, text: str | bytes) -> None:
        self._heard_at = now = time.monotonic()
        try:
            message = decode(text)
        except ValueError:
            self.recorder.messages["unknown"] += 1
            return
        self._record(message, now)
        try:
            self._on_message(message)
        except Exception as error:  # noqa: BLE001 - aiortc would only log it; run() raises it
            self._fail(error)
        match message:
            case Hello(voices=None) if self._is_room:
                self._fail(CallError("the server takes one voice in a call: make a call for each voice"))
            case Summary(channel=None):
                # In a room each voice has one, too; that of all of them comes last.
                self._summed_up.set()
            case Error():
                self._end(_End("lost", f"the server ended the call: {message.message}"))

    def _record(self, message: AnyMessage, arrived_at: float) -> None:
        """Record a message with the voice that it is about, or with the call."""
        voice = (
            self._voices.get(getattr(message, "name", None)) if self._is_room and message.channel is not None else None
        )
        if voice is None:
            self.recorder.add(message, arrived_at)
            return
        if isinstance(message, Result) and voice.player.sent:
            began_at = min(other.player.sent[0] for other in self._voices.values() if other.player.sent)
            voice.recorder.begins_s = voice.player.sent[0] - began_at
        voice.recorder.add(message, arrived_at)

    def _when_played(self, name: str | None, played: asyncio.Future[None]) -> None:
        if played.cancelled():
            return
        self._playing.discard(name)
        if (error := played.exception()) is not None:
            self._fail(error)
        elif not self._playing:
            self._end(_End("played"))
        elif name is not None:
            task = asyncio.create_task(self._leave(name), name="voice-leaves")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _leave(self, name: str) -> None:
        """Let a voice leave whose speech is over."""
        assert self._negotiation is not None
        await asyncio.sleep(LAST_PACKETS_S)
        # Nothing of it is sent any more, whatever comes of this.
        with suppress(CallError):
            await self._negotiation.remove(name)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._end(_End("lost", "the caller failed"))

    def _end(self, end: _End) -> None:
        if not self._over.done():
            self._over.set_result(end)
        self._decided.set()
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
        await self._stop_negotiating()
        if self.recorder.summary is None:
            self._summed_up.clear()
        if await session.delete():
            with suppress(TimeoutError):
                async with asyncio.timeout(SUMMARY_S):
                    await self._summed_up.wait()
        if self._failure is not None:
            raise self._failure


def _check_names(names: Collection[str | None]) -> None:
    if not 0 < len(names) <= MAX_VOICES:
        raise ValueError(f"a room has 1 to {MAX_VOICES} voices")
    for name in names:
        if name is not None and not is_title(name):
            raise ValueError(f"a voice's name has 1 to {MAX_NAME} characters, and no space at its ends")

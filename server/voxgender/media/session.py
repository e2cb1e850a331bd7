"""Run one peer connection, from the offer to the close: a call of one voice, or a room of several."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceCandidate,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)

from voxgender import metrics
from voxgender.calloptions import DEFAULTS, CallOptions
from voxgender.engine import Engine
from voxgender.engine.messages import NO_MEDIA, NO_MEDIA_S
from voxgender.engine.schedule import Phase
from voxgender.errors import Draining, NotReady, SdpRejected, SessionNotFound
from voxgender.media import negotiation
from voxgender.media.aiortc_internals import handshake, sctp
from voxgender.media.aiortc_internals.bundling import bundle
from voxgender.media.aiortc_internals.certificates import Certificates
from voxgender.media.aiortc_internals.closing import close, suppress_close_errors
from voxgender.media.aiortc_internals.ice import HostAddresses, gather_on
from voxgender.media.aiortc_internals.paths import Consent
from voxgender.media.aiortc_internals.reception import RtpDiversion, take_over_rtp
from voxgender.media.aiortc_internals.records import read_records
from voxgender.media.aiortc_internals.sctp import wait_delivered
from voxgender.media.audiobudget import EXCESSES, Excess
from voxgender.media.decoder import Decoders
from voxgender.media.dtls import Failure
from voxgender.media.livesession import DELIVERY_TIMEOUT_S, FLUSH_TIMEOUT_S, LiveSession, Reason, first_message
from voxgender.media.outbox import Outbox
from voxgender.media.receiver import BYE_GRACE_S, AudioReceiver
from voxgender.media.room import Room
from voxgender.media.sockets import Sockets
from voxgender.protocol import Error, Message, Warning
from voxgender.sdp import CLOCK_RATES_HZ, MAX_CANDIDATES, MAX_VOICES, Candidate, Fragment, Offer

logger = logging.getLogger(__name__)

VOICES_SIZE = 3_000
"""Bytes of ``hello`` that the voices of a room may take: each has a name of up to 64 characters, and a ``mid``."""


class SessionTimes(NamedTuple):
    """Times after which a session takes its peer to be gone."""

    bye_grace_s: float = BYE_GRACE_S
    consent: Consent = Consent()


class Session(LiveSession):
    """One call over WebRTC. :meth:`answer` begins it; :meth:`end` or the peer ends it, then ``on_ended`` is called.

    Args:
        session_id: unguessable, since everybody who knows it may end the call.
        engine: the engine of all calls.
        sockets: the UDP sockets of all calls of the process.
        certificates: the certificate of all calls of the process.
        addresses: the addresses of host candidates.
        times: times after which the peer is taken to be gone.
        silence_timeout_s: time without packets and messages after which the node ends the call; it is told the client.
        options: what the caller wants of this call.
        on_connected: called when the peer is connected; it may be so again after a pause.
        on_ended: called once the call is over.
        admit: takes places for more voices than one; raises ``NotReady`` or ``TooManySessions`` where there are none.
    """

    def __init__(
        self,
        session_id: str,
        engine: Engine,
        *,
        sockets: Sockets,
        certificates: Certificates,
        addresses: HostAddresses = HostAddresses(),  # noqa: B008 - it cannot change
        times: SessionTimes = SessionTimes(),  # noqa: B008 - they cannot change
        silence_timeout_s: float = 15.0,
        options: CallOptions = DEFAULTS,
        on_connected: Callable[["Session"], None] = lambda _: None,
        on_ended: Callable[["Session"], None] = lambda _: None,
        admit: Callable[["Session", int], Awaitable[None]] | None = None,
    ) -> None:
        hello = first_message(
            engine,
            session_id,
            options,
            max_voices=MAX_VOICES,
            silence_s=silence_timeout_s,
            messages_per_s=sctp.CHUNKS_PER_S,
        )
        super().__init__(hello, engine.hop_ms, on_ended)
        self._engine = engine
        self._on_connected = on_connected
        self._admit = admit
        self._room: Room | None = None
        self._negotiating = asyncio.Lock()
        self._sockets = sockets
        self._addresses = addresses
        self._times = times
        # The default would ask a public STUN server, and can stall the answer for 5 s.
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        certificates.show(self._pc)
        decoders = Decoders()
        self._call = engine.open(self._on_messages, self._on_analysed, decode=decoders.decode)
        # It must not hold the session, which holds it.
        outbox = self._outbox
        self._receiver = AudioReceiver(
            self._call,
            decoders,
            lambda excess: outbox.post_now_and_then(Warning(code=excess, message=EXCESSES[excess])),
            bye_grace_s=times.bye_grace_s,
        )
        self._diversion: RtpDiversion | None = None
        self._analysed = asyncio.Event()
        self._answered = False
        self.offer: Offer | None = None
        """The client's latest offer that was answered, or is being answered."""
        self._tried: set[tuple[str, int]] = set()
        """Addresses of the peer's candidates."""
        self._spoken_at = 0.0
        self._connected_at: float | None = None

    @property
    def state(self) -> str:
        """The connection's state in W3C words: new, connecting, connected, failed, closed."""
        return self._pc.connectionState

    @property
    def places(self) -> int:
        """Places that its voices take."""
        return 1 if self._room is None else max(1, self._room.places)

    @property
    def last_active_at(self) -> float:
        """Time of the peer's last packet or message, seconds of ``time.monotonic``."""
        return max(self.started_at, self._voices.last_arrival, self._spoken_at)

    def status(self) -> dict[str, Any]:
        """Return the session's state for operators; it tells nothing about voices."""
        told = super().status() | {"packets_lost": self._voices.lost}
        return told if self._room is None else told | {"voices": self._room.status()}

    async def answer(self, offer: Offer) -> str:
        """Answer the client's offer and begin to receive audio.

        Raises:
            SdpRejected: the offer cannot be answered; nothing is left of the session then.
            NotReady: no UDP port is left, or the session was ended meanwhile.
        """
        pc = self._pc
        try:
            self.offer = offer
            self._check_message_size(offer)
            if offer.is_room:
                await self._open_room(offer)
            await pc.setRemoteDescription(RTCSessionDescription(negotiation.aiortc_offer(offer), "offer"))
            (transceiver,) = pc.getTransceivers()
            self._receive(transceiver, offer)
            suppress_close_errors(pc)
            handshake.watch(pc, self._on_insecure)
            sctp.bound(pc, self._on_excessive_data)
            bundle(pc)
            gather_on(
                pc,
                self._sockets,
                self._addresses,
                self._phase,
                peer=offer.transport.ufrag,
                consent=self._times.consent,
                on_consent_expired=lambda: self.end_soon("consent_expired"),
            )
            await pc.setLocalDescription(await pc.createAnswer())
            pc.on("datachannel", self._on_datachannel)
            pc.on("connectionstatechange", self._on_connection_state)
            await self._add_candidates(offer.candidates)
            if self.ended_for is not None:
                raise Draining
            answer = negotiation.complete(offer, pc.localDescription.sdp)
        except BaseException:
            # Refused or cancelled: close everything, and do not count as ended what never began.
            pc.remove_all_listeners()
            self._abandon()
            await close(pc)
            raise
        self._answered = True
        return answer

    def _check_message_size(self, offer: Offer) -> None:
        """Check that the client takes the longest message of the call: tags and the names of voices make it long."""
        size = len(self._outbox.hello.to_json().encode()) + (VOICES_SIZE if offer.is_room else 0)
        if offer.data is not None and 0 < offer.data.max_message_size < size:
            raise SdpRejected(
                f"The first message of this call may have {size} bytes: offer an a=max-message-size of as many, or "
                "give the call fewer and shorter tags."
            )

    async def update(self, sdp: str) -> str:
        """Answer a later offer of a room (RFC 3264 section 8), which adds, removes or names voices.

        Raises:
            SdpRejected: the offer cannot be answered, or belongs to another connection; nothing has changed then.
            NotReady, TooManySessions: there is no place for another voice; nothing has changed then.
        """
        async with self._negotiating:
            before, room = self.offer, self._room
            if room is None or before is None or not self._answered:
                raise SdpRejected(
                    "This call has one voice: others need a call whose first offer has several.", code="one_voice"
                )
            offer = Offer.parse(sdp).of_room()
            negotiation.check_update(before, offer)
            more = room.new_lines(offer.voices)
            try:
                await self._take_places(more)
            except NotReady:
                if self.ended_for not in (None, "shutdown"):
                    raise SessionNotFound from None
                raise
            self.offer = offer
            room.update(offer.voices)
            self._serve_room(offer)
            return negotiation.complete(offer, self._pc.localDescription.sdp)

    async def _take_places(self, more: int) -> None:
        if more and self._admit is not None:
            await self._admit(self, more)
        if self.ended_for is not None:
            raise Draining

    async def _open_room(self, offer: Offer) -> None:
        """Let each audio line of an offer be a voice of its own."""
        self._call.abandon()
        self._room = Room(
            self._engine, self._call.phase, self._on_messages, _room_excess(self._outbox), self._on_analysed
        )
        await self._take_places(len(offer.voices) - 1)
        self._room.update(offer.voices)
        self._outbox.widen(MAX_VOICES)

    def _serve_room(self, offer: Offer) -> None:
        assert self._room is not None
        assert self._diversion is not None
        rates = {codec.payload_type: CLOCK_RATES_HZ[codec.name] for voice in offer.voices for codec in voice.codecs}
        self._diversion.serve_room(len(offer.voices), rates, offer.mid_extension)
        self._outbox.hello = self._room.hello(self._outbox.hello)

    @property
    def _voices(self) -> "AudioReceiver | Room":
        return self._receiver if self._room is None else self._room

    @property
    def _phase(self) -> Phase:
        return self._call.phase if self._room is None else self._room.phase

    def _abandon(self) -> None:
        self._call.abandon()
        if self._room is not None:
            self._room.abandon()

    async def trickle(self, fragment: str) -> None:
        """Add the peer's candidates (RFC 9725 section 4.3.2). Beyond ``MAX_CANDIDATES`` in a call they are ignored.

        Raises:
            SdpRejected: it cannot be read, or asks for an ICE restart.
        """
        parsed = Fragment.parse(fragment)
        offer = self.offer
        if offer is None:
            return
        # Lines that are not bundled have names of their own.
        if any(ufrag != offer.transport.ufrag for mid, ufrag in parsed.ufrags if offer.takes(mid)):
            raise SdpRejected("ICE restarts are not supported: make a new call.", code="ice_restart")
        await self._add_candidates(candidate for mid, candidate in parsed.candidates if offer.takes(mid))

    async def _add_candidates(self, candidates: Iterable[Candidate]) -> None:
        """Add the peer's candidates to the ICE transport, each address once."""
        ice = self._pc.getTransceivers()[0].receiver.transport.transport
        for candidate in candidates:
            address = (candidate.address, candidate.port)
            if address in self._tried or len(self._tried) >= MAX_CANDIDATES:
                continue
            self._tried.add(address)
            await ice.addRemoteCandidate(
                RTCIceCandidate(
                    component=1,
                    foundation=candidate.foundation,
                    ip=candidate.address,
                    port=candidate.port,
                    priority=candidate.priority,
                    protocol="udp",
                    type=candidate.kind,
                )
            )
            # aioice sorts all pairs for each candidate: let other tasks run in between.
            await asyncio.sleep(0)

    def warn_of_no_media(self, now: float) -> None:
        """Warn the client now and then if not a single packet has come; the analysis begins only with the first."""
        if self._connected_at is None or now - self._connected_at < NO_MEDIA_S:
            return
        if self._room is not None:
            for about in self._room.unheard(now):
                self._outbox.post_now_and_then(Warning(code="no_media", message=NO_MEDIA, **about))
        elif not self._receiver.last_arrival:
            self._outbox.post_now_and_then(Warning(code="no_media", message=NO_MEDIA))

    def _receive(self, transceiver: RTCRtpTransceiver, offer: Offer) -> None:
        transceiver.direction = "recvonly"
        self._diversion = take_over_rtp(transceiver.receiver, self._voices)
        if self._room is not None:
            self._serve_room(offer)

    def _on_datachannel(self, channel: RTCDataChannel) -> None:
        self._outbox.attach(channel)
        channel.on("message", self._on_message)
        channel.on("close", self._on_channel_close)

    def _on_message(self, _: object) -> None:
        # A client's messages only show that it lives; their content is ignored.
        self._spoken_at = monotonic()

    def _on_channel_close(self) -> None:
        if not self._outbox.channels:
            self.end_soon("left")

    def _on_connection_state(self) -> None:
        if self.state == "connected":
            self._connected_at = monotonic()
            read_records(self._pc)
            self._note_start()
            self._on_connected(self)
        elif self.state == "failed":
            self.end_soon("connection_failed")
        elif self.state == "closed":
            self.end_soon("left")

    def _on_insecure(self, failure: Failure) -> None:
        # Anybody can cause it, so it is written once a minute.
        logger.warning("session %s: DTLS failed: %s", self.id[:8], failure, extra={"kind": f"dtls {failure.kind}"})
        metrics.DTLS_FAILED.labels(failure.kind).inc()
        self._outbox.post(Error(code="dtls_failed", message=f"The connection could not be secured: {failure}"))

    def _on_excessive_data(self, excess: str) -> None:
        logger.warning("session %s: the caller sent %s", self.id[:8], excess, extra={"kind": "excessive_data"})
        self._outbox.post(Error(code="excessive_data", message=f"The call was ended because its client sent {excess}."))
        self.end_soon("excessive_data")

    def _on_messages(self, messages: Sequence[Message]) -> None:
        if self._room is not None:
            for message in messages:
                self._room.observe(message)
        self._tell(messages)

    def _on_analysed(self, error: Exception | None) -> None:
        self._analysed.set()
        if error is None:
            self.end_soon("track_ended")
            return
        self._fail(error)
        self._outbox.post(Error(code="analysis_failed", message="The server failed to analyse the audio."))
        self.end_soon("analysis_failed")

    async def _end(self, reason: Reason) -> None:
        try:
            if reason == "silent_peer":
                self._outbox.post(Error(code="silent_peer", message="Nothing was heard of the client for too long."))
            elif reason == "consent_expired":
                self._outbox.post(Error(code="consent_expired", message="The client has not answered for too long."))
            elif reason == "shutdown":
                self._outbox.post(Error(code="shutting_down", message="The server is shutting down."))
            elif reason == "connect_timeout" and (failure := handshake.unfinished(self._pc)) is not None:
                self._on_insecure(failure)
            self._voices.end()
            if not (self._call.closed if self._room is None else self._room.closed):
                with suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_TIMEOUT_S):
                        await self._analysed.wait()
            if self._room is not None and self._analysed.is_set():
                self._post(self._completed(self._room.summary))
            self._close_outbox(reason)
            await self._wait_delivered()
        finally:
            self._close_outbox(reason)
            self._abandon()
            try:
                await close(self._pc)
            finally:
                self._on_ended(self)
                if self._answered:
                    metrics.SESSIONS_ENDED.labels(reason).inc()

    async def _wait_delivered(self) -> None:
        """Wait until the last messages are delivered. A short call may end before its data channels are open."""
        if self._pc.connectionState != "connected" or self._pc.sctp is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_TIMEOUT_S):
                await self._outbox.attached.wait()
        await wait_delivered(self._pc, DELIVERY_TIMEOUT_S)


def _room_excess(outbox: Outbox) -> Callable[[Excess, Mapping[str, Any]], None]:
    """Return a function that warns a client of what is left out of a voice. It does not hold the session."""
    return lambda excess, about: outbox.post_now_and_then(Warning(code=excess, message=EXCESSES[excess], **about))

"""Take a call's RTP from the socket to its sink in one call, in place of aiortc's queues, jitter buffer and thread."""

import asyncio
import random
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import pylibsrtp
from aiortc import RTCRtpCodecParameters, RTCRtpReceiver
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters

from voxgender import metrics
from voxgender.media.aiortc_internals.ice import read_on_tick, route_media, send_now
from voxgender.media.audiobudget import Excess
from voxgender.media.rtp import (
    Goodbye,
    Reception,
    Rtp,
    SenderReport,
    is_rtcp,
    parse_rtcp,
    parse_rtp,
    receiver_report,
)
from voxgender.ratelimit import RateLimit
from voxgender.sdp import MAX_VOICES

OPEN_AFTER_S = 1.0
"""Seconds of media after which a call is up: its data channels are open, and its sockets may be read on the tick."""
REPORT_S = 1.0
"""Seconds between receiver reports, on average."""

MAX_SSRCS = 32
"""Streams that are decrypted. libsrtp looks through them one by one, and keeps each until the call ends."""
SSRC_IDLE_S = 10.0
"""A stream that was silent for so long gives its place to a new one."""
PACKETS_PER_S = 1_000.0
"""Media packets of one call in a second that are decrypted: more than Opus has at twice its most."""
PACKETS_AT_ONCE = 1_000.0

_MAX_STREAMS = 8
_SSRC = struct.Struct("!L")


class PacketSink(Protocol):
    """Receives the packets of an ``RTCRtpReceiver``, on the event loop."""

    def configure(self, codecs: Sequence[RTCRtpCodecParameters]) -> None:
        """Receive the negotiated codecs; called once, before the first packet."""

    def feed(self, packet: Rtp, arrived_at: float) -> None:
        """Receive one decrypted packet; ``arrived_at`` in seconds of ``time.monotonic``.

        Packets of a stream with audio come too if their payload type was not negotiated: they have places in the
        sequence.
        """

    def exceed(self, excess: Excess, ssrc: int = 0) -> None:
        """Receive the reason for which a packet of a stream was dropped before it was decrypted."""

    def bye(self) -> None:
        """Receive the sender's goodbye (RFC 3550 section 6.6); the sender may yet resume."""

    def end(self) -> None:
        """Receive the end: no more packets will come."""


class RtpDiversion:
    """Reads a call's RTP and RTCP, and sends receiver reports.

    It stands in for the ``RTCRtpReceiver`` in two places. aiortc starts and stops it (:meth:`receive`, :meth:`stop`),
    and the DTLS transport tells it that the connection is lost. No packet takes aiortc's own way.

    Receiver reports, to which a browser adapts its bit rate and Opus FEC, go out with the packets that come in:
    packets are read in bursts, and so there is no timer for the reports.

    The packets of all voices of a room come this way (:meth:`serve_room`): aiortc knows the first of its audio lines.
    """

    def __init__(self, receiver: RTCRtpReceiver, sink: PacketSink, report_s: float) -> None:
        self._receiver: Any = receiver
        self._dtls: Any = receiver.transport
        self._sink = sink
        self._receptions: dict[int, Reception] = {}
        self._clock_rates_hz: dict[int, int] = {}
        self._report_s = report_s
        self._report_at = 0.0
        self._packets = RateLimit(PACKETS_PER_S, PACKETS_AT_ONCE)
        self._packets_of: dict[int, RateLimit] = {}
        """In a room, the packets of each stream that was decrypted: one must not cost the others theirs."""
        self._is_room = False
        self._voices = 1
        self._mid_extension = 0
        self._heard_at: dict[int, float] = {}
        """When each stream that was decrypted was last heard."""
        self._latest: int | None = None
        """SSRC of the packet that was fed last."""
        self._opening: asyncio.TimerHandle | None = None
        self._stopped = False

    def serve_room(self, voices: int, clock_rates_hz: Mapping[int, int], mid_extension: int) -> None:
        """Receive the audio of several lines from now on.

        Args:
            voices: how many there are.
            clock_rates_hz: rate of the RTP clock of each payload type.
            mid_extension: id of the header extension that names a packet's line; 0 if there is none.
        """
        if voices != self._voices:
            self._packets = RateLimit(voices * PACKETS_PER_S, voices * PACKETS_AT_ONCE)
        self._voices = voices
        self._mid_extension = mid_extension
        self._clock_rates_hz |= clock_rates_hz
        self._is_room = True

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        """Begin to receive, in place of ``RTCRtpReceiver.receive``; the transport is connected."""
        if self._opening is not None:
            return
        for codec in parameters.codecs:
            if codec.payloadType is not None:
                self._clock_rates_hz[codec.payloadType] = codec.clockRate
        self._sink.configure(parameters.codecs)
        self._dtls._register_rtp_receiver(self, parameters)
        transport = self._dtls.transport
        route_media(transport, self._on_media, streams=MAX_VOICES if self._is_room else 1)
        self._opening = asyncio.get_running_loop().call_later(OPEN_AFTER_S, read_on_tick, transport)

    async def stop(self) -> None:
        """Stop receiving, in place of ``RTCRtpReceiver.stop``, and restore the receiver's own methods."""
        if self._opening is not None and not self._stopped:
            self._opening.cancel()
            self._dtls._unregister_rtp_receiver(self)
        self._stopped = True
        self._sink.end()
        # The methods refer to this object, which refers to the receiver: a cycle for the garbage collector.
        vars(self._receiver).pop("receive", None)
        vars(self._receiver).pop("stop", None)

    def _on_media(self, data: bytes, arrived_at: float) -> bool:
        """Take a packet; tell whether it is the peer's, and none that came before (RFC 3711 section 3.3)."""
        rtcp = is_rtcp(data)
        at = 4 if rtcp else 8
        if len(data) < at + _SSRC.size:
            return False
        (ssrc,) = _SSRC.unpack_from(data, at)
        if excess := self._excess(ssrc, arrived_at):
            metrics.PACKETS["refused"].inc()
            self._sink.exceed(excess, ssrc)
            return False
        srtp = self._dtls._rx_srtp
        try:
            plain = srtp.unprotect_rtcp(data) if rtcp else srtp.unprotect(data)
            packet = None if rtcp else parse_rtp(plain, self._mid_extension)
        except (pylibsrtp.Error, ValueError):
            return False
        self._note_stream(ssrc, arrived_at)
        if packet is not None:
            self._on_rtp(packet, arrived_at)
        else:
            self._on_rtcp(parse_rtcp(plain), arrived_at)
        return True

    def _excess(self, ssrc: int, arrived_at: float) -> Excess | None:
        """Tell whether a packet is too much, before it costs a decryption."""
        of_stream = self._packets_of.get(ssrc)
        if (of_stream is not None and not of_stream.take(arrived_at)) or not self._packets.take(arrived_at):
            return "too_many_packets"
        if ssrc in self._heard_at or len(self._heard_at) < MAX_SSRCS:
            return None
        is_new = arrived_at - min(self._heard_at.values()) < SSRC_IDLE_S
        return "too_many_streams" if is_new else None

    def _note_stream(self, ssrc: int, arrived_at: float) -> None:
        """Note that a stream was decrypted; one more than ``MAX_SSRCS`` takes the place of the most silent."""
        if ssrc not in self._heard_at and len(self._heard_at) >= MAX_SSRCS:
            silent = min(self._heard_at, key=self._heard_at.__getitem__)
            del self._heard_at[silent]
            self._packets_of.pop(silent, None)
            with suppress(pylibsrtp.Error):
                self._dtls._rx_srtp.remove_stream(silent)
        if self._is_room and ssrc not in self._packets_of:
            self._packets_of[ssrc] = RateLimit(PACKETS_PER_S, PACKETS_AT_ONCE)
        self._heard_at[ssrc] = arrived_at

    def _on_rtp(self, packet: Rtp, arrived_at: float) -> None:
        reception = self._receptions.get(packet.ssrc)
        clock_rate_hz = self._clock_rates_hz.get(packet.payload_type)
        if self._stopped or (clock_rate_hz is None and reception is None):
            return
        if reception is None:
            assert clock_rate_hz is not None
            # Bounded, for a peer that changes its SSRC again and again.
            if len(self._receptions) >= _MAX_STREAMS + self._voices - 1:
                self._receptions.pop(next(iter(self._receptions)))
            reception = self._receptions[packet.ssrc] = Reception(clock_rate_hz)
        reception.count(packet, arrived_at)
        self._latest = packet.ssrc
        self._sink.feed(packet, arrived_at)
        if arrived_at >= self._report_at:
            if self._report_at:
                self._report()
            # At random, so that calls that began together do not report together (RFC 3550 section 6.3.1).
            self._report_at = arrived_at + self._report_s * (0.5 + random.random())  # noqa: S311

    def _on_rtcp(self, packets: Iterable[SenderReport | Goodbye], arrived_at: float) -> None:
        for packet in packets:
            if isinstance(packet, SenderReport):
                if packet.ssrc in self._receptions:
                    self._receptions[packet.ssrc].sender_reported(packet, arrived_at)
            elif not self._stopped and self._latest in packet.ssrcs:
                # A sender that has changed its SSRC says goodbye under the one before.
                self._sink.bye()

    def _report(self) -> None:
        ssrc = self._receiver._RTCRtpReceiver__rtcp_ssrc
        if ssrc is not None and self._dtls.state == "connected":
            report = receiver_report(ssrc, self._receptions, time.monotonic())
            send_now(self._dtls.transport, self._dtls._tx_srtp.protect_rtcp(report))

    def _handle_disconnect(self) -> None:
        self._sink.end()


def take_over_rtp(receiver: RTCRtpReceiver, sink: PacketSink, *, report_s: float = REPORT_S) -> RtpDiversion:
    """Hand a receiver's packets to ``sink``, and send receiver reports every ``report_s`` seconds on average.

    Call it before the connection is made; the sockets are ``gather_on``'s.
    """
    diversion = RtpDiversion(receiver, sink, report_s)
    vars(receiver).update(receive=diversion.receive, stop=diversion.stop)
    return diversion

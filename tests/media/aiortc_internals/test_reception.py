"""Media from the socket to a sink in one call, beside real aiortc senders."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiortc import RTCPeerConnection, RTCRtpCodecParameters
from aiortc.rtp import RtcpByePacket, RtcpRrPacket, RtpPacket

from tests.figures import value_of
from tests.media.aiortc_internals.pair import Pair, a_pair
from tests.rtc import LOOPBACK
from tests.waits import until
from voxgender import metrics
from voxgender.media.aiortc_internals import reception
from voxgender.media.aiortc_internals.ice import MAX_EARLY_MEDIA, HostAddresses, gather_on
from voxgender.media.aiortc_internals.reception import REPORT_S, RtpDiversion, take_over_rtp
from voxgender.media.audiobudget import Excess
from voxgender.media.rtp import Rtp
from voxgender.media.sockets import Sockets


class Sink:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def configure(self, codecs: Sequence[RTCRtpCodecParameters]) -> None:
        self.calls.append("configure")

    def feed(self, packet: Rtp, arrived_at: float) -> None:
        self.calls.append("feed")

    def exceed(self, excess: Excess, ssrc: int = 0) -> None:
        self.calls.append(excess)

    def bye(self) -> None:
        self.calls.append("bye")

    def end(self) -> None:
        self.calls.append("end")

    async def fed(self, packets: int) -> None:
        """Wait until so many packets more have come."""
        packets += self.calls.count("feed")
        await until(lambda: self.calls.count("feed") >= packets)


class Diverted(NamedTuple):
    pair: Pair
    sink: Sink
    diversion: RtpDiversion

    @property
    def sender(self) -> Any:
        return self.pair.caller.getSenders()[0]


@asynccontextmanager
async def a_diverted_call(report_s: float = REPORT_S) -> AsyncIterator[Diverted]:
    sink = Sink()
    diversions: list[RtpDiversion] = []

    def before_answer(callee: RTCPeerConnection) -> None:
        diversions.append(take_over_rtp(callee.getTransceivers()[0].receiver, sink, report_s=report_s))
        gather_on(callee, Sockets(), HostAddresses((LOOPBACK,)))

    async with a_pair(before_answer) as pair:
        yield Diverted(pair, sink, diversions[0])


async def test_packets_and_goodbyes_reach_the_sink_and_no_decoder_thread_and_no_rtcp_task_runs() -> None:
    async with a_diverted_call() as call:
        receiver, sink = call.pair.receiver, call.sink
        await sink.fed(3)
        assert receiver._RTCRtpReceiver__rtcp_task is None
        await call.sender.stop()
        await until(lambda: "bye" in sink.calls)
        await receiver.stop()
        await receiver.stop()
    assert sink.calls[0] == "configure"
    assert sink.calls.count("configure") == 1
    assert sink.calls[-1] == "end"
    assert receiver._RTCRtpReceiver__decoder_thread is None


async def test_packets_that_come_before_the_handshake_is_done_reach_the_sink_whatever_is_in_their_headers() -> None:
    """They took aiortc's way, whose parser ended the connection over an audio level of two bytes, with a traceback."""
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        await call.sender.stop()
        (protocol,) = call.pair.connection._protocols
        on_media, protocol.on_media = protocol.on_media, None
        (level,) = (
            one.id
            for one in call.pair.caller.getTransceivers()[0]._headerExtensions
            if one.uri == "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
        )
        for number in range(3):
            extension = struct.pack("!HHBBBx", 0xBEDE, 1, level << 4 | 1, 1, 2)
            packet = struct.pack("!BBHLL", 0x90, 96, number, 960 * number, 5) + extension + b"\xf8\xff\xfe"
            protocol.media_received(call.sender.transport._tx_srtp.protect(packet), (LOOPBACK, 9), 1.0)
        before = call.sink.calls.count("feed")
        protocol.begin_media(on_media)
        assert call.sink.calls.count("feed") == before + 3
        assert call.pair.receiver.transport.state == "connected"


def goodbye(call: Diverted, ssrc: int) -> bytes:
    protected: bytes = call.sender.transport._tx_srtp.protect_rtcp(bytes(RtcpByePacket(sources=[ssrc])))
    return protected


async def test_goodbyes_and_packets_of_others_are_ignored() -> None:
    async with a_diverted_call() as call:
        diversion, sink = call.diversion, call.sink
        await sink.fed(1)
        ssrc = call.sender._ssrc
        await call.sender.stop()
        sink.calls.clear()
        diversion._on_media(goodbye(call, ssrc + 1), 1.0)
        assert "bye" not in sink.calls
        diversion._on_media(goodbye(call, ssrc), 1.0)
        assert sink.calls[-1] == "bye"
        diversion._on_media(encrypted(call, ssrc=ssrc + 1, payload_type=1), 1.0)
        assert sink.calls[-1] == "bye"
        diversion._on_media(encrypted(call, ssrc=5), 1.0)
        assert sink.calls[-1] == "feed"


async def test_a_goodbye_of_a_stream_that_another_one_has_followed_ends_nothing() -> None:
    """An SFU changed the SSRC, said goodbye under the one before and paused: two seconds later the call was over."""
    async with a_diverted_call() as call:
        diversion, sink = call.diversion, call.sink
        await sink.fed(1)
        await call.sender.stop()
        diversion._on_media(encrypted(call, ssrc=1_001), 1.0)
        sink.calls.clear()
        diversion._on_media(goodbye(call, call.sender._ssrc), 1.0)
        assert "bye" not in sink.calls
        diversion._on_media(goodbye(call, 1_001), 1.0)
        assert sink.calls == ["bye"]


async def test_the_sink_learns_of_a_lost_connection() -> None:
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        await call.pair.caller.close()
        await until(lambda: "end" in call.sink.calls)


async def test_senders_are_told_how_their_packets_arrive() -> None:
    told: asyncio.Queue[RtcpRrPacket] = asyncio.Queue()
    async with a_diverted_call(report_s=0.1) as call:
        sender = call.sender
        plain = sender._handle_rtcp_packet

        async def handle(packet: Any) -> None:
            told.put_nowait(packet)
            await plain(packet)

        sender._handle_rtcp_packet = handle
        # The sender's own report comes after a second at most and a half; from then on the round trip is known.
        while not (report := (await told.get()).reports[0]).lsr:
            pass
        assert report.ssrc == sender._ssrc
        assert (report.fraction_lost, report.packets_lost) == (0, 0)
        assert report.highest_sequence >= call.sink.calls.count("feed") - 2
        assert 0 <= report.jitter < 48_000
        stats = await call.pair.caller.getStats()
        (remote,) = (value for value in stats.values() if value.type == "remote-inbound-rtp")
        assert 0 <= remote.roundTripTime < 5


async def test_a_peer_that_changes_its_ssrc_for_ever_costs_no_memory() -> None:
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        for ssrc in range(100):
            call.diversion._on_rtp(Rtp(96, 1, 0, ssrc, b"x"), 1.0)
        assert len(call.diversion._receptions) == 8


def encrypted(call: Diverted, *, ssrc: int, sequence_number: int = 1, payload_type: int = 96) -> bytes:
    packet = RtpPacket(payload_type, ssrc=ssrc, sequence_number=sequence_number, payload=b"\xf8\xff\xfe")
    protected: bytes = call.sender.transport._tx_srtp.protect(packet.serialize())
    return protected


async def test_new_ssrcs_are_not_decrypted_once_there_were_many_and_known_ones_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """libsrtp looks through a call's streams one by one, and kept each: a packet took 1 ms after 50,000 of them."""
    monkeypatch.setattr(reception, "read_on_tick", lambda _: None)
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        diversion, sink = call.diversion, call.sink
        before = value_of(metrics.PACKETS["refused"])
        for ssrc in range(1, 101):
            diversion._on_media(encrypted(call, ssrc=ssrc), 1.0)
        assert len(diversion._heard_at) == reception.MAX_SSRCS
        refused = 100 - (reception.MAX_SSRCS - 1)
        assert sink.calls.count("too_many_streams") == refused
        assert value_of(metrics.PACKETS["refused"]) == before + refused
        # RTCP names a stream too.
        goodbye = call.sender.transport._tx_srtp.protect_rtcp(bytes(RtcpByePacket(sources=[1_000])))
        diversion._on_media(goodbye, 1.0)
        assert sink.calls.count("too_many_streams") == refused + 1
        await sink.fed(3)


async def test_a_new_ssrc_takes_the_place_of_one_that_was_silent_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway may change its SSRC with each speaker, in a call of hours."""
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        diversion, sink = call.diversion, call.sink
        await call.sender.stop()
        await asyncio.sleep(0)
        diversion._heard_at.clear()
        for number in range(200):
            diversion._on_media(encrypted(call, ssrc=number + 1), number * (reception.SSRC_IDLE_S / 16))
        assert len(diversion._heard_at) == reception.MAX_SSRCS
        assert "too_many_streams" not in sink.calls
        assert max(diversion._heard_at) == 200


async def test_packets_that_decrypt_to_nothing_take_no_streams_place() -> None:
    """Else one who can forge an address could take them all."""
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        known = len(call.diversion._heard_at)
        for ssrc in range(100):
            broken = encrypted(call, ssrc=ssrc)
            call.diversion._on_media(broken[:-1] + bytes((broken[-1] ^ 1,)), 1.0)
        assert len(call.diversion._heard_at) == known
        assert "too_many_streams" not in call.sink.calls


async def test_packets_beyond_a_rate_are_not_decrypted() -> None:
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        now = 1e9
        junk = encrypted(call, ssrc=5)
        for _ in range(3_000):
            call.diversion._on_media(junk, now)
        assert call.sink.calls.count("too_many_packets") >= 3_000 - reception.PACKETS_AT_ONCE
        call.diversion._on_media(encrypted(call, ssrc=5, sequence_number=2), now + 1.0)
        assert call.sink.calls[-1] == "feed"


async def test_media_before_the_handshake_is_done_is_bounded() -> None:
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        (protocol,) = call.pair.connection._protocols
        protocol.on_media = None
        for _ in range(1_000):
            protocol.media_received(bytes((128, 96)) + bytes(20), (LOOPBACK, 9), 0.0)
        assert len(protocol._early_media) == MAX_EARLY_MEDIA


async def test_a_stopped_receiver_has_its_own_methods_again_and_its_packets_go_nowhere() -> None:
    async with a_diverted_call() as call:
        await call.sink.fed(1)
        receiver = call.pair.receiver
        assert {"receive", "stop"} <= vars(receiver).keys()
        await receiver.stop()
        assert not {"receive", "stop"} & vars(receiver).keys()
        fed = call.sink.calls.count("feed")
        call.diversion._on_rtp(Rtp(96, 1, 0, 1, b"x"), 1.0)
        assert call.sink.calls.count("feed") == fed

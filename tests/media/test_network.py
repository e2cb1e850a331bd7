"""Tripwires: each private part of aiortc and aioice that is touched, on the versions that it was written against.

One of these fails when an upgrade moves something; ``voxgender/media/network.py`` is then the file to mend.
Those of ``dtls`` are in ``test_dtls.py``.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

import pytest
from aioice import Connection
from aioice.ice import CandidatePair, StunProtocol, get_host_addresses
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver
from aiortc.exceptions import InvalidStateError
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import RtcpByePacket, RtcpRrPacket, RtpPacket

from tests.rtc import ToneTrack
from voxgender.media.network import (
    HostAddresses,
    bind_ice,
    delivered,
    divert,
    forgive_closing,
    gather_on,
)
from voxgender.media.sockets import Sockets


def test_the_versions_are_those_it_was_written_against() -> None:
    assert version("aiortc").startswith("1.16."), (
        "look through media/network.py and media/dtls.py, then name the new version"
    )
    assert version("aioice").startswith("0.13."), (
        "look through media/network.py and media/dtls.py, then name the new version"
    )


def test_aioice_gathers_by_component_and_addresses() -> None:
    assert list(inspect.signature(Connection.get_component_candidates).parameters) == [
        "self",
        "component",
        "addresses",
        "timeout",
    ]


async def test_candidates_are_gathered_on_the_bound_addresses_only() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTrack(ToneTrack())
    bind_ice(pc, ["127.0.0.1"])
    await pc.setLocalDescription(await pc.createOffer())
    hosts = {line.split()[4] for line in pc.localDescription.sdp.splitlines() if line.startswith("a=candidate:")}
    await pc.close()
    assert hosts == {"127.0.0.1"}


@pytest.mark.parametrize("online", [True, False])
async def test_without_addresses_loopback_serves_only_a_host_that_has_no_other(
    online: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop without a network got an answer with no candidate at all."""
    if not online:
        monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])
    elif not get_host_addresses(use_ipv4=True, use_ipv6=True):
        pytest.skip("this host has no address but loopback")
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.createDataChannel("x")
    bind_ice(pc, [])
    await pc.setLocalDescription(await pc.createOffer())
    hosts = {line.split()[4] for line in pc.localDescription.sdp.splitlines() if line.startswith("a=candidate:")}
    await pc.close()
    assert hosts
    assert ("127.0.0.1" in hosts) is not online


async def gathered(addresses: HostAddresses) -> list[tuple[str, int]]:
    """Hosts and ports of the candidates in an offer."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.createDataChannel("x")
    gather_on(pc, Sockets(), addresses)
    await pc.setLocalDescription(await pc.createOffer())
    lines = [line.split() for line in pc.localDescription.sdp.splitlines() if line.startswith("a=candidate:")]
    await pc.close()
    return [(line[4], int(line[5])) for line in lines]


async def test_candidates_are_on_the_nodes_own_sockets() -> None:
    ((host, port),) = await gathered(HostAddresses(("127.0.0.1",)))
    assert host == "127.0.0.1"
    assert port > 0


async def test_an_advertised_address_stands_for_the_local_one_of_its_family() -> None:
    """Behind NAT 1:1 the local address leads nowhere."""
    addresses = HostAddresses(("127.0.0.1",), ("203.0.113.7", "2001:db8::7"))
    assert [host for host, _ in await gathered(addresses)] == ["203.0.113.7"]


async def test_an_address_that_went_away_costs_its_candidate_only(caplog: pytest.LogCaptureFixture) -> None:
    hosts = [host for host, _ in await gathered(HostAddresses(("198.51.100.1", "127.0.0.1")))]
    assert hosts == ["127.0.0.1"]
    assert "no candidate on 198.51.100.1" in caplog.text


async def test_without_addresses_all_of_the_host_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])
    assert [host for host, _ in await gathered(HostAddresses())] == ["127.0.0.1"]


class Sink:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def configure(self, codecs: object) -> None:
        self.calls.append("configure")

    def feed(self, packet: RtpPacket, arrived_at: float) -> None:
        self.calls.append("feed")

    def bye(self) -> None:
        self.calls.append("bye")

    def end(self) -> None:
        self.calls.append("end")


def test_the_receiver_has_the_methods_and_names_that_are_replaced() -> None:
    for method in ("receive", "stop", "_handle_rtp_packet", "_handle_rtcp_packet", "_handle_disconnect"):
        assert callable(getattr(RTCRtpReceiver, method)), method
    source = inspect.getsource(RTCRtpReceiver)
    assert "self.__rtcp_ssrc: Optional[int] = None" in source
    # What is done in their place.
    assert "self.__transport._register_rtp_receiver(self, parameters)" in source
    assert "self.__transport._unregister_rtp_receiver(self)" in source
    assert "transceiver.receiver._set_rtcp_ssrc(transceiver.sender._ssrc)" in inspect.getsource(RTCPeerConnection)


class DivertedCall(NamedTuple):
    caller: RTCPeerConnection
    callee: RTCPeerConnection
    sink: Sink

    @property
    def receiver(self) -> Any:
        return self.callee.getTransceivers()[0].receiver

    async def fed(self, packets: int) -> None:
        while self.sink.calls.count("feed") < packets:  # noqa: ASYNC110 - a sink has no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def a_diverted_call() -> AsyncIterator[DivertedCall]:
    caller, callee = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    call = DivertedCall(caller, callee, Sink())
    try:
        caller.addTrack(ToneTrack())
        bind_ice(caller, ["127.0.0.1"])
        await caller.setLocalDescription(await caller.createOffer())
        await callee.setRemoteDescription(caller.localDescription)
        divert(call.receiver, call.sink)
        gather_on(callee, Sockets(), HostAddresses(("127.0.0.1",)))
        await callee.setLocalDescription(await callee.createAnswer())
        await caller.setRemoteDescription(callee.localDescription)
        async with asyncio.timeout(10):
            yield call
    finally:
        await caller.close()
        await callee.close()


async def test_packets_and_goodbyes_reach_the_sink_and_no_decoder_thread_and_no_rtcp_task_runs() -> None:
    async with a_diverted_call() as call:
        receiver = call.receiver
        await call.fed(3)
        assert receiver._RTCRtpReceiver__rtcp_task is None
        await call.caller.getSenders()[0].stop()
        while "bye" not in call.sink.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await receiver.stop()
        await receiver.stop()
    assert call.sink.calls[0] == "configure"
    assert call.sink.calls.count("configure") == 1
    assert call.sink.calls[-1] == "end"
    assert receiver._RTCRtpReceiver__decoder_thread is None


async def test_what_aiortc_hands_over_itself_reaches_the_sink_too() -> None:
    """What came before the short cut was there waits in its queue."""
    async with a_diverted_call() as call:
        await call.fed(1)
        ssrc = call.caller.getSenders()[0]._ssrc  # type: ignore[attr-defined]
        await call.receiver._handle_rtcp_packet(RtcpByePacket(sources=[ssrc + 1]))
        assert "bye" not in call.sink.calls
        await call.receiver._handle_rtcp_packet(RtcpByePacket(sources=[ssrc]))
        assert call.sink.calls[-1] == "bye"
        await call.receiver._handle_rtp_packet(RtpPacket(payload_type=96, ssrc=ssrc), arrival_time_ms=0)
        assert call.sink.calls[-1] == "feed"
        await call.receiver._handle_rtp_packet(RtpPacket(payload_type=1, ssrc=ssrc), arrival_time_ms=0)
        assert call.sink.calls[-1] == "feed"


async def test_senders_are_told_how_their_packets_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxgender.media.network.REPORT_S", 0.1)
    told: asyncio.Queue[RtcpRrPacket] = asyncio.Queue()
    async with a_diverted_call() as call:
        sender: Any = call.caller.getSenders()[0]
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
        stats = await call.caller.getStats()
        (remote,) = (value for value in stats.values() if value.type == "remote-inbound-rtp")
        assert 0 <= remote.roundTripTime < 5


async def test_a_peer_that_changes_its_ssrc_for_ever_costs_no_memory() -> None:
    async with a_diverted_call() as call:
        await call.fed(1)
        handle = inspect.getclosurevars(call.receiver._handle_rtp_packet).nonlocals["handle"]
        receptions = inspect.getclosurevars(handle).nonlocals["receptions"]
        for ssrc in range(100):
            await call.receiver._handle_rtp_packet(RtpPacket(payload_type=96, ssrc=ssrc), arrival_time_ms=0)
        assert len(receptions) == 8


async def test_what_is_under_way_when_the_connection_closes_is_no_error() -> None:
    """The log filled with "Task exception was never retrieved" when calls ended under load, or while connecting."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.createDataChannel("x")
    failed: list[type[Exception]] = []

    def failing(error: type[Exception]) -> Callable[[], Awaitable[None]]:
        async def fail() -> None:
            failed.append(error)
            raise error

        return fail

    plain: Any = pc
    assert inspect.iscoroutinefunction(plain.sctp._data_channel_flush)
    assert inspect.iscoroutinefunction(plain._RTCPeerConnection__connect)
    plain.sctp._data_channel_flush = failing(ConnectionError)
    plain._RTCPeerConnection__connect = failing(InvalidStateError)
    forgive_closing(pc)
    await plain.sctp._data_channel_flush()
    await plain._RTCPeerConnection__connect()
    assert failed == [ConnectionError, InvalidStateError]
    plain.sctp._data_channel_flush = failing(ZeroDivisionError)
    forgive_closing(pc)
    with pytest.raises(ZeroDivisionError):
        await plain.sctp._data_channel_flush()
    await pc.close()
    without = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    forgive_closing(without)
    await without.close()


async def test_delivered_is_false_without_an_association() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    assert not await delivered(pc, 0.1)
    pc.createDataChannel("x")
    assert not await delivered(pc, 0.1)
    for queue in ("_outbound_queue", "_sent_queue", "_data_channel_queue"):
        assert hasattr(pc.sctp, queue), queue
    await pc.close()


@pytest.mark.parametrize("name", ["iceTransports", "dtlsTransports"])
def test_the_connection_keeps_its_transports_where_they_are_looked_for(name: str) -> None:
    assert f"self.__{name}" in inspect.getsource(RTCPeerConnection.__init__)


def test_what_a_closed_connection_keeps_of_itself_is_where_it_is_undone() -> None:
    """That it is enough, tests/media/test_memory.py shows."""
    source = inspect.getsource(Connection)
    assert "self._check_list: list" in source
    assert "self._check_list.clear()" not in source, "network.close need not do it any more"
    assert "self.task: asyncio.Task" in inspect.getsource(CandidatePair.__init__)
    assert ".remove_all_listeners()" not in inspect.getsource(RTCDtlsTransport), "nor this"


def test_the_way_that_media_packets_are_taken_off_is_still_there() -> None:
    """ICE hands datagrams to ``data_received``, DTLS keeps its SRTP session in ``_rx_srtp``."""
    assert list(inspect.signature(Connection.data_received).parameters) == ["self", "data", "component"]
    assert list(inspect.signature(StunProtocol.datagram_received).parameters) == ["self", "data", "addr"]
    assert "self.receiver.data_received(" in inspect.getsource(StunProtocol.datagram_received)
    for way in ("unprotect(data)", "unprotect_rtcp(data)"):
        assert f"self._rx_srtp.{way}" in inspect.getsource(RTCDtlsTransport._recv_next)
    assert "self._tx_srtp.protect_rtcp(data)" in inspect.getsource(RTCDtlsTransport._send_rtp)

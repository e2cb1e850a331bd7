"""Candidates on the addresses and sockets of our choice."""

import inspect

import pytest
from aioice import Connection
from aioice.ice import get_host_addresses
from aiortc import RTCConfiguration, RTCPeerConnection

from tests.rtc import ToneTrack
from voxgender.media.aiortc_internals.ice import HostAddresses, bind_ice, gather_on
from voxgender.media.sockets import Sockets


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

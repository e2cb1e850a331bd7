"""One certificate and one OpenSSL context for all calls of a process."""

import time

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from OpenSSL import SSL

from tests.rtc import Server, ToneTrack, a_peer, session_on
from voxgender.media.aiortc_internals.certificates import CERTIFICATE_S, Certificates
from voxgender.media.aiortc_internals.closing import close
from voxgender.media.aiortc_internals.ice import bind_ice
from voxgender.protocol import Hello


def fingerprint(pc: RTCPeerConnection) -> str:
    (line,) = {line for line in pc.localDescription.sdp.splitlines() if line.startswith("a=fingerprint:sha-256")}
    return line


async def shown(certificates: Certificates) -> str:
    """The fingerprint in an offer."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    certificates.show(pc)
    pc.createDataChannel("x")
    bind_ice(pc, ["127.0.0.1"])
    await pc.setLocalDescription(await pc.createOffer())
    await close(pc)
    return fingerprint(pc)


async def test_calls_are_shown_one_certificate_and_a_new_one_each_day(monkeypatch: pytest.MonkeyPatch) -> None:
    certificates, others = Certificates(), Certificates()
    today = await shown(certificates)
    assert await shown(certificates) == today
    assert await shown(others) != today
    day = time.monotonic() + CERTIFICATE_S
    monkeypatch.setattr(time, "monotonic", lambda: day + 1)
    tomorrow = await shown(certificates)
    assert tomorrow != today
    assert await shown(certificates) == tomorrow


async def test_calls_share_one_context_which_keeps_none_of_their_sessions(server: Server) -> None:
    """A context of its own left a cycle behind with each call."""
    contexts = set()
    for _ in range(2):
        async with a_peer(ToneTrack()) as peer:
            peer.channels()
            await peer.call(server.http)
            await peer.until(Hello)
            session = session_on(server.node)
            (transceiver,) = session._pc.getTransceivers()
            ssl = transceiver.receiver.transport._ssl
            assert ssl is not None
            contexts.add(ssl.get_context())
            await session.end("deleted")
    (context,) = contexts
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF

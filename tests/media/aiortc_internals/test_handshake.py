"""Handshakes with peers of every kind of certificate, in both roles, and what is told of those that fail."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from aioice import Connection
from aiortc.rtcdtlstransport import (
    RTCCertificate,
    RTCDtlsParameters,
    SRTPProtectionProfile,
    generate_certificate,
)
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from tests.rtc import SDP, Peer, Server, ToneTrack, a_peer, a_server, session_on
from tests.waits import until
from voxgender import metrics
from voxgender.engine import Engine
from voxgender.media.aiortc_internals.transports import dtls_transports
from voxgender.media.dtls import SUITES
from voxgender.protocol import Error, Hello, decode

RSA_ONLY = "ECDHE-RSA-AES128-GCM-SHA256"


class PeerCertificate(RTCCertificate):
    """A certificate of any key, with its own cipher suites and SRTP profiles."""

    suites = ":".join(SUITES)
    profiles: bytes | None = None

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.set_cipher_list(f"{self.suites}:@SECLEVEL=0".encode())
        context.use_certificate(self._cert)
        context.use_privatekey(self._key)
        profiles = b":".join(profile.openssl_profile for profile in srtp_profiles)
        context.set_tlsext_use_srtp(self.profiles or profiles)
        return context


def certificate(key: Any, suites: str | None = None) -> PeerCertificate:
    made = PeerCertificate(key, generate_certificate(key))
    if suites is not None:
        made.suites = suites
    return made


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, bits)


KEYS: dict[str, Callable[[], Any]] = {
    "rsa-2048": rsa_key,
    "rsa-1024": lambda: rsa_key(1024),
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p-384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


def show(peer: Peer, certificate: RTCCertificate) -> None:
    vars(peer.pc)["_RTCPeerConnection__certificates"] = [certificate]


async def call(peer: Peer, server: Server, setup: str) -> str:
    """Place a call whose offer asks for a DTLS role; return the session's path."""
    # Transports are made with the first channel, and with them the certificate is chosen.
    offer = (await peer.offer()).replace("a=setup:actpass", f"a=setup:{setup}")
    async with server.http.post("/whip", data=offer, headers=SDP) as response:
        assert response.status == 201, await response.text()
        await peer.accept(await response.text())
        return response.headers["Location"]


def caller(certificate: RTCCertificate) -> Peer:
    peer = Peer()
    show(peer, certificate)
    peer.pc.addTrack(ToneTrack())
    peer.channels()
    return peer


async def error_of(server: Server, path: str) -> Error:
    """Read a session's events until one is an error."""
    async with asyncio.timeout(10), server.http.get(f"{path}/events") as events:
        async for line in events.content:
            if line.startswith(b"data:") and isinstance(message := decode(line[5:]), Error):
                return message
    raise AssertionError("the session ended without an error event")


@pytest.mark.parametrize("setup", ["actpass", "active", "passive"])
@pytest.mark.parametrize("key", KEYS)
async def test_a_peer_may_have_any_usual_certificate_in_either_role(server: Server, setup: str, key: str) -> None:
    """GStreamer and some gateways have RSA keys: DTLS failed with "no shared cipher", and nobody was told."""
    peer = caller(certificate(KEYS[key]()))
    try:
        await call(peer, server, setup)
        await peer.until(Hello)
    finally:
        await peer.close()


async def test_a_peer_that_offers_rsa_suites_alone_is_served_as_the_dtls_server(server: Server) -> None:
    """A caller that offers both roles becomes the server: its certificate decides, so both kinds of suites work."""
    peer = caller(certificate(rsa_key(), RSA_ONLY))
    try:
        await call(peer, server, "actpass")
        await peer.until(Hello)
    finally:
        await peer.close()


def count(kind: str) -> float:
    return float(metrics.DTLS_FAILED.labels(kind)._value.get())


@pytest.mark.parametrize(
    ("kind", "setup", "make", "words"),
    [
        ("no_shared_cipher", "active", lambda: certificate(rsa_key(), RSA_ONLY), "setup:actpass"),
        ("certificate", "active", lambda: certificate(ec.generate_private_key(ec.SECP256K1())), "P-256"),
        ("refused", "passive", lambda: certificate(ec.generate_private_key(ec.SECP256K1())), "own log"),
    ],
)
async def test_why_dtls_failed_is_logged_once_told_and_counted(
    server: Server,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    setup: str,
    make: Callable[[], PeerCertificate],
    words: str,
) -> None:
    before = count(kind)
    peer = caller(make())
    try:
        with caplog.at_level(logging.WARNING):
            path = await call(peer, server, setup)
            error = await error_of(server, path)
    finally:
        await peer.close()
    assert error.code == "dtls_failed"
    assert words in error.message
    assert count(kind) == before + 1
    lines = [record.getMessage() for record in caplog.records if "DTLS" in record.getMessage()]
    session = path.rpartition("/")[2]
    assert len(lines) == 1
    assert lines[0].startswith(f"session {session[:8]}: DTLS failed: ")
    assert session not in caplog.text


async def test_a_certificate_that_the_offer_does_not_name_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that renews its certificate and forgets its SDP."""
    before = count("fingerprint")
    peer = caller(certificate(rsa_key()))
    other = certificate(rsa_key())
    try:
        named = RTCDtlsParameters(fingerprints=other.getFingerprints())
        for dtls in dtls_transports(peer.pc):
            monkeypatch.setattr(dtls, "getLocalParameters", lambda: named)
        path = await call(peer, server, "actpass")
        assert "a=fingerprint" in (await error_of(server, path)).message
    finally:
        await peer.close()
    assert count("fingerprint") == before + 1


def digest(function: str, size: int) -> str:
    """The fingerprint of a certificate that nobody has."""
    return f"a=fingerprint:{function} {':'.join(['AB'] * size)}\r\n"


async def call_naming(peer: Peer, server: Server, more: str) -> str:
    """Place a call whose offer names its certificate by SHA-256, and ``more``; return the session's path."""
    offer = "".join(
        line
        for line in (await peer.offer()).splitlines(keepends=True)
        if not line.startswith(("a=fingerprint:sha-384", "a=fingerprint:sha-512"))
    )
    offer = offer.replace("a=fingerprint:", more + "a=fingerprint:")
    async with server.http.post("/whip", data=offer, headers=SDP) as response:
        assert response.status == 201, await response.text()
        await peer.accept(await response.text())
        return response.headers["Location"]


@pytest.mark.parametrize("more", [digest("sha-256", 32), digest("sha-1", 20)], ids=["another", "an old hash function"])
async def test_an_offer_may_name_several_certificates_of_which_one_is_shown(server: Server, more: str) -> None:
    """Every one that was named had to be the one that is shown; RFC 8122 section 5 asks for one of them."""
    peer = caller(certificate(rsa_key()))
    try:
        await call_naming(peer, server, more)
        await peer.until(Hello)
    finally:
        await peer.close()


async def test_of_several_hash_functions_the_strongest_counts(server: Server) -> None:
    peer = caller(certificate(rsa_key()))
    try:
        path = await call_naming(peer, server, digest("sha-512", 64))
        assert "a=fingerprint" in (await error_of(server, path)).message
    finally:
        await peer.close()


async def test_a_peer_without_an_srtp_profile_of_ours_is_told(server: Server) -> None:
    before = count("srtp")
    odd = certificate(rsa_key())
    odd.profiles = b"SRTP_AES128_CM_SHA1_32"
    peer = caller(odd)
    try:
        path = await call(peer, server, "actpass")
        assert "SRTP" in (await error_of(server, path)).message
    finally:
        await peer.close()
    assert count("srtp") == before + 1


async def test_a_peer_that_never_answers_the_handshake_is_told_when_its_time_is_up(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """ICE was up, so "connect_timeout" sent people to look at their firewalls."""
    before = count("unanswered")
    async with a_server(engine, connect_timeout_s=0.5) as server:
        peer = caller(certificate(rsa_key()))
        try:
            await peer.offer()
            connection = peer.pc.getTransceivers()[0].receiver.transport.transport._connection
            vars(connection)["data_received"] = lambda data, component: None
            path = await call(peer, server, "actpass")
            error = await error_of(server, path)
        finally:
            await peer.close()
    assert error.code == "dtls_failed"
    assert "did not finish the handshake" in error.message
    assert count("unanswered") == before + 1
    assert caplog.text.count("DTLS failed") == 1


async def test_an_answer_names_one_fingerprint(server: Server) -> None:
    """OBS up to 30.2.3 cannot connect where there are several (libdatachannel issue 1315)."""
    async with a_peer(ToneTrack()) as peer, server.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
        answer = await response.text()
    assert [line.split()[0] for line in answer.splitlines() if "fingerprint" in line] == ["a=fingerprint:sha-256"]


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When OpenSSL's own timer of a second or more was waited for, by either side."""
    happened: list[float] = []
    plain = SSL.Connection.DTLSv1_handle_timeout

    def handle(self: SSL.Connection) -> bool:
        happened.append(time.monotonic())
        return plain(self)

    monkeypatch.setattr(SSL.Connection, "DTLSv1_handle_timeout", handle)
    return happened


@pytest.mark.parametrize("lost", [1, 3])
async def test_a_peer_that_opens_dtls_a_moment_late_costs_no_second(
    server: Server, timeouts: list[float], lost: int
) -> None:
    """FFmpeg drops what comes while it is still at ICE: each of its calls began with a second of nothing."""
    peer = caller(certificate(rsa_key()))
    dropped: list[bytes] = []
    try:
        offer = await peer.offer()
        # The first line's transport is the one that stays.
        connection = peer.pc.getTransceivers()[0].receiver.transport.transport._connection
        plain = connection.data_received

        def receive(data: bytes, component: int) -> None:
            if len(dropped) < lost:
                dropped.append(data)
            else:
                plain(data, component)

        vars(connection)["data_received"] = receive
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            await peer.accept(await response.text())
        await peer.until(Hello)
    finally:
        await peer.close()
    assert len(dropped) == lost
    assert {data[0] for data in dropped} == {22}
    assert timeouts == []


async def test_data_that_overtakes_the_end_of_the_handshake_makes_no_later_message_late(server: Server) -> None:
    """OpenSSL kept it, and gave it in place of what came next: each message was read when another one had come."""
    peer = caller(certificate(rsa_key()))
    try:
        transport: Any = peer.pc.getTransceivers()[0].sender.transport.transport
        plain, late = transport._send, []

        async def send(data: bytes) -> None:
            if data[0] == 20:  # ChangeCipherSpec, with which the last flight begins
                late.append(data)
                asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(plain(data)))
            else:
                await plain(data)

        transport._send = send
        path = await call(peer, server, "actpass")
        await peer.until(Hello)
        assert late
        (dtls,) = dtls_transports(session_on(server.node, path)._pc)
        ssl: Any = dtls._ssl
        with pytest.raises(SSL.WantReadError):
            ssl.recv(1_500)
    finally:
        await peer.close()


async def test_a_clienthello_that_comes_while_ice_is_at_work_is_kept_and_answered(
    server: Server, timeouts: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DTLS client may begin right after its own check, before the other side has finished ICE."""
    plain = Connection.connect
    waited: list[bytes] = []

    async def connect(self: Connection) -> None:
        await plain(self)
        if not self.ice_controlling:
            await until(lambda: not self._queue.empty())
            waited.append(self._queue._queue[0][0])  # type: ignore[attr-defined]

    monkeypatch.setattr(Connection, "connect", connect)
    peer = caller(certificate(rsa_key()))
    try:
        await call(peer, server, "active")
        await peer.until(Hello)
    finally:
        await peer.close()
    assert [data[0] for data in waited] == [22]
    assert timeouts == []

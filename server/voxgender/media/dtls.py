"""The DTLS side of a call: the certificate, the cipher suites, the handshake, and why it failed (RFC 6347, RFC 8827).

aiortc's own handshake offers suites for ECDSA certificates alone, loses OpenSSL's reason for a failure, and sends a
flight that was lost again after a second at the earliest. Like ``network``, this module touches private parts of
aiortc; ``tests/media/test_dtls.py`` fails when an upgrade moves one of them.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import Any, Literal, NamedTuple

from aiortc import RTCPeerConnection
from aiortc.rtcdtlstransport import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
    State,
)
from OpenSSL import SSL

CERTIFICATE_S = 86_400.0
"""How long calls are shown the same certificate. It would be good for a month."""

SUITES = tuple(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA")
    for signature in ("ECDSA", "RSA")
)
"""Cipher suites by OpenSSL's names. The ECDSA ones serve browsers, the RSA ones peers that have an RSA certificate."""

REPEAT_S = 0.05
"""How long a flight waits for an answer before it is sent again, at first; then twice as long each time.

OpenSSL begins with a second (RFC 6347 section 4.2.4.1). Peers that open DTLS a moment after ICE is up (FFmpeg) lose the
first flight always. A copy of a record that did arrive is dropped by the receiver's replay check.
"""

_DATAGRAM = 1_200
"""Bytes of DTLS in a datagram: below any path's MTU (RFC 8261 section 5)."""
_RECORD = Struct("!11xH")
_REPLACED = ("_do_handshake", "_validate_peer_identity")

Kind = Literal["no_shared_cipher", "certificate", "version", "fingerprint", "srtp", "refused", "unanswered", "other"]


class Failure(NamedTuple):
    """Why a handshake failed."""

    kind: Kind
    reason: str
    """OpenSSL's words, where it has any."""
    advice: str
    """One sentence for the person who runs the peer."""

    def __str__(self) -> str:
        return f"{self.reason}. {self.advice}"


_UNANSWERED = Failure(
    "unanswered",
    "the peer did not finish the handshake",
    "It answered ICE checks, so see whether it speaks DTLS 1.2 and what stands in its log.",
)
_FINGERPRINT = Failure(
    "fingerprint",
    "the peer's certificate is not the one that its offer names",
    "Let a=fingerprint hold the digest of the certificate that the peer uses.",
)
_SRTP = Failure(
    "srtp",
    "no SRTP profile in common",
    "Let the peer offer SRTP_AEAD_AES_128_GCM or SRTP_AES128_CM_HMAC_SHA1_80 (use_srtp, RFC 5764).",
)
_OTHER_KEY = "Give the peer a certificate with a P-256 key or an RSA key of 2048 bits."
_OTHER_VERSION = "Let the peer speak DTLS 1.2 (RFC 8827 section 6.5)."
_ADVICE: tuple[tuple[str, Kind, str], ...] = (
    # In this order: an alert of the peer may hold the other words too.
    ("alert", "refused", "The peer refused the handshake: its own log says why."),
    ("wrong curve", "certificate", _OTHER_KEY),
    ("key too small", "certificate", _OTHER_KEY),
    ("certificate", "certificate", _OTHER_KEY),
    (
        "no shared cipher",
        "no_shared_cipher",
        "Let the peer offer an ECDHE-ECDSA suite (RFC 8827 section 6.5), or a=setup:actpass.",
    ),
    ("protocol", "version", _OTHER_VERSION),
    ("version", "version", _OTHER_VERSION),
)


class Certificates:
    """The certificate that all calls of a process are shown, as the W3C lets connections share one.

    With it they share OpenSSL's context, which costs a call 22 kB and 0.1 ms otherwise. A caller learns from it that
    it speaks to the same process on the same day, no more. It signs handshakes and encrypts nothing: each call's keys
    are its own.
    """

    def __init__(self) -> None:
        self._shown: RTCCertificate | None = None
        self._until = 0.0

    def show(self, pc: RTCPeerConnection) -> None:
        """Have a connection that was just made show it."""
        now = time.monotonic()
        if self._shown is None or now > self._until:
            self._shown = _Certificate.generateCertificate()
            self._until = now + CERTIFICATE_S
        name = "_RTCPeerConnection__certificates"
        if not hasattr(pc, name):
            raise AttributeError("RTCPeerConnection keeps its certificates elsewhere")
        setattr(pc, name, [self._shown])


class _Certificate(RTCCertificate):
    _context: SSL.Context | None = None

    def getFingerprints(self) -> list[RTCDtlsFingerprint]:  # noqa: N802 - the W3C's name
        """Give the SHA-256 one alone: OBS up to 30.2.3 fails over several (libdatachannel issue 1315)."""
        return [fingerprint for fingerprint in super().getFingerprints() if fingerprint.algorithm == "sha-256"]

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            context = super()._create_ssl_context(srtp_profiles)
            context.set_cipher_list(":".join(SUITES).encode())
            # It would keep the sessions of calls that are over.
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            self._context = context
        return self._context


def watch(pc: RTCPeerConnection, on_failure: Callable[[Failure], None]) -> None:
    """Do the handshakes of a connection here, and tell why one failed.

    Call it after ``setRemoteDescription`` and before ``setLocalDescription``, and :func:`release` at the end.

    Args:
        on_failure: called at most once, before anything can follow from the failure.
    """
    told = False

    def tell(failure: Failure) -> None:
        nonlocal told
        if not told:
            told = True
            on_failure(failure)

    for dtls in _transports(pc):
        _watch(dtls, tell)


def release(pc: RTCPeerConnection) -> None:
    """Undo :func:`watch`: what it put into the transports holds them."""
    for dtls in _transports(pc):
        for name in _REPLACED:
            vars(dtls).pop(name, None)


def unfinished(pc: RTCPeerConnection) -> Failure | None:
    """Tell of a handshake that has begun and is not over; None where there is none."""
    return _UNANSWERED if any(dtls._state is State.CONNECTING for dtls in _transports(pc)) else None


def _transports(pc: RTCPeerConnection) -> set[Any]:
    transports: set[Any] = vars(pc)["_RTCPeerConnection__dtlsTransports"]
    return transports


def _watch(dtls: Any, on_failure: Callable[[Failure], None]) -> None:
    def fail(failure: Failure) -> None:
        on_failure(failure)
        dtls._set_state(State.FAILED)

    async def handshake() -> None:
        try:
            await _shake_hands(dtls)
        except SSL.Error as error:
            fail(_explained(error))
        except ConnectionError:
            # The call ends, or ICE lost its way.
            dtls._set_state(State.FAILED)
        else:
            dtls.encrypted = True
            if not dtls._ssl.get_selected_srtp_profile():
                fail(_SRTP)

    def validate(parameters: RTCDtlsParameters) -> None:
        RTCDtlsTransport._validate_peer_identity(dtls, parameters)
        if dtls._state is State.FAILED:
            on_failure(_FINGERPRINT)

    vars(dtls).update(zip(_REPLACED, (handshake, validate), strict=True))


async def _shake_hands(dtls: Any) -> None:
    """Take a handshake to its end.

    What came before it began waits in the transport's queue and is answered first.

    Raises:
        SSL.Error: it failed; the peer was sent the alert.
        ConnectionError: the transport was closed.
    """
    ssl: SSL.Connection = dtls._ssl
    ssl.set_ciphertext_mtu(_DATAGRAM)
    flight: list[bytes] = []
    repeat_s = REPEAT_S
    while True:
        try:
            ssl.do_handshake()
            done = True
        except SSL.WantReadError:
            done = False
        finally:
            # Where it failed, that is the alert.
            if datagrams := list(_outgoing(ssl)):
                flight = datagrams
                await _send(dtls, flight)
        if done:
            return
        due_s = ssl.DTLSv1_get_timeout()
        data = await _receive(dtls, min(repeat_s, repeat_s if due_s is None else due_s) if flight else None)
        if data is None:
            if due_s is not None and due_s <= repeat_s:
                # OpenSSL's turn: what it sends has new sequence numbers.
                ssl.DTLSv1_handle_timeout()
            else:
                await _send(dtls, flight)
            repeat_s *= 2
        elif 19 < data[0] < 64:  # DTLS (RFC 7983 section 7)
            ssl.bio_write(data)
            repeat_s = REPEAT_S


async def _receive(dtls: Any, timeout_s: float | None) -> bytes | None:
    """Wait for a datagram; None when time is up."""
    try:
        data: bytes = await asyncio.wait_for(dtls.transport._recv(), timeout_s)
    except TimeoutError:
        return None
    return data


async def _send(dtls: Any, datagrams: Sequence[bytes]) -> None:
    for datagram in datagrams:
        await dtls.transport._send(datagram)


def _outgoing(ssl: SSL.Connection) -> Iterator[bytes]:
    """Take what OpenSSL wants to send, as datagrams of whole records."""
    waiting = b""
    with suppress(SSL.Error):
        while True:
            waiting += ssl.bio_read(1 << 16)
    start = end = 0
    while end < len(waiting):
        (length,) = _RECORD.unpack_from(waiting, end)
        record_end = end + _RECORD.size + length
        if end > start and record_end - start > _DATAGRAM:
            yield waiting[start:end]
            start = end
        end = record_end
    if end > start:
        yield waiting[start:end]


def _explained(error: SSL.Error) -> Failure:
    """Tell what OpenSSL stumbled over, and what helps."""
    reasons = [entry[-1] for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    reason = ", ".join(reasons) or "OpenSSL gives no reason"
    for words, kind, advice in _ADVICE:
        if words in reason:
            return Failure(kind, reason, advice)
    return Failure("other", reason, "See what the peer's own log says of DTLS.")

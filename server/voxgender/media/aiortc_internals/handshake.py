"""Run a connection's DTLS handshakes by ``media.dtls``, which reports why one failed."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from aiortc import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, RTCPeerConnection
from aiortc.rtcdtlstransport import State
from OpenSSL import SSL
from OpenSSL.crypto import X509

from voxgender.media.aiortc_internals.transports import dtls_transports
from voxgender.media.dtls import FINGERPRINT, SRTP, UNANSWERED, Failure, explain, shake_hands

HASHES = ("sha-512", "sha-384", "sha-256")
"""Hash functions of fingerprints, the strongest first."""

_LONGEST = 16_384
"""Bytes of a DTLS record's content (RFC 6347 section 4.1)."""
_HANDSHAKE, _VALIDATE = "_do_handshake", "_validate_peer_identity"


def watch(pc: RTCPeerConnection, on_failure: Callable[[Failure], None]) -> None:
    """Take over the handshakes of a connection, and report why one failed.

    Call it after ``setRemoteDescription`` and before ``setLocalDescription``, and :func:`release` at the end.

    Args:
        on_failure: called at most once, before anything can follow from the failure.
    """
    told = False

    def fail_once(failure: Failure) -> None:
        nonlocal told
        if not told:
            told = True
            on_failure(failure)

    for dtls in dtls_transports(pc):
        _take_over(dtls, fail_once)


def release(pc: RTCPeerConnection) -> None:
    """Undo :func:`watch`, whose functions in the transports refer to them."""
    for dtls in dtls_transports(pc):
        vars(dtls).pop(_HANDSHAKE, None)
        vars(dtls).pop(_VALIDATE, None)


def unfinished(pc: RTCPeerConnection) -> Failure | None:
    """Return the failure of a handshake that has begun and is not over; None if there is none."""
    return UNANSWERED if any(dtls.state == "connecting" for dtls in dtls_transports(pc)) else None


def _take_over(transport: RTCDtlsTransport, on_failure: Callable[[Failure], None]) -> None:
    dtls: Any = transport

    def fail(failure: Failure) -> None:
        on_failure(failure)
        dtls._set_state(State.FAILED)

    async def handshake() -> None:
        try:
            await shake_hands(dtls._ssl, send=dtls.transport._send, receive=dtls.transport._recv)
        except SSL.Error as error:
            fail(explain(error))
        except ConnectionError:
            # The call ends, or ICE lost its way.
            dtls._set_state(State.FAILED)
        else:
            # Data that has overtaken the last flight. Left there, it would come in place of the next datagram's, and so
            # on. The peer sends it again.
            with suppress(SSL.Error):
                while True:
                    dtls._ssl.recv(_LONGEST)
            dtls.encrypted = True
            if not dtls._ssl.get_selected_srtp_profile():
                fail(SRTP)

    def validate(parameters: RTCDtlsParameters) -> None:
        if not _is_named(dtls._ssl.get_peer_certificate(), parameters.fingerprints):
            fail(FINGERPRINT)

    vars(transport)[_HANDSHAKE] = handshake
    vars(transport)[_VALIDATE] = validate


def _is_named(certificate: X509, fingerprints: Iterable[RTCDtlsFingerprint]) -> bool:
    """Tell whether fingerprints name a certificate (RFC 8122 section 5).

    An offer may name several certificates, of which the peer shows one. Of several hash functions the strongest counts.
    """
    digests: dict[str, set[str]] = {}
    for fingerprint in fingerprints:
        digests.setdefault(fingerprint.algorithm, set()).add(fingerprint.value)
    function = next((function for function in HASHES if function in digests), None)
    return function is not None and certificate.digest(function.replace("-", "")).decode() in digests[function]

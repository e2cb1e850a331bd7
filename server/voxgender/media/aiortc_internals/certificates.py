"""Share one certificate between all calls of a process, with cipher suites for peers of every kind."""

import time

from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCPeerConnection
from aiortc.rtcdtlstransport import SRTPProtectionProfile
from OpenSSL import SSL

from voxgender.media.dtls import SUITES

CERTIFICATE_S = 86_400.0
"""Time for which calls use the same certificate. It would be valid for a month."""


class Certificates:
    """Keeps the certificate of all calls of a process, as the W3C lets connections share one.

    With it they share OpenSSL's context, which costs a call 22 kB and 0.1 ms otherwise. A caller learns from it that
    it speaks to the same process on the same day, no more. It signs handshakes and encrypts nothing: each call's keys
    are its own.
    """

    def __init__(self) -> None:
        self._shown: RTCCertificate | None = None
        self._until = 0.0

    def show(self, pc: RTCPeerConnection) -> None:
        """Let a connection that was just made use it."""
        now = time.monotonic()
        if self._shown is None or now > self._until:
            self._shown = _Certificate.generateCertificate()
            self._until = now + CERTIFICATE_S
        vars(pc)["_RTCPeerConnection__certificates"] = [self._shown]


class _Certificate(RTCCertificate):
    _context: SSL.Context | None = None

    def getFingerprints(self) -> list[RTCDtlsFingerprint]:  # noqa: N802 - the W3C's name
        """Return the SHA-256 fingerprint alone: OBS up to 30.2.3 fails over several (libdatachannel issue 1315)."""
        return [fingerprint for fingerprint in super().getFingerprints() if fingerprint.algorithm == "sha-256"]

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            context = super()._create_ssl_context(srtp_profiles)
            context.set_cipher_list(":".join(SUITES).encode())
            # OpenSSL's session cache would keep the sessions of calls that are over.
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            self._context = context
        return self._context

"""Run a DTLS handshake by OpenSSL: cipher suites, retransmission, reasons of a failure (RFC 6347, RFC 8827).

aiortc's own handshake offers suites for ECDSA certificates alone, loses OpenSSL's reason for a failure, and sends a
flight that was lost again after a second at the earliest. ``aiortc_internals.handshake`` puts this one in its place.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import Literal, NamedTuple

from OpenSSL import SSL

SUITES = tuple(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA")
    for signature in ("ECDSA", "RSA")
)
"""Cipher suites by OpenSSL's names. The ECDSA ones serve browsers, the RSA ones peers that have an RSA certificate."""

FIRST_REPEAT_S = 0.05
"""Time after which the first flight is sent again without an answer; it doubles each time up to the longest.

OpenSSL begins with a second (RFC 6347 section 4.2.4.1). Peers that open DTLS a moment after ICE is up (FFmpeg) lose
the first flight, always.
"""
REPEAT_S = 0.4
"""Time after which a later flight is repeated. The peer has answered before, and may take 100 ms (FFmpeg).

A copy that reaches FFmpeg after the end of its handshake makes it wait for a datagram before each packet that it sends.
"""
LONGEST_REPEAT_S = 1.0
"""Longest time between two repetitions: a call has a few seconds to connect, and is not to wait for half of them after
a way that was gone for a moment."""

_DATAGRAM = 1_200
"""Bytes of DTLS in a datagram: below any path's MTU (RFC 8261 section 5)."""
_RECORD = Struct("!11xH")
_APPLICATION_DATA = 23

Kind = Literal["no_shared_cipher", "certificate", "version", "fingerprint", "srtp", "refused", "unanswered", "other"]


class Failure(NamedTuple):
    """The reason why a handshake failed."""

    kind: Kind
    reason: str
    """OpenSSL's own words, if there are any."""
    advice: str
    """One sentence for the person who runs the peer."""

    def __str__(self) -> str:
        return f"{self.reason}. {self.advice}"


UNANSWERED = Failure(
    "unanswered",
    "the peer did not finish the handshake",
    "It answered ICE checks, so see whether it speaks DTLS 1.2 and what stands in its log.",
)
FINGERPRINT = Failure(
    "fingerprint",
    "the peer's certificate is not the one that its offer names",
    "Let a=fingerprint hold the digest of the certificate that the peer uses.",
)
SRTP = Failure(
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


Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes]]


async def shake_hands(ssl: SSL.Connection, *, send: Send, receive: Receive) -> None:
    """Run a handshake until it succeeds or fails.

    Args:
        ssl: knows its role and reads and writes memory, not a socket.
        send: sends a datagram to the peer.
        receive: waits for a datagram from the peer; one that came before the handshake began is answered first.

    Raises:
        SSL.Error: it failed; the peer was sent the alert.
        ConnectionError: the transport was closed.
    """
    ssl.set_ciphertext_mtu(_DATAGRAM)
    flight: list[bytes] = []
    repeat_s = FIRST_REPEAT_S
    while True:
        try:
            ssl.do_handshake()
            done = True
        except SSL.WantReadError:
            done = False
        finally:
            # After a failure this sends the alert.
            if datagrams := list(_outgoing(ssl)):
                flight = datagrams
                await _send_all(flight, send)
        if done:
            return
        due_s = ssl.DTLSv1_get_timeout()
        data = await _receive(receive, min(repeat_s, repeat_s if due_s is None else due_s) if flight else None)
        if data is None:
            if due_s is not None and due_s <= repeat_s:
                # Now OpenSSL repeats the flight, under new sequence numbers.
                ssl.DTLSv1_handle_timeout()
            else:
                await _send_all(flight, send)
            repeat_s = min(2 * repeat_s, LONGEST_REPEAT_S)
        elif is_dtls(data):
            ssl.bio_write(data)
            repeat_s = REPEAT_S


async def _receive(receive: Receive, timeout_s: float | None) -> bytes | None:
    """Wait for a datagram; None when time is up."""
    try:
        async with asyncio.timeout(timeout_s):
            return await receive()
    except TimeoutError:
        return None


async def _send_all(datagrams: Sequence[bytes], send: Send) -> None:
    for datagram in datagrams:
        await send(datagram)


def is_dtls(datagram: bytes) -> bool:
    """Tell whether a datagram is DTLS, by the first byte (RFC 7983 section 7)."""
    return 19 < datagram[0] < 64


def split_records(datagram: bytes) -> Iterator[bytes]:
    """Yield the records of a datagram, which may hold several (RFC 6347 section 4.1.1); the last may be cut off."""
    start = 0
    while start < len(datagram):
        end = len(datagram)
        if start + _RECORD.size <= end:
            end = min(end, start + _RECORD.size + _RECORD.unpack_from(datagram, start)[0])
        yield datagram[start:end]
        start = end


def split_messages(datagram: bytes) -> Iterator[bytes]:
    """Yield each record of application data by itself, and those of a handshake together, as OpenSSL reads them."""
    piece = b""
    for record in split_records(datagram):
        if piece and _APPLICATION_DATA in (record[0], piece[0]):
            yield piece
            piece = b""
        piece += record
    yield piece


def _outgoing(ssl: SSL.Connection) -> Iterator[bytes]:
    """Take what OpenSSL wants to send, as datagrams of whole records."""
    waiting = b""
    with suppress(SSL.Error):
        while True:
            waiting += ssl.bio_read(1 << 16)
    datagram = b""
    for record in split_records(waiting):
        if datagram and len(datagram) + len(record) > _DATAGRAM:
            yield datagram
            datagram = b""
        datagram += record
    if datagram:
        yield datagram


def explain(error: SSL.Error) -> Failure:
    """Translate an error of OpenSSL into the reason and an advice."""
    reasons = [entry[-1] for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    reason = ", ".join(reasons) or "OpenSSL gives no reason"
    for words, kind, advice in _ADVICE:
        if words in reason:
            return Failure(kind, reason, advice)
    return Failure("other", reason, "See what the peer's own log says of DTLS.")

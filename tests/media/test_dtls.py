"""The flights of a handshake, and OpenSSL's reasons for failures. Whole handshakes are in ``test_handshake``."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import SRTP_PROFILES
from OpenSSL import SSL

from voxgender.media import dtls
from voxgender.media.dtls import FIRST_REPEAT_S, LONGEST_REPEAT_S, _outgoing, explain, shake_hands, split_messages


def test_a_flight_is_cut_between_records_and_below_any_mtu() -> None:
    class Outgoing:
        def __init__(self, *records: int) -> None:
            self.data = b"".join(b"\x16" * 11 + size.to_bytes(2, "big") + bytes(size) for size in records)

        def bio_read(self, size: int) -> bytes:
            data, self.data = self.data, b""
            if not data:
                raise SSL.WantReadError
            return data

    def cut(*records: int) -> list[int]:
        outgoing: Any = Outgoing(*records)
        return [len(datagram) for datagram in _outgoing(outgoing)]

    assert cut() == []
    assert cut(100, 200) == [326]
    assert cut(600, 600, 50) == [613, 676]
    assert cut(1500, 10) == [1513, 23]


def test_each_message_in_a_datagram_is_handed_on_by_itself_and_a_flight_as_it_is() -> None:
    """The second of two messages in a datagram was read when the next datagram came: from then on all were late."""

    def record(kind: int, size: int) -> bytes:
        return bytes((kind, 254, 253)) + bytes(8) + size.to_bytes(2, "big") + bytes(size)

    hello, message = record(22, 50), record(23, 30)
    assert list(split_messages(hello + hello)) == [hello + hello]
    assert list(split_messages(message + message)) == [message, message]
    assert list(split_messages(hello + message + message)) == [hello, message, message]
    assert list(split_messages(message + hello[:20])) == [message, hello[:20]]
    assert list(split_messages(message[:5])) == [message[:5]]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("no shared cipher", "no_shared_cipher"),
        ("wrong curve", "certificate"),
        ("ee key too small", "certificate"),
        ("peer did not return a certificate", "certificate"),
        ("unsupported protocol", "version"),
        ("wrong version number", "version"),
        ("tls alert handshake failure", "refused"),
        ("tlsv1 alert protocol version", "refused"),
        ("tls alert bad certificate", "refused"),
        ("internal error", "other"),
    ],
)
def test_each_reason_of_openssl_has_its_kind(reason: str, kind: str) -> None:
    failure = explain(SSL.Error([("SSL routines", "", reason)]))
    assert (failure.kind, failure.reason) == (kind, reason)
    assert failure.advice.endswith(".")


async def test_a_peer_that_takes_its_time_gets_the_last_flight_once() -> None:
    """FFmpeg takes 100 ms to answer; a copy that came after made it wait for ever before each packet that it sent."""
    certificate = RTCCertificate.generateCertificate()
    context = certificate._create_ssl_context(SRTP_PROFILES)
    client, server = SSL.Connection(context), SSL.Connection(context)
    client.set_connect_state()
    server.set_accept_state()
    server.set_ciphertext_mtu(1_200)
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)
        server.bio_write(data)
        with suppress(SSL.WantReadError):
            server.do_handshake()
        for datagram in _outgoing(server):
            asyncio.get_running_loop().call_later(0.15 if len(sent) > 1 else 0.0, answers.put_nowait, datagram)

    await shake_hands(client, send=send, receive=answers.get)
    assert len(sent) == len(set(sent))
    assert server.get_state_string() == b"SSL negotiation finished successfully"


async def test_a_flight_is_repeated_every_second_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """The times doubled without end: after a way that was gone for 5 s a handshake stood still for 6 s more."""
    client = SSL.Connection(RTCCertificate.generateCertificate()._create_ssl_context(SRTP_PROFILES))
    client.set_connect_state()
    waits: list[float] = []

    async def receive_nothing(_: object, timeout_s: float) -> None:
        waits.append(timeout_s)
        if len(waits) == 20:
            raise ConnectionError

    async def send(_: bytes) -> None:
        return

    monkeypatch.setattr(dtls, "_receive", receive_nothing)
    with pytest.raises(ConnectionError):
        await shake_hands(client, send=send, receive=asyncio.Queue[bytes]().get)
    assert waits[0] == FIRST_REPEAT_S
    assert max(waits) <= LONGEST_REPEAT_S


def test_an_error_without_a_reason_is_told_so() -> None:
    assert explain(SSL.Error([])).reason == explain(SSL.Error()).reason == "OpenSSL gives no reason"

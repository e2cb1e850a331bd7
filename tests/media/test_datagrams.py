"""Both ways to read datagrams, held to the same."""

import socket
import time
from collections.abc import Iterator

import pytest

from voxgender.media.datagrams import (
    AT_ONCE,
    DatagramReader,
    PlainReader,
    datagram_reader,
    pack_address,
    unpack_address,
)
from voxgender.media.recvmmsg import RecvmmsgReader


@pytest.fixture(params=[PlainReader, RecvmmsgReader])
def reader(request: pytest.FixtureRequest) -> DatagramReader:
    made: DatagramReader = request.param()
    return made


@pytest.fixture(params=["127.0.0.1", "::1"])
def ends(request: pytest.FixtureRequest, reader: DatagramReader) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket that is read, and one that sends to it."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as read, socket.socket(family, socket.SOCK_DGRAM) as sent:
        read.setblocking(False)
        reader.prepare(read)
        for end in (read, sent):
            end.bind((request.param, 0))
        yield read, sent


def test_nothing_is_read_where_nothing_waits(reader: DatagramReader, ends: tuple[socket.socket, socket.socket]) -> None:
    assert reader.read(ends[0]) == []


def test_datagrams_come_in_their_order_with_their_source_and_time(
    reader: DatagramReader, ends: tuple[socket.socket, socket.socket]
) -> None:
    read, sent = ends
    texts = [bytes((number,)) * (number + 1) for number in range(AT_ONCE + 3)]
    for text in texts:
        sent.sendto(text, read.getsockname())
    first, then = reader.read(read), reader.read(read)
    assert [data for data, _, _ in first + then] == texts
    assert len(first) == AT_ONCE
    host, port = sent.getsockname()[:2]
    assert {source for _, source, _ in first} == {pack_address(read.family, host, port)}
    assert unpack_address(first[0][1]) == (host, port)
    assert all(0.0 <= time.monotonic() - arrived_at < 5.0 for _, _, arrived_at in first)


@pytest.mark.parametrize("set_s", [0.0, 5.0, -5.0, 3_600.0])
def test_a_server_that_stood_still_knows_when_datagrams_came(set_s: float) -> None:
    """After more than a second they counted as just arrived: callers were told that they sent too fast."""
    stood_still_s = 5.0
    later_s = wall_later_s = 0.0
    reader = RecvmmsgReader(
        clock=lambda: time.monotonic() + later_s, wall_clock=lambda: time.time() + later_s + wall_later_s
    )
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as read,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sent,
    ):
        read.setblocking(False)
        reader.prepare(read)
        read.bind(("127.0.0.1", 0))
        sent.sendto(b"early", read.getsockname())
        before = time.monotonic()
        later_s, wall_later_s = stood_still_s, set_s
        ((_, _, arrived_at),) = reader.read(read)
    came_at = before + stood_still_s if set_s else before
    assert arrived_at == pytest.approx(came_at, abs=2.0)


def test_an_error_of_the_network_is_raised_and_the_socket_goes_on(
    reader: DatagramReader, ends: tuple[socket.socket, socket.socket]
) -> None:
    read, sent = ends
    address = sent.getsockname()
    sent.close()
    read.connect(address)
    read.send(b"to nobody")
    with pytest.raises(ConnectionRefusedError):
        reader.read(read)
    assert reader.read(read) == []


def test_a_closed_socket_is_an_error(reader: DatagramReader, ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.read(ends[0])


def test_another_system_gets_the_plain_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's C function was looked up at import, so nothing could be imported on a Mac."""
    monkeypatch.setitem(__import__("sys").modules, "voxgender.media.recvmmsg", None)
    assert isinstance(datagram_reader(), PlainReader)

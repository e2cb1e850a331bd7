"""Read the datagrams that wait in UDP sockets: many by one system call on Linux, one by one elsewhere."""

import socket
import time
from struct import Struct
from typing import Protocol

AT_ONCE = 64
"""Datagrams of one reading."""

_LARGEST = 2_048  # above any path's MTU
_INET = Struct("=H2s4s8x")
_INET6 = Struct("=H2s4x16s4x")
_FAMILY = Struct("=H")

Datagram = tuple[bytes, bytes, float]
"""Data, source (see :func:`pack_address`), and arrival in seconds of ``time.monotonic``: at the kernel on Linux,
elsewhere when it was read."""


class DatagramReader(Protocol):
    """Reads non-blocking UDP sockets; one reader serves any number of them."""

    def prepare(self, sock: socket.socket) -> None:
        """Set the options that reading needs, once a socket."""
        ...

    def read(self, sock: socket.socket) -> list[Datagram]:
        """Read up to ``AT_ONCE`` datagrams that wait in a socket.

        Raises:
            OSError: an ICMP error that came back for something sent, or the socket is closed.
        """
        ...


def datagram_reader() -> DatagramReader:
    """Return the fastest reader that this system has."""
    try:
        from voxgender.media.recvmmsg import RecvmmsgReader
    except (ImportError, AttributeError):  # another system, or another C library
        return PlainReader()
    return RecvmmsgReader()


class PlainReader:
    """Reads with what every system's sockets have."""

    def prepare(self, sock: socket.socket) -> None:
        """Do nothing: every socket can be read so."""

    def read(self, sock: socket.socket) -> list[Datagram]:
        """Read up to ``AT_ONCE`` datagrams; an error that comes after some is left for the next reading."""
        datagrams: list[Datagram] = []
        for _ in range(AT_ONCE):
            try:
                data, (host, port, *_scope) = sock.recvfrom(_LARGEST)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                if not datagrams:
                    raise
                break
            datagrams.append((data, pack_address(sock.family, host, port), time.monotonic()))
        return datagrams


def pack_address(family: int, host: str, port: int) -> bytes:
    """Return an address as a ``struct sockaddr`` in Linux's layout, which keys addresses on every system."""
    layout = _INET if family == socket.AF_INET else _INET6
    return layout.pack(family, port.to_bytes(2, "big"), socket.inet_pton(family, host.partition("%")[0]))


def unpack_address(source: bytes) -> tuple[str, int]:
    """Return the host and port of such a ``struct sockaddr``."""
    if _FAMILY.unpack_from(source)[0] == socket.AF_INET:
        _, port, host = _INET.unpack_from(source)
        return socket.inet_ntop(socket.AF_INET, host), int.from_bytes(port, "big")
    _, port, host = _INET6.unpack_from(source)
    return socket.inet_ntop(socket.AF_INET6, host), int.from_bytes(port, "big")

"""Put a link between a peer and its network.

It uses private names of aioice's connection; ``tests/peer/test_link.py`` fails when an upgrade changes one.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from aiortc import RTCPeerConnection

from voxgender.media.aiortc_internals.transports import ice_connections


class Link(Protocol):
    """Stands between a peer and its network."""

    def send(self, datagram: bytes, out: Callable[[bytes], object]) -> None:
        """Send a datagram: at once, later, twice or not at all."""

    def admits(self) -> bool:
        """Return whether a datagram that arrives now gets through."""


def impair(pc: RTCPeerConnection, link: Link) -> None:
    """Put ``link`` in the way of everything that a connected peer sends and receives: RTP, RTCP, DTLS, SCTP, STUN."""
    for connection in ice_connections(pc):
        for protocol in connection._protocols:
            vars(protocol).update(
                transport=_LinkedTransport(protocol.transport, link),
                datagram_received=partial(_receive, link, protocol.datagram_received),
            )


def _receive(link: Link, receive: Callable[[bytes, Any], None], data: bytes, address: Any) -> None:
    if link.admits():
        receive(data, address)


class _LinkedTransport:
    """Sends the datagrams of a transport through a link."""

    def __init__(self, transport: asyncio.DatagramTransport, link: Link) -> None:
        self._transport = transport
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def sendto(self, data: bytes, address: Any = None) -> None:
        self._link.send(data, partial(self._send_out, address=address))

    def _send_out(self, data: bytes, address: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, address)

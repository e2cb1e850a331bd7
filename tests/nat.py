"""A NAT of one's own between a caller and a server, on loopback: it can forget its mapping, as real ones do."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from aiohttp import ClientSession

from tests.rtc import LOOPBACK, SDP, Peer


class _Port(asyncio.DatagramProtocol):
    """One side of the NAT."""

    def __init__(self, on_datagram: Callable[[bytes, Any], None]) -> None:
        self.on_datagram = on_datagram
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.on_datagram(data, addr)


async def udp_port(on_datagram: Callable[[bytes, Any], None], host: str = LOOPBACK) -> Any:
    """Open a UDP port of this machine; return its transport."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Port(on_datagram), local_addr=(host, 0))
    return transport


class Nat:
    """Pass datagrams of one caller to a server and back.

    Args:
        server: the address that datagrams are passed on to, of this machine; the NAT has its ports there too.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.sent: list[bytes] = []
        """Datagrams that the caller has sent."""
        self.way_back = True
        """True while datagrams reach the caller."""
        self.delay_s = 0.0
        """Time that each datagram takes."""
        self.intercept: Callable[[bytes], None] | None = None
        """Takes the caller's datagrams in the server's place."""
        self._inside: Any = None
        self._outside: Any = None
        self._caller: Any = None

    async def open(self) -> tuple[str, int]:
        """Return the address that the caller takes for the server's."""
        self._inside = await udp_port(self._from_caller, self.server[0])
        await self.rebind()
        host, port = self._inside.get_extra_info("sockname")
        return host, port

    async def rebind(self) -> None:
        """Forget the mapping: the caller has another port from now on, and what is sent to the old one is lost."""
        fresh = await udp_port(self._from_server, self.server[0])
        if self._outside is not None:
            self._outside.close()
        self._outside = fresh

    @property
    def mapped(self) -> tuple[str, int]:
        """The caller's address as the server sees it."""
        host, port = self._outside.get_extra_info("sockname")
        return host, port

    def close(self) -> None:
        for transport in (self._inside, self._outside):
            if transport is not None:
                transport.close()

    def swap(self, other: "Nat") -> None:
        """Give each the other's mapping, as when a router starts anew and hands out the same ports in another order."""
        self._outside, other._outside = other._outside, self._outside
        for nat in (self, other):
            nat._outside.get_protocol().on_datagram = nat._from_server

    def to_caller(self, data: bytes) -> None:
        """Pass something on to the caller as if it came from the server."""
        if not self._inside.is_closing():
            self._inside.sendto(data, self._caller)

    def _from_caller(self, data: bytes, addr: Any) -> None:
        self._caller = addr
        self.sent.append(data)
        if self.intercept is not None:
            self.intercept(data)
        elif self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self.to_server, data)
        else:
            self.to_server(data)

    def to_server(self, data: bytes) -> None:
        """Pass something on to the server as if it came from the caller."""
        if not self._outside.is_closing():
            self._outside.sendto(data, self.server)

    def _from_server(self, data: bytes, addr: Any) -> None:
        if addr != self.server or not self.way_back:
            return
        asyncio.get_running_loop().call_later(self.delay_s, self.to_caller, data)


async def call_behind_nat(peer: Peer, http: ClientSession) -> tuple[str, Nat]:
    """Place a call that has no way but through a NAT; return the session's path and the NAT."""
    offer = "".join(
        line
        for line in (await peer.offer()).splitlines(keepends=True)
        if not line.startswith(("a=candidate", "a=end-of-candidates"))
    )
    async with http.post("/whip", data=offer, headers=SDP) as response:
        assert response.status == 201, await response.text()
        answer, path = await response.text(), response.headers["Location"]
    (port,) = {int(port) for port in re.findall(rf"^a=candidate:.* {LOOPBACK} (\d+) typ host", answer, re.MULTILINE)}
    nat = Nat((LOOPBACK, port))
    _, inside = await nat.open()
    await peer.accept(answer.replace(f" {LOOPBACK} {port} ", f" {LOOPBACK} {inside} "))
    return path, nat

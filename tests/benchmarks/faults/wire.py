"""A bad network between one caller and its server: a relay on loopback that spoils what passes, both ways."""

import asyncio
import random
import re
from typing import Any

LOOPBACK = "127.0.0.1"
_HEADERS = 28
"""Bytes of IPv4 and UDP."""
_REORDERED_S = 0.06


class Conditions:
    """Settings of what a network does to each datagram; all may be changed at any time."""

    def __init__(self) -> None:
        self.loss = 0.0
        """Share that is lost."""
        self.burst = 1
        """Datagrams lost in a row."""
        self.jitter_s = 0.0
        """Longest delay; each datagram has one of its own."""
        self.reordered = 0.0
        """Share that comes later than those after it."""
        self.mtu = 65_535
        """Bytes of the largest packet that passes."""
        self.is_cut = False


class _Side(asyncio.DatagramProtocol):
    def __init__(self, receive: Any) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._receive(data, addr)


class Wire:
    """Passes one caller's datagrams to a server and back, from an address of its own."""

    def __init__(self, conditions: Conditions, server: tuple[str, int]) -> None:
        self._conditions = conditions
        self.server = server
        self._chance = random.Random(7)
        self._inside: Any = None
        self._outside: Any = None
        self._caller: Any = None
        self._still_lost = 0

    @classmethod
    async def open(cls, conditions: Conditions, answer: str) -> tuple["Wire", str]:
        """Open a wire for an SDP answer; return it, and the answer with the wire's address in place of the server's."""
        (port,) = {
            int(port) for port in re.findall(rf"^a=candidate:.* {LOOPBACK} (\d+) typ host", answer, re.MULTILINE)
        }
        wire = cls(conditions, (LOOPBACK, port))
        wire._inside = await wire._socket(wire._from_caller, LOOPBACK)
        await wire.move()
        _, inside = wire._inside.get_extra_info("sockname")
        return wire, answer.replace(f" {LOOPBACK} {port} ", f" {LOOPBACK} {inside} ")

    async def move(self, address: str = LOOPBACK) -> None:
        """Give the caller another port, or another address, as the server sees it; the old one is gone."""
        fresh = await self._socket(self._from_server, address)
        if self._outside is not None:
            self._outside.close()
        self._outside = fresh

    def close(self) -> None:
        self._inside.close()
        self._outside.close()

    async def _socket(self, receive: Any, address: str) -> Any:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Side(receive), local_addr=(address, 0))
        return transport

    def _from_caller(self, data: bytes, addr: Any) -> None:
        self._caller = addr
        self._pass(data, lambda: self._outside.sendto(data, self.server))

    def _from_server(self, data: bytes, addr: Any) -> None:
        if addr == self.server and self._caller is not None:
            self._pass(data, lambda: self._inside.sendto(data, self._caller))

    def _pass(self, data: bytes, send: Any) -> None:
        now = self._conditions
        if now.is_cut or len(data) + _HEADERS > now.mtu or self._is_lost():
            return
        delay_s = self._chance.uniform(0, now.jitter_s)
        if self._chance.random() < now.reordered:
            delay_s += _REORDERED_S
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._send, send)
        else:
            self._send(send)

    def _is_lost(self) -> bool:
        if self._still_lost:
            self._still_lost -= 1
            return True
        # So that the share is the same whatever the bursts.
        if self._chance.random() < self._conditions.loss / self._conditions.burst:
            self._still_lost = self._conditions.burst - 1
            return True
        return False

    def _send(self, send: Any) -> None:
        if not self._inside.is_closing() and not self._outside.is_closing():
            send()

"""Opus packets as a live track: one leaves every 20 ms, whatever else the machine does."""

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable, Iterable
from fractions import Fraction
from typing import Any

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.packet import Packet

from voxgender.peer.speech import PACKET_S, PACKET_SAMPLES

_TIME_BASE = Fraction(1, 48_000)


class PacketTrack(MediaStreamTrack):
    """Plays encoded packets in real time; aiortc sends them as they are.

    Every packet is due at a multiple of 20 ms from the first, so a late one does not delay those after it.
    """

    kind = "audio"

    def __init__(
        self,
        packets: Iterable[bytes],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        super().__init__()
        self._packets = iter(packets)
        self._clock = clock
        self._sleep = sleep
        self._start = 0.0
        self.sent = array("d")
        """When each packet left, seconds of ``clock``."""
        self.played: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the last packet has left."""

    async def recv(self) -> "Packet[Any]":
        if self.readyState != "live":
            raise MediaStreamError
        payload = next(self._packets, None)
        if payload is None:
            self.stop()
            if not self.played.done():
                self.played.set_result(None)
            raise MediaStreamError
        number = len(self.sent)
        if number == 0:
            self._start = self._clock()
        elif (wait := self._start + number * PACKET_S - self._clock()) > 0:
            await self._sleep(wait)
        self.sent.append(self._clock())
        packet = Packet(payload)
        packet.pts = number * PACKET_SAMPLES
        packet.time_base = _TIME_BASE
        return packet

"""Encoded packets on their way out in real time: one leaves every 20 ms, whatever else the machine does."""

import asyncio
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Protocol

from voxgender.peer.pacer import Pacer
from voxgender.peer.speech import PACKET_SAMPLES


class Writer(Protocol):
    """Sends one packet; ``timestamp`` in samples of the Opus clock from the start."""

    def write(self, payload: bytes, timestamp: int) -> None: ...


class Player:
    """Plays one call's packets, once, on the pacer's beat."""

    def __init__(self, packets: Iterable[bytes], pacer: Pacer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._packets = iter(packets)
        self._pacer = pacer
        self._clock = clock
        self._writer: Writer | None = None
        self.sent = array("d")
        """When each packet left, seconds of ``clock``."""
        self.played: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the last packet has left; fails with what the packets raised."""

    def start(self, writer: Writer) -> None:
        self._writer = writer
        self._pacer.join(self._beat)

    def stop(self) -> None:
        """Send nothing more."""
        self._pacer.leave(self._beat)
        if not self.played.done():
            self.played.cancel()

    def _beat(self) -> None:
        assert self._writer is not None
        try:
            payload = next(self._packets)
        except StopIteration:
            self._pacer.leave(self._beat)
            self.played.set_result(None)
            return
        except Exception as error:  # noqa: BLE001 - a file that cannot be decoded any further; the call reports it
            self._pacer.leave(self._beat)
            self.played.set_exception(error)
            return
        number = len(self.sent)
        self.sent.append(self._clock())
        self._writer.write(payload, number * PACKET_SAMPLES)

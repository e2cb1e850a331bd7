"""Encoded packets on their way out in real time: each leaves when its audio is over, whatever else the machine does."""

import asyncio
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Protocol

from voxgender.peer.pacer import Pacer
from voxgender.peer.speech import PACKET_SAMPLES, packet_times


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
        self._payload: bytes | None = None
        self._beats = 0
        self.sent = array("d")
        """When the packet with each 20 ms of audio left, seconds of ``clock``."""
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
        if self._payload is not None:
            self._wait_or_send(self._writer, self._payload)
            return
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
        self._beats = 0
        self._wait_or_send(self._writer, payload)

    def _wait_or_send(self, writer: Writer, payload: bytes) -> None:
        """Let one more beat of the packet's audio pass; after the last one, send it."""
        self._beats += 1
        if self._beats < packet_times(payload):
            self._payload = payload
            return
        self._payload = None
        start = len(self.sent)
        self.sent.extend([self._clock()] * self._beats)
        writer.write(payload, start * PACKET_SAMPLES)

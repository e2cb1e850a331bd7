"""Send encoded packets in real time: each leaves when its audio is over."""

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
    """Plays one call's packets, once, paced by a :class:`Pacer`."""

    def __init__(self, packets: Iterable[bytes], pacer: Pacer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._packets = iter(packets)
        self._pacer = pacer
        self._clock = clock
        self._writer: Writer | None = None
        self._payload: bytes | None = None
        self._beats = 0
        self.sent = array("d")
        """Sending time of each 20 ms of audio, seconds of ``clock``."""
        self.played: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the last packet has left; fails if the packets raise an error."""

    def start(self, writer: Writer) -> None:
        self._writer = writer
        self._pacer.join(self._beat)

    def stop(self) -> None:
        """Stop sending."""
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
        """Count 20 ms of the packet's audio; send the packet after the last of them."""
        self._beats += 1
        if self._beats < packet_times(payload):
            self._payload = payload
            return
        self._payload = None
        start = len(self.sent)
        self.sent.extend([self._clock()] * self._beats)
        writer.write(payload, start * PACKET_SAMPLES)

"""Share the UDP sockets of a media node between calls.

A wake-up of the event loop and a system call for each packet are what a live call costs most. Calls therefore share
sockets (as RFC 8445 allows: a check names the call it is for), and a socket whose calls are all up is read on a tick,
many packets at once. While one of its calls is still connecting it is read at once, because a peer waits for each
answer. A node therefore needs only one open port in its firewall.
"""

import asyncio
import errno
import logging
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from voxgender.engine.schedule import EARLY_S, EVERY_TICK, QUIET_TICK_S, Phase, next_tick
from voxgender.errors import NotReady
from voxgender.media.calltransport import CallProtocol, CallTransport
from voxgender.media.datagrams import AT_ONCE, DatagramReader, datagram_reader
from voxgender.media.sharedsocket import SharedSocket
from voxgender.ratelimit import RateLimit

logger = logging.getLogger(__name__)

CALLS = 32
"""Calls that share a socket. More would fill the kernel's buffer of one socket while the event loop is busy."""

READ_S = 0.01
"""Time for one reading of a socket; the rest waits for the next."""
CROWDED_TICK_S = 0.004
"""From one reading of a crowded socket to the next."""
STRANGERS_SHARE = 0.1
"""Share of a core that may go into checking the signatures of addresses that are not known."""

_STRANGERS_AT_ONCE_S = 0.02
_RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes asked for; without CAP_NET_ADMIN the kernel gives up to its ``net.core.rmem_max``."""
_SO_RCVBUFFORCE = 33  # Linux, asm-generic/socket.h; Python has no name for it


class Sockets:
    """Opens sockets in a range of ports as calls come, and closes each after the last of its calls.

    Args:
        ports: the first and the last UDP port that may be used; None lets the kernel choose.
        reader: reads the sockets; None for the fastest that the system has.
        max_calls: calls that may share one socket.
        is_busy: tells whether there are so many calls that a socket is read just before they have their turn.
    """

    def __init__(
        self,
        ports: tuple[int, int] | None = None,
        reader: DatagramReader | None = None,
        *,
        max_calls: int = CALLS,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ports = ports
        self._is_busy = is_busy
        self._max_calls = max_calls
        self.shared: list[SharedSocket] = []
        """Those that are open."""
        self._strangers = RateLimit(STRANGERS_SHARE, _STRANGERS_AT_ONCE_S)
        """Seconds of CPU time for addresses that are not known yet."""
        self._reader = reader or datagram_reader()
        self._timer: asyncio.TimerHandle | None = None

    def open(
        self, address: str, ufrag: str, protocol: CallProtocol, phase: Phase = EVERY_TICK, *, peer: str = ""
    ) -> CallTransport:
        """Add a call to a socket.

        Args:
            address: a local address.
            ufrag: the call's own ICE user name fragment; peers' checks name it (RFC 8445 section 7.2.2).
            protocol: receives the call's datagrams.
            phase: the ticks of the call's turns while there are many calls; its socket is read just before.
            peer: the peer's ICE user name fragment. Two calls of one peer are at different ports if there are any: a
                client that sent its offer again, because the answer was lost, takes what has one address for one call.

        Raises:
            NotReady: every port of the range is in use by others, or shared by as many calls as are allowed.
            OSError: the address is not one of this machine's.
        """
        room = [shared for shared in self.shared if shared.address == address and shared.calls < self._max_calls]
        shared = next((shared for shared in room if phase in shared.phases and not shared.has_call_of(peer)), None)
        if shared is None:
            try:
                shared = SharedSocket(
                    address,
                    self._bind(address),
                    strangers=self._strangers,
                    on_readable=self.read,
                    on_closed=self._remove,
                )
            except NotReady:
                # It is then read for the turns of either.
                if not room:
                    raise
                shared = room[0]
            else:
                self.shared.append(shared)
        transport = CallTransport(shared, ufrag, protocol, phase, peer)
        if self._timer is None:
            self._wait()
        return transport

    def read(self, shared: SharedSocket) -> None:
        """Read the datagrams that wait in a socket, and deliver each to its call."""
        until = time.monotonic() + READ_S
        count = AT_ONCE
        while count == AT_ONCE and not shared.closed:
            if time.monotonic() > until:
                shared.is_crowded = True
                return
            try:
                datagrams = self._reader.read(shared.socket)
            except OSError as error:
                # An ICMP error for something sent: ICE notices a dead path by itself.
                logger.debug("%s: %s", shared.address, error)
                continue
            for data, source, arrived_at in datagrams:
                shared.deliver(data, source, arrived_at)
            count = len(datagrams)
            shared.count(count)

    def _remove(self, shared: SharedSocket) -> None:
        """Remove a closed socket; stop the timer with the last one."""
        self.shared.remove(shared)
        if not self.shared and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        busy = self._is_busy()
        due = [shared for shared in self.shared if shared.is_hurried or not busy or now + EARLY_S >= shared.due_at]
        self._wait()
        for shared in due:
            if not shared.is_watched:
                self.read(shared)

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for shared in self.shared:
            shared.due_at = min(phase.next_turn(now) for phase in shared.phases)
        at = min(shared.due_at for shared in self.shared) if self._is_busy() else next_tick(now, QUIET_TICK_S)
        if any(shared.is_hurried for shared in self.shared):
            at = min(at, now + CROWDED_TICK_S)
        self._timer = loop.call_at(at, self._tick)

    def _bind(self, address: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            enlarge_buffer(sock)
            self._reader.prepare(sock)
            for port in self._candidates():
                try:
                    sock.bind((address, port))
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                else:
                    return sock
            raise NotReady("All UDP ports for media are in use.", code="at_capacity", retry_after_s=10)
        except BaseException:
            sock.close()
            raise

    def _candidates(self) -> Iterator[int]:
        if self._ports is None:
            yield 0
            return
        low, high = self._ports
        count = high - low + 1
        # From a random port on: a port that was in use a moment ago may still get packets.
        start = random.randrange(count)  # noqa: S311 - no secret
        for offset in range(count):
            yield low + (start + offset) % count


def enlarge_buffer(sock: socket.socket) -> None:
    """Ask the kernel for a receive buffer that outlasts a pause of the process."""
    if sys.platform == "linux":
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            return
    # A system may refuse more than it allows.
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

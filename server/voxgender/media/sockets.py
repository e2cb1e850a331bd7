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
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from struct import Struct
from typing import Any, Protocol

from voxgender import metrics
from voxgender.engine.schedule import BUSY_CALLS, EARLY_S, EVERY_TICK, QUIET_TICK_S, TICK_S, Phase, next_tick
from voxgender.errors import NotReady
from voxgender.media.datagrams import AT_ONCE, DatagramReader, datagram_reader, unpack_address
from voxgender.ratelimit import RateLimit

logger = logging.getLogger(__name__)

CALLS = 32
"""Calls that share a socket. More would fill the kernel's buffer of one socket while the event loop is busy."""

READ_S = 0.01
"""Time for one reading of a socket; the rest waits for the next."""
CROWDED = 160
"""Datagrams in ``TICK_S`` after which a socket is read more often: some kernels' buffers hold hardly more."""
CROWDED_TICK_S = 0.004
"""From one reading of such a socket to the next."""
STRANGERS_SHARE = 0.1
"""Share of a core that may go into checking the signatures of addresses that are not known."""
OTHERS_PER_S = 500.0
"""Datagrams of one call in a second that are no media: DTLS and connectivity checks."""
OTHERS_AT_ONCE = 1_000.0

_STRANGERS_AT_ONCE_S = 0.02
_MAX_SOURCES = 16
"""Addresses that one call may send from."""
_MAX_TRIALS = 16
"""Media packets from addresses that are not known which a socket decrypts in ``QUIET_TICK_S``."""
_RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes asked for; without CAP_NET_ADMIN the kernel gives up to its ``net.core.rmem_max``."""
_SO_RCVBUFFORCE = 33  # Linux, asm-generic/socket.h; Python has no name for it

_STUN = Struct("!HHI12x")
_ATTRIBUTE = Struct("!HH")


class CallProtocol(Protocol):
    """Receives the datagrams of a call."""

    def connection_made(self, transport: Any) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def error_received(self, exc: Exception) -> None: ...
    def datagram_received(self, data: Any, addr: Any) -> None: ...
    def media_received(self, data: bytes, addr: tuple[str, int], arrived_at: float) -> bool:
        """Receive RTP or RTCP (RFC 7983); ``arrived_at`` is the kernel's time, in seconds of ``time.monotonic``."""
        ...

    def introduces(self, data: bytes) -> bool:
        """Tell whether a STUN message from a new address proves that the call's peer is there."""
        ...

    def recognizes(self, data: bytes, addr: tuple[str, int], arrived_at: float) -> bool:
        """Take a media packet from a new address if the call's peer sent it; tell whether that was so."""
        ...

    def forget(self, addr: tuple[str, int]) -> bool:
        """Forget an address of the peer; tell whether it may be forgotten."""
        ...


class Sockets:
    """Opens sockets in a range of ports as calls come, and closes each after the last of its calls.

    Args:
        ports: the first and the last UDP port that may be used; None lets the kernel choose.
        reader: reads the sockets; None for the fastest that the system has.
        max_calls: calls that may share one socket.
    """

    def __init__(
        self, ports: tuple[int, int] | None = None, reader: DatagramReader | None = None, *, max_calls: int = CALLS
    ) -> None:
        self._ports = ports
        self._max_calls = max_calls
        self._shared: list[SharedSocket] = []
        self.strangers = RateLimit(STRANGERS_SHARE, _STRANGERS_AT_ONCE_S)
        """Seconds of CPU time for those who are not known yet."""
        self._reader = reader or datagram_reader()
        self._timer: asyncio.TimerHandle | None = None

    def open(self, address: str, ufrag: str, protocol: CallProtocol, phase: Phase = EVERY_TICK) -> "CallTransport":
        """Add a call to a socket.

        Args:
            address: a local address.
            ufrag: the call's own ICE user name fragment; peers' checks name it (RFC 8445 section 7.2.2).
            protocol: receives the call's datagrams.
            phase: the ticks of the call's turns while there are many calls; its socket is read just before.

        Raises:
            NotReady: every port of the range is in use by others, or shared by as many calls as are allowed.
            OSError: the address is not one of this machine's.
        """
        room = [shared for shared in self._shared if shared.address == address and shared.calls < self._max_calls]
        shared = next((shared for shared in room if phase in shared.phases), None)
        if shared is None:
            try:
                shared = SharedSocket(address, self._bind(address), self)
            except NotReady:
                # It is then read for the turns of either.
                if not room:
                    raise
                shared = room[0]
            else:
                self._shared.append(shared)
        transport = CallTransport(shared, ufrag, protocol, phase)
        if self._timer is None:
            self._wait()
        return transport

    def read(self, shared: "SharedSocket") -> None:
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

    def remove(self, shared: "SharedSocket") -> None:
        """Remove a closed socket; stop the timer with the last one."""
        self._shared.remove(shared)
        if not self._shared and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [
            shared for shared in self._shared if shared.is_hurried or not self._busy or now + EARLY_S >= shared.due_at
        ]
        self._wait()
        for shared in due:
            if not shared.is_watched:
                self.read(shared)

    @property
    def _busy(self) -> bool:
        return sum(shared.calls for shared in self._shared) >= BUSY_CALLS

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for shared in self._shared:
            shared.due_at = min(phase.next_turn(now) for phase in shared.phases)
        at = min(shared.due_at for shared in self._shared) if self._busy else next_tick(now, QUIET_TICK_S)
        if any(shared.is_hurried for shared in self._shared):
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


class SharedSocket:
    """A bound socket and the calls that share it."""

    def __init__(self, address: str, sock: socket.socket, sockets: Sockets) -> None:
        self.address = address
        self.phases: Counter[Phase] = Counter()
        """Number of its calls by their phase."""
        self.due_at = 0.0
        """Time of the next read while there are many calls."""
        self.socket = sock
        self.name = sock.getsockname()
        self.connecting: set[CallTransport] = set()
        self.accepting_foreign: set[CallTransport] = set()
        """Calls whose peer may be at another address now, and is asked there."""
        self.closed = False
        self.is_crowded = False
        """True while so much arrives that it is read more often than on ticks."""
        self.is_watched = False
        """True if the event loop tells when something arrives; else it is read on ticks."""
        self._received = 0
        self._counted_at = 0.0
        self.sendto = sock.sendto
        self._sockets = sockets
        self._loop = asyncio.get_running_loop()
        self._calls: set[CallTransport] = set()
        self._by_ufrag: dict[str, CallTransport] = {}
        self._by_source: dict[bytes, CallTransport] = {}
        self._by_ssrc: dict[bytes, CallTransport] = {}
        self._trials = 0
        self._trials_since = 0.0

    @property
    def calls(self) -> int:
        return len(self._calls)

    @property
    def is_hurried(self) -> bool:
        """True if it is read more often than on ticks."""
        return self.is_crowded or bool(self.connecting and not self.is_watched)

    def add(self, call: "CallTransport") -> None:
        self._calls.add(call)
        self._by_ufrag[call.ufrag] = call
        self.phases[call.phase] += 1
        if not self.connecting:
            self._watch()
        self.connecting.add(call)

    def read_on_tick(self, call: "CallTransport") -> None:
        """Note that a call has connected or is gone. Once no call is connecting, the socket is read on the tick."""
        if call in self.connecting:
            self.connecting.remove(call)
            if not self.connecting:
                self._unwatch()

    def _watch(self) -> None:
        """Have the socket read whenever something comes."""
        try:
            self._loop.add_reader(self.socket, self._sockets.read, self)
        except NotImplementedError:
            # Windows' usual event loop. What a call sends while it connects is then read on a short tick.
            self.is_watched = False
        else:
            self.is_watched = True

    def _unwatch(self) -> None:
        if self.is_watched:
            self._loop.remove_reader(self.socket)
            self.is_watched = False

    def remove(self, call: "CallTransport") -> None:
        """Remove a call; close the socket with the last one."""
        self.read_on_tick(call)
        self.accepting_foreign.discard(call)
        self._calls.discard(call)
        self.phases -= Counter((call.phase,))
        if self._by_ufrag.get(call.ufrag) is call:
            del self._by_ufrag[call.ufrag]
        for source in call.sources:
            if self._by_source.get(source) is call:
                del self._by_source[source]
        for ssrc in call.ssrcs:
            self._forget_ssrc(ssrc, call)
        if not self._calls:
            self.closed = True
            self.socket.close()
            self._sockets.remove(self)

    def count(self, datagrams: int) -> None:
        """Note how many datagrams came, whoever sent them."""
        self._received += datagrams
        now = self._loop.time()
        elapsed_s = now - self._counted_at
        if elapsed_s >= TICK_S:
            self.is_crowded = self._received * TICK_S > CROWDED * elapsed_s
            self._received, self._counted_at = 0, now

    def claim(self, source: bytes, call: "CallTransport") -> bool:
        """Route datagrams from an address to a call whose peer has proved to be there.

        False if the address belongs to another call. A call with too many addresses gives up its oldest.
        """
        if source in self._by_source:
            return self._by_source[source] is call
        if len(call.sources) >= _MAX_SOURCES:
            oldest = next((known for known in call.sources if call.forget(known)), None)
            if oldest is None:
                return False
            del call.sources[oldest], self._by_source[oldest]
        self._by_source[source] = call
        call.sources[source] = unpack_address(source)
        return True

    def expect(self, call: "CallTransport", ssrc: bytes) -> None:
        """Know a call's media by its SSRC, if it comes from another address; the first call that has it keeps it."""
        if len(call.ssrcs) >= call.streams:
            oldest = next(iter(call.ssrcs))
            del call.ssrcs[oldest]
            self._forget_ssrc(oldest, call)
        call.ssrcs[ssrc] = None
        self._by_ssrc.setdefault(ssrc, call)

    def _forget_ssrc(self, ssrc: bytes, call: "CallTransport") -> None:
        if self._by_ssrc.get(ssrc) is call:
            del self._by_ssrc[ssrc]

    def reassign(self, source: bytes, call: "CallTransport") -> None:
        """Give an address to a call whose peer has just answered from there, whoever had it before.

        A NAT gives a port that one caller had to another one.
        """
        owner = self._by_source.get(source)
        if owner is not None and owner is not call:
            del self._by_source[source], owner.sources[source]
        self.claim(source, call)

    def deliver(self, data: bytes, source: bytes, arrived_at: float) -> None:
        owner = self._by_source.get(source)
        try:
            if _is_media(data):
                if owner is None or not owner.media_received(data, source, arrived_at):
                    self._recognize(data, source, owner, arrived_at)
            elif len(data) < _STUN.size or data[0] > 3:
                if owner is not None:
                    owner.datagram_received(data, source)
            elif (call := self._find_call(data, owner)) is not None:
                if call is not owner and not self.claim(source, call):
                    call.note_foreign_address(source)
                call.datagram_received(data, source)
            else:
                metrics.STUN_IGNORED.inc()
        except Exception as error:  # noqa: BLE001 - one call's packet must not cost the others theirs
            self._loop.call_exception_handler({"message": "a datagram could not be handled", "exception": error})

    def _recognize(self, data: bytes, source: bytes, owner: "CallTransport | None", arrived_at: float) -> None:
        """Find the call whose peer sends media from a new address: by the SSRC, and by one trial of its keys."""
        call = self._by_ssrc.get(data[8:12])
        if call is None or call is owner:
            return
        now = self._loop.time()
        if now - self._trials_since >= QUIET_TICK_S:
            self._trials, self._trials_since = 0, now
        if self._trials < _MAX_TRIALS:
            self._trials += 1
            if call.recognizes(data, source, arrived_at) and not self.claim(source, call):
                call.note_foreign_address(source)

    def _find_call(self, data: bytes, owner: "CallTransport | None") -> "CallTransport | None":
        """Return the call that a STUN message is for: one whose peer proves to have sent it, else the address's owner.

        A request names its call. A response belongs to a request of a call that looks for its peer. A peer that only
        answers checks (ICE lite) is found by a response first.
        """
        candidates: Iterable[CallTransport]
        if data[0] & 1:
            candidates = self.connecting | self.accepting_foreign
        else:
            named = self._by_ufrag.get(_checked_ufrag(data))
            candidates = () if named is None else (named,)
        if self._sockets.strangers.left(self._loop.time()) > 0:
            began_at = time.thread_time()
            call = next((call for call in candidates if call is not owner and call.introduces(data)), None)
            self._sockets.strangers.spend(time.thread_time() - began_at)
            if call is not None:
                return call
        return owner


class CallTransport(asyncio.DatagramTransport):
    """A call's share of a socket, as an asyncio transport. :meth:`Sockets.open` makes it."""

    def __init__(self, shared: SharedSocket, ufrag: str, protocol: CallProtocol, phase: Phase) -> None:
        super().__init__({"sockname": shared.name})
        self.ufrag = ufrag
        self.phase = phase
        self.sources: dict[bytes, tuple[str, int]] = {}
        """Addresses at which the call's peer has proved to be, the oldest first."""
        self.ssrcs: dict[bytes, None] = {}
        """SSRCs of the peer's latest streams, the oldest first."""
        self.streams = 1
        """How many of them are known: one for each voice."""
        self._foreign: dict[tuple[str, int], bytes] = {}
        """Addresses of other calls where the peer seems to be."""
        self._shared = shared
        self._protocol = protocol
        self._closed = False
        self._others = RateLimit(OTHERS_PER_S, OTHERS_AT_ONCE)
        shared.add(self)
        protocol.connection_made(self)

    def read_on_tick(self) -> None:
        """Let the call's packets wait for the tick from now on: the call has connected."""
        self._shared.read_on_tick(self)

    def media_received(self, data: bytes, source: bytes, arrived_at: float) -> bool:
        """Hand on a media packet; tell whether the peer sent it."""
        return self._protocol.media_received(data, self._address(source), arrived_at)

    def datagram_received(self, data: bytes, source: bytes) -> None:
        """Hand on anything else."""
        if self._others.take(time.monotonic()):
            self._protocol.datagram_received(data, self._address(source))

    def introduces(self, data: bytes) -> bool:
        """Tell whether a STUN message from a new address proves that the call's peer is there."""
        return self._protocol.introduces(data)

    def recognizes(self, data: bytes, source: bytes, arrived_at: float) -> bool:
        """Take a media packet from a new address if the call's peer sent it; tell whether that was so."""
        return self._protocol.recognizes(data, self._address(source), arrived_at)

    def forget(self, source: bytes) -> bool:
        """Forget an address of the peer; tell whether it may be forgotten."""
        return self._protocol.forget(self.sources[source])

    def expect(self, ssrc: bytes) -> None:
        """Know the call by its media's SSRC too, from now on."""
        self._shared.expect(self, ssrc)

    def note_foreign_address(self, source: bytes) -> None:
        """Remember an address that another call has, though this call's peer seems to be there."""
        if len(self._foreign) >= _MAX_SOURCES:
            del self._foreign[next(iter(self._foreign))]
        self._foreign[unpack_address(source)] = source

    def accept_foreign_addresses(self) -> None:
        """Accept answers from addresses that other calls have."""
        if not self._closed:
            self._shared.accepting_foreign.add(self)

    def take_over_address(self, addr: tuple[str, int] | None) -> None:
        """Stop accepting them, and take over the one from which the peer has answered, if any."""
        self._shared.accepting_foreign.discard(self)
        source = None if addr is None else self._foreign.pop(addr, None)
        if source is not None:
            self._shared.reassign(source, self)

    def _address(self, source: bytes) -> tuple[str, int]:
        return self.sources.get(source) or unpack_address(source)

    def sendto(self, data: Any, addr: Any = None) -> None:
        if self._closed:
            return
        try:
            self._shared.sendto(data, addr)
        except (BlockingIOError, InterruptedError):
            # The buffer is full: the datagram is lost, as in a full network.
            return
        except OSError as error:
            self._protocol.error_received(error)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._shared.remove(self)
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
            # The protocol refers to this transport: such a cycle would wait for the garbage collector.
            del self._protocol

    def abort(self) -> None:
        self.close()


def enlarge_buffer(sock: socket.socket) -> None:
    """Ask the kernel for a receive buffer that outlasts a pause of the process."""
    if sys.platform == "linux":
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            return
    # A system may refuse more than it allows.
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _is_media(data: bytes) -> bool:
    """Tell SRTP and SRTCP from STUN and DTLS (RFC 7983 section 7)."""
    return len(data) > 1 and 127 < data[0] < 192


def _checked_ufrag(data: bytes) -> str:
    """Return the user name fragment that a STUN binding request is meant for; empty for other messages (RFC 8489)."""
    if len(data) < _STUN.size:
        return ""
    kind, length, cookie = _STUN.unpack_from(data)
    if kind != 0x0001 or cookie != 0x2112A442 or len(data) != _STUN.size + length:
        return ""
    position = _STUN.size
    while position + _ATTRIBUTE.size <= len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, position)
        position += _ATTRIBUTE.size
        if kind == 0x0006:  # USERNAME
            return data[position : position + length].partition(b":")[0].decode("ascii", "replace")
        position += length + -length % 4
    return ""

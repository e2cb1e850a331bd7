"""Give a call its share of a UDP socket, as an asyncio transport."""

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

from voxgender.engine.schedule import Phase
from voxgender.media.datagrams import unpack_address
from voxgender.ratelimit import RateLimit

if TYPE_CHECKING:
    from voxgender.media.sharedsocket import SharedSocket

OTHERS_PER_S = 500.0
"""Datagrams of one call in a second that are no media: DTLS and connectivity checks."""
OTHERS_AT_ONCE = 1_000.0
MAX_SOURCES = 16
"""Addresses that one call may send from."""


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

    @property
    def only_answers(self) -> bool:
        """True if the call's peer sends no checks of its own."""
        ...

    def is_answer_from(self, data: bytes, addr: tuple[str, int]) -> bool:
        """Tell whether a signed response comes from where its request went."""
        ...


class CallTransport(asyncio.DatagramTransport):
    """A call's share of a socket, as an asyncio transport. :meth:`Sockets.open` makes it."""

    def __init__(
        self, shared: "SharedSocket", ufrag: str, protocol: CallProtocol, phase: Phase, peer: str = ""
    ) -> None:
        super().__init__({"sockname": shared.name})
        self.ufrag = ufrag
        self.peer = peer
        """The peer's ICE user name fragment; empty if it is not known."""
        self.phase = phase
        self.sources: dict[bytes, tuple[str, int]] = {}
        """Addresses at which the call's peer has proved to be, the oldest first."""
        self.ssrcs: dict[bytes, None] = {}
        """SSRCs of the peer's latest streams, the oldest first."""
        self.streams = 1
        """How many of them are known: one for each voice."""
        self._foreign: dict[tuple[str, int], bytes] = {}
        """Addresses of other calls where the peer seems to be."""
        self._answered: set[tuple[str, int]] = set()
        """Those of which it has answered a check."""
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
        if len(self._foreign) >= MAX_SOURCES:
            del self._foreign[next(iter(self._foreign))]
        self._foreign[unpack_address(source)] = source

    def contest(self, data: bytes, source: bytes) -> bool:
        """Note a signed STUN message from an address that another call has; tell whether the peer is there for sure.

        A check from there has to name this call, which is connecting, and a check of its own to be answered there. A
        client may have one port for all its calls, and begin anew while the call before is taken to live. Or it sends
        an offer again because the answer was lost: it answers the checks of both calls, and names the one it knows of.
        """
        if self not in self._shared.connecting:
            self.note_foreign_address(source)
            return False
        addr = unpack_address(source)
        if not data[0] & 1:
            self.note_foreign_address(source)
        elif self._protocol.is_answer_from(data, addr):
            self._answered.add(addr)
        return addr in self._answered and (addr in self._foreign or self._protocol.only_answers)

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

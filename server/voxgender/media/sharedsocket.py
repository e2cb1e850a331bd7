"""Route the datagrams of one UDP socket to the calls that share it.

A datagram belongs to the call whose peer has proved to be at its source address, else to the one whose peer signed it.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable

from voxgender import metrics
from voxgender.engine.schedule import QUIET_TICK_S, TICK_S, Phase
from voxgender.media.calltransport import MAX_SOURCES, CallTransport
from voxgender.media.datagrams import unpack_address
from voxgender.media.demultiplexing import STUN_HEADER_SIZE, is_media, requested_ufrag
from voxgender.ratelimit import RateLimit

CROWDED = 160
"""Datagrams in ``TICK_S`` after which a socket is read more often: some kernels' buffers hold hardly more."""
MAX_TRIALS = 16
"""Media packets from addresses that are not known which a socket decrypts in ``QUIET_TICK_S``."""


class SharedSocket:
    """A bound socket and the calls that share it.

    Args:
        address: the local address.
        sock: the socket, which is closed with the last call.
        strangers: seconds of CPU time for addresses that are not known yet.
        on_readable: called with this object when datagrams wait, while a call connects.
        on_closed: called with this object once the socket was closed.
    """

    def __init__(
        self,
        address: str,
        sock: socket.socket,
        *,
        strangers: RateLimit,
        on_readable: Callable[["SharedSocket"], None],
        on_closed: Callable[["SharedSocket"], None],
    ) -> None:
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
        self._strangers = strangers
        self._on_readable = on_readable
        self._on_closed = on_closed
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

    def has_call_of(self, peer: str) -> bool:
        """Tell whether a peer with this ICE user name fragment has a call here."""
        return bool(peer) and any(call.peer == peer for call in self._calls)

    def add(self, call: CallTransport) -> None:
        self._calls.add(call)
        self._by_ufrag[call.ufrag] = call
        self.phases[call.phase] += 1
        if not self.connecting:
            self._watch()
        self.connecting.add(call)

    def read_on_tick(self, call: CallTransport) -> None:
        """Note that a call has connected or is gone. Once no call is connecting, the socket is read on the tick."""
        if call in self.connecting:
            self.connecting.remove(call)
            if not self.connecting:
                self._unwatch()

    def _watch(self) -> None:
        """Have the socket read whenever something comes."""
        try:
            self._loop.add_reader(self.socket, self._on_readable, self)
        except NotImplementedError:
            # Windows' usual event loop. What a call sends while it connects is then read on a short tick.
            self.is_watched = False
        else:
            self.is_watched = True

    def _unwatch(self) -> None:
        if self.is_watched:
            self._loop.remove_reader(self.socket)
            self.is_watched = False

    def remove(self, call: CallTransport) -> None:
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
            self._on_closed(self)

    def count(self, datagrams: int) -> None:
        """Note how many datagrams came, whoever sent them."""
        self._received += datagrams
        now = self._loop.time()
        elapsed_s = now - self._counted_at
        if elapsed_s >= TICK_S:
            self.is_crowded = self._received * TICK_S > CROWDED * elapsed_s
            self._received, self._counted_at = 0, now

    def claim(self, source: bytes, call: CallTransport) -> bool:
        """Route datagrams from an address to a call whose peer has proved to be there.

        False if the address belongs to another call. A call with too many addresses gives up its oldest.
        """
        if source in self._by_source:
            return self._by_source[source] is call
        if len(call.sources) >= MAX_SOURCES:
            oldest = next((known for known in call.sources if call.forget(known)), None)
            if oldest is None:
                return False
            del call.sources[oldest], self._by_source[oldest]
        self._by_source[source] = call
        call.sources[source] = unpack_address(source)
        return True

    def expect(self, call: CallTransport, ssrc: bytes) -> None:
        """Know a call's media by its SSRC, if it comes from another address; the first call that has it keeps it."""
        if len(call.ssrcs) >= call.streams:
            oldest = next(iter(call.ssrcs))
            del call.ssrcs[oldest]
            self._forget_ssrc(oldest, call)
        call.ssrcs[ssrc] = None
        self._by_ssrc.setdefault(ssrc, call)

    def _forget_ssrc(self, ssrc: bytes, call: CallTransport) -> None:
        if self._by_ssrc.get(ssrc) is call:
            del self._by_ssrc[ssrc]

    def reassign(self, source: bytes, call: CallTransport) -> None:
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
            if is_media(data):
                if owner is None or not owner.media_received(data, source, arrived_at):
                    self._recognize(data, source, owner, arrived_at)
            elif len(data) < STUN_HEADER_SIZE or data[0] > 3:
                if owner is not None:
                    owner.datagram_received(data, source)
            elif (call := self._find_call(data, owner)) is not None:
                if call is not owner and not self.claim(source, call) and call.contest(data, source):
                    self.reassign(source, call)
                call.datagram_received(data, source)
            else:
                metrics.STUN_IGNORED.inc()
        except Exception as error:  # noqa: BLE001 - one call's packet must not cost the others theirs
            self._loop.call_exception_handler({"message": "a datagram could not be handled", "exception": error})

    def _recognize(self, data: bytes, source: bytes, owner: CallTransport | None, arrived_at: float) -> None:
        """Find the call whose peer sends media from a new address: by the SSRC, and by one trial of its keys."""
        call = self._by_ssrc.get(data[8:12])
        if call is None or call is owner:
            return
        now = self._loop.time()
        if now - self._trials_since >= QUIET_TICK_S:
            self._trials, self._trials_since = 0, now
        if self._trials < MAX_TRIALS:
            self._trials += 1
            if call.recognizes(data, source, arrived_at) and not self.claim(source, call):
                call.note_foreign_address(source)

    def _find_call(self, data: bytes, owner: CallTransport | None) -> CallTransport | None:
        """Return the call that a STUN message is for: one whose peer proves to have sent it, else the address's owner.

        A request names its call. A response belongs to a request of a call that looks for its peer. A peer that only
        answers checks (ICE lite) is found by a response first.
        """
        candidates: Iterable[CallTransport]
        if data[0] & 1:
            candidates = self.connecting | self.accepting_foreign
        else:
            named = self._by_ufrag.get(requested_ufrag(data))
            candidates = () if named is None else (named,)
        if self._strangers.left(self._loop.time()) > 0:
            began_at = time.thread_time()
            call = next((call for call in candidates if call is not owner and call.introduces(data)), None)
            self._strangers.spend(time.thread_time() - began_at)
            if call is not None:
                return call
        return owner

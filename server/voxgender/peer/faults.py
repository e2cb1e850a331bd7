"""Simulate a bad network from a caller to its server: loss, jitter, reordering, duplicates, an outage.

It lies between the caller and its socket, and treats all datagrams alike: RTP, RTCP, DTLS, SCTP and STUN. Datagrams of
the server are not changed; only an outage stops both directions.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Annotated

from msgspec import Meta

from voxgender.errors import SettingsError
from voxgender.options import Display

OVERTAKEN_S = 0.03
"""Time that a reordered datagram is held back, so that only the next one overtakes it, with 20 ms between packets."""
FAULTS_AFTER_S = 1.0
"""Time after the connection at which faults begin. A server's clock starts with the first packet that arrives; it has
to be the first one sent, or the caller's times are not the server's."""

CallLater = Callable[[float, Callable[[], None]], asyncio.Handle]
"""``call_later`` of an event loop: a time in seconds, and what is called then."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Bad network on the way to the server.

    The same seed and call number always give the same faults.

    Raises:
        SettingsError: so much loss cannot come in bursts of this length.
    """

    loss: Annotated[float, Meta(ge=0, le=90), Display(metavar="PERCENT")] = 0.0
    """Share of packets to lose, in percent."""
    burst: Annotated[float, Meta(ge=1, le=100)] = 1.0
    """Mean length of a loss, in packets; 1 loses each packet by itself."""
    jitter_ms: Annotated[float, Meta(ge=0, le=2_000)] = 0.0
    """Longest delay of a packet, in ms; packets stay in order."""
    reorder: Annotated[float, Meta(ge=0, le=100), Display(metavar="PERCENT")] = 0.0
    """Share of packets that the next one overtakes, in percent."""
    duplicate: Annotated[float, Meta(ge=0, le=100), Display(metavar="PERCENT")] = 0.0
    """Share of packets to deliver twice, in percent."""
    outage_ms: Annotated[float, Meta(ge=0, le=20_000)] = 0.0
    """Length of one outage in the middle of the call, in ms; nothing gets through in either direction."""
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0
    """Random seed."""

    def __post_init__(self) -> None:
        if self.burst > 1 and self.loss > (most := 100 * self.burst / (self.burst + 1)):
            raise SettingsError(
                f"--loss takes at most {most:.0f} with --burst {self.burst:g}: one packet in between gets through"
            )

    @property
    def any(self) -> bool:
        """True if there is any fault."""
        return any((self.loss, self.jitter_ms, self.reorder, self.duplicate, self.outage_ms))


class FaultyLink:
    """Applies faults to one call's datagrams.

    Loss of single packets is independent; in bursts it is Gilbert's model (Bell System Technical Journal 39, 1960)
    with nothing lost in the good state and everything in the bad one.
    """

    def __init__(
        self,
        faults: Faults,
        call: int = 0,
        *,
        outage_after_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        call_later: CallLater | None = None,
    ) -> None:
        """Make the link of one call.

        Args:
            faults: the faults to apply.
            call: number of the call, part of its random seed.
            outage_after_s: time from :meth:`start` to the outage; by default it begins at :meth:`cut`.
            clock: returns seconds, as ``time.monotonic``.
            call_later: starts a timer; by default that of the running event loop.
        """
        self._clock = clock
        self._call_later = call_later
        self._outage_after_s = outage_after_s
        self._faults = faults
        self._random = Random(f"{faults.seed}/{call}")  # noqa: S311
        self._lossy = False
        self._up = True
        self._bad = False
        self._latest = 0.0
        self._delayed: deque[Callable[[], object]] = deque()
        self._timers: set[asyncio.Handle] = set()
        self.outages: list[tuple[float, float]] = []
        """Begin and end of each outage, seconds of the clock."""
        loss, burst = faults.loss / 100, faults.burst
        self._enters = loss / (burst * (1 - loss)) if burst > 1 else loss
        self._leaves = 1 / burst if burst > 1 else 1 - loss

    @property
    def idle(self) -> bool:
        """True if no datagram is held and no outage is due."""
        return not self._timers

    def start(self) -> None:
        """Begin the faults soon, because the call has connected."""
        self._later(FAULTS_AFTER_S, self._begin)
        if self._outage_after_s is not None:
            self._later(self._outage_after_s, self.cut)

    def cut(self) -> None:
        """Begin the outage, if there is one."""
        if self._faults.outage_ms and self._up:
            now = self._clock()
            length_s = self._faults.outage_ms / 1000
            self._up = False
            self.outages.append((now, now + length_s))
            self._later(length_s, self._restore)

    def close(self) -> None:
        """Drop the datagrams that are held."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def admits(self) -> bool:
        return self._up

    def send(self, datagram: bytes, out: Callable[[bytes], object]) -> None:
        if not self._lossy and self._up:
            out(datagram)
            return
        if not self._up or self._loses():
            return
        late_s = self._lateness()
        overtaken, twice = self._occurs(self._faults.reorder), self._occurs(self._faults.duplicate)
        for _ in range(2 if twice else 1):
            if overtaken:
                self._later(late_s + OVERTAKEN_S, partial(out, datagram))
            elif late_s:
                # Timers that are due together may come in any order.
                self._delayed.append(partial(out, datagram))
                self._later(late_s, lambda: self._delayed.popleft()())
            else:
                out(datagram)

    def _occurs(self, percent: float) -> bool:
        return percent > 0 and self._random.random() * 100 < percent

    def _loses(self) -> bool:
        """Walk the two states; in the good one packets get through, in the bad one they do not."""
        changes = self._leaves if self._bad else self._enters
        if self._random.random() < changes:
            self._bad = not self._bad
        return self._bad

    def _lateness(self) -> float:
        """Return the delay of the next datagram, seconds, such that it overtakes none."""
        if not self._faults.jitter_ms:
            return 0.0
        now = self._clock()
        self._latest = max(self._latest, now + self._random.random() * self._faults.jitter_ms / 1000)
        return self._latest - now

    def _begin(self) -> None:
        self._lossy = True

    def _restore(self) -> None:
        self._up = True

    def _later(self, delay_s: float, then: Callable[[], object]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            then()

        timer = (self._call_later or asyncio.get_running_loop().call_later)(delay_s, run)
        self._timers.add(timer)

"""Send a call's answers to where its caller is now, and only while the caller agrees (RFC 8445, RFC 7675).

A caller's address changes in mid-call: a NAT forgets a mapping, a telephone goes from Wi-Fi to mobile. The caller
itself may not notice, and then makes no ICE restart and nominates no other pair.
"""

import asyncio
import random
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aioice import Candidate, Connection, stun
from aioice.candidate import candidate_priority
from aioice.ice import CandidatePair

from voxgender import metrics

if TYPE_CHECKING:
    from voxgender.engine.schedule import Phase
    from voxgender.media.aiortc_internals.ice import IceProtocol

HEARD_ELSEWHERE_S = 0.2
"""Silence after which a call's media is looked for at addresses that are not known."""
QUIET_S = 0.5
"""Silence of a path after which another one, over which the caller is heard, is checked."""
SPARED_S = 0.2
"""Time that the old path has to answer once the new one has answered."""
CONSENT_INTERVAL_S = (4.0, 6.0)
"""Bounds of the time between two checks of consent, drawn at random (RFC 7675 section 5.1)."""
CONSENT_S = 30.0
"""Time for which an answer to such a check is consent (the same section)."""

_CHECK_EVERY_S = 0.25
_CHECKS = 8
"""Checks that are sent over a path that does not answer."""
_MAX_CHECKED = 4
"""Paths of a call that are checked at once."""
_REMEMBERED = 64
"""Transaction ids of a caller's checks."""
_COMPONENT = 1


class Consent(NamedTuple):
    """Times of the caller's consent to be sent to, in seconds (RFC 7675 section 5.1)."""

    lasts_s: float = CONSENT_S
    interval_s: tuple[float, float] = CONSENT_INTERVAL_S
    """Shortest and longest time between two checks; each is drawn at random."""


class PathCheck:
    """Ask over one path whether the call's peer is at its other end (RFC 8445 section 7.2).

    It stands in for aioice's ``Transaction``, which has half a second for an answer to a message that is sent once.
    """

    def __init__(self, pair: CandidatePair) -> None:
        self._pair = pair
        connection = pair.protocol.receiver
        self._request = connection.build_request(pair, nominate=False)
        self._request.add_message_integrity((connection.remote_password or "").encode())
        self._answered = asyncio.Event()

    def __enter__(self) -> Self:
        self._transactions[self._request.transaction_id] = self
        return self

    def __exit__(self, *_: object) -> None:
        del self._transactions[self._request.transaction_id]

    @property
    def _transactions(self) -> dict[bytes, "PathCheck"]:
        return self._pair.protocol.transactions  # type: ignore[return-value]

    def send(self) -> None:
        """Send the check, for the first time or again."""
        self._pair.protocol.send_stun(self._request, self._pair.remote_addr)

    async def answered(self, within_s: float) -> bool:
        """Tell whether the peer has answered, or does within a time."""
        try:
            # Python 3.11's wait_for forgets that it was cancelled, if the answer comes in the same moment.
            async with asyncio.timeout(within_s):
                await self._answered.wait()
        except TimeoutError:
            return False
        return True

    def response_received(self, message: stun.Message, addr: tuple[str, int]) -> None:
        """Take a response that is signed; it has to come from where the request went (RFC 8445 section 7.2.5.2.1)."""
        if message.message_class is stun.Class.RESPONSE and addr == self._pair.remote_addr:
            self._answered.set()


class Paths:
    """The paths between a call's two ends, of which one is in use.

    The path in use is left for another one on three conditions. Nothing has come over it for ``QUIET_S``; something
    that only the caller can have sent comes over the other; and of two signed checks, one over each, only that over the
    other is answered. Thus a datagram that somebody copied, held back or sent under a false address moves nothing: it
    brings about a check, which nobody but the caller can answer (RFC 8445 section 7.3.1.4). A pair that the caller
    nominates itself (section 7.3.1.5) is used at once, as aioice has it, when it has answered a check.

    Args:
        connection: the call's ICE connection; its ``query_consent`` is replaced.
        on_expired: called when the caller's consent to be sent to has expired, before the connection is closed.
        consent: times of consent.
    """

    def __init__(self, connection: Connection, on_expired: Callable[[], object], consent: Consent) -> None:
        self._connection = connection
        self._on_expired = on_expired
        self._consent = consent
        self._in_use: CandidatePair | None = None
        self._heard_at = 0.0
        self._consented_at = 0.0
        self._checked: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._checks_seen: dict[bytes, None] = {}

    def is_quiet(self, now: float) -> bool:
        """Tell whether so little comes over the path in use that the caller may be elsewhere."""
        return bool(self._connection._nominated) and now - self._heard_at >= HEARD_ELSEWHERE_S

    def is_in_use(self, address: tuple[str, int]) -> bool:
        """Tell whether an address is the one that is sent to."""
        pair = self._connection._nominated.get(_COMPONENT)
        return pair is not None and pair.remote_addr == address

    def has_seen(self, check: stun.Message) -> bool:
        """Tell whether a check of the caller came before: this may be somebody's copy."""
        return check.transaction_id in self._checks_seen

    def remember(self, check: stun.Message) -> None:
        """Remember a check of the caller."""
        if len(self._checks_seen) >= _REMEMBERED:
            del self._checks_seen[next(iter(self._checks_seen))]
        self._checks_seen[check.transaction_id] = None

    def note_received(self, protocol: "IceProtocol", address: tuple[str, int], at: float) -> None:
        """Note that something came from an address which only the caller can have sent, and which is no copy."""
        pair = self._connection._nominated.get(_COMPONENT)
        if pair is None:
            return
        if pair is not self._in_use:
            self._in_use, self._heard_at = pair, at
        if pair.protocol is protocol and pair.remote_addr == address:
            self._heard_at = at
        elif at - self._heard_at >= QUIET_S and address not in self._checked and len(self._checked) < _MAX_CHECKED:
            self._checked[address] = asyncio.create_task(self._check(pair, protocol, address))

    async def keep_consent(self) -> None:
        """Ask for the caller's consent from time to time, in place of aioice's ``query_consent``."""
        loop = asyncio.get_running_loop()
        self._consented_at = loop.time()
        while (left_s := self._consented_at + self._consent.lasts_s - loop.time()) > 0:
            if (pair := self._connection._nominated.get(_COMPONENT)) is None:
                return
            # With the tick of the call's turn, so that nothing wakes for the check alone.
            protocol: Any = pair.protocol
            phase: Phase = protocol.transport.phase
            shortest_s, longest_s = self._consent.interval_s
            wait_s = random.uniform(shortest_s, max(shortest_s, longest_s - phase.hop_s))  # noqa: S311 - no secret
            until = min(loop.time() + left_s, phase.next_turn(loop.time() + wait_s))
            with PathCheck(pair) as check:
                check.send()
                if await check.answered(until - loop.time()):
                    self._consented_at = loop.time()
            await asyncio.sleep(until - loop.time())
        self._on_expired()
        # It waits for this task, unless there is none.
        self._connection._query_consent_task = None
        await self._connection.close()

    def forget(self, address: tuple[str, int]) -> None:
        """Forget what aioice learned of an address by itself."""
        connection = self._connection
        for pair in [pair for pair in connection._check_list if pair.remote_addr == address]:
            if pair.remote_candidate.type == "prflx":
                if pair.task is not None:
                    pair.task.cancel()
                connection._check_list.remove(pair)
        connection._remote_candidates = [
            candidate
            for candidate in connection._remote_candidates
            if candidate.type != "prflx" or (candidate._network_host, candidate.port) != address
        ]

    def close(self) -> None:
        """Check nothing any more, and let go of the call's parts."""
        self._in_use = None
        for task in self._checked.values():
            task.cancel()

    async def _check(self, old: CandidatePair, protocol: "IceProtocol", address: tuple[str, int]) -> None:
        """Move to another path if that answers, and the one in use does not."""
        new, found = self._pair(protocol, address), None
        quiet_since = self._heard_at
        protocol.transport.accept_foreign_addresses()
        try:
            with PathCheck(new) as there, PathCheck(old) as here:
                for _ in range(_CHECKS):
                    there.send()
                    here.send()
                    if await there.answered(_CHECK_EVERY_S):
                        break
                else:
                    return
                if await here.answered(SPARED_S):
                    return
            if self._connection._nominated.get(_COMPONENT) is old and self._heard_at == quiet_since:
                # aioice may have met the address meanwhile.
                self._use(self._pair(protocol, address))
                found = address
        finally:
            del self._checked[address]
            protocol.transport.take_over_address(found)

    def _pair(self, protocol: "IceProtocol", address: tuple[str, int]) -> CandidatePair:
        for candidate in self._connection._remote_candidates:
            if (candidate._network_host, candidate.port) == address:
                return self._connection._find_pair(protocol, candidate) or CandidatePair(protocol, candidate)
        host, port = address
        return CandidatePair(
            protocol,
            Candidate(
                foundation=secrets.token_hex(5),
                component=_COMPONENT,
                transport="udp",
                priority=candidate_priority(_COMPONENT, "prflx"),
                host=host,
                port=port,
                type="prflx",
            ),
        )

    def _use(self, pair: CandidatePair) -> None:
        connection = self._connection
        if pair.remote_candidate not in connection._remote_candidates:
            connection._remote_candidates.append(pair.remote_candidate)
        if pair not in connection._check_list:
            connection._check_list.append(pair)
        pair.state = CandidatePair.State.SUCCEEDED
        pair.nominated = True
        connection._nominated[_COMPONENT] = self._in_use = pair
        self._heard_at = self._consented_at = asyncio.get_running_loop().time()
        metrics.PATHS_CHANGED.inc()

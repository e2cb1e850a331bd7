"""Keep the calls of a node, and decide which calls get a place there."""

from time import monotonic
from typing import NamedTuple

from voxgender.errors import NotReady, TooManySessions
from voxgender.media.livesession import LiveSession
from voxgender.media.load import Load

GIVE_WAY_S = 1.0
"""Time that a call has to connect before it may be ended for another one, where the node is full."""

_RETRY_S = 10
"""Time after which a full node may have a place."""


class _Held(NamedTuple):
    """A call that the node holds."""

    session: LiveSession
    subject: str | None
    """Subject of its caller's token, if the token has one."""
    address: str
    """Address that its offer came from."""


class Places:
    """The calls of a node, and the places that they take: one for each voice of a session, or channel of a stream.

    Args:
        capacity: places that there are.
        per_subject: places that callers of one subject may have at once; 0 for no such limit.
        give_way_s: time that a call has to connect before it may be ended for another one, if no place is left.
        load: tells whether the node keeps up with the calls that it has.
    """

    def __init__(
        self,
        capacity: int = 100,
        *,
        per_subject: int = 0,
        give_way_s: float = GIVE_WAY_S,
        load: Load | None = None,
    ) -> None:
        self.capacity = capacity
        self._per_subject = per_subject
        self._give_way_s = give_way_s
        self._load = load or Load()
        self._held: dict[str, _Held] = {}

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return sum(held.session.places for held in self._held.values())

    def sessions(self) -> list[LiveSession]:
        """Return the calls that there are now, the oldest first."""
        return [held.session for held in self._held.values()]

    def find(self, session_id: str) -> LiveSession | None:
        held = self._held.get(session_id)
        return held and held.session

    def add(self, session: LiveSession, subject: str | None, address: str) -> None:
        """Add a call, right after :meth:`free_places` for it."""
        self._held[session.id] = _Held(session, subject, address)

    def remove(self, session: LiveSession) -> None:
        self._held.pop(session.id, None)

    async def free_places(self, subject: str | None, address: str, places: int) -> None:
        """Free places for a call, if need be by ending others that do not connect.

        Args:
            subject: that of its caller's token.
            address: where its offer came from; calls from there are ended first.
            places: places that it takes.

        Raises:
            NotReady: too few places can be had, or the node does not keep up.
            TooManySessions: the subject would have more places than it may have.
        """
        await self._free(subject, address, places)

    async def free_places_for_voices(self, session: LiveSession, more: int) -> None:
        """Free places for more voices of a call, which have to begin at once. See :meth:`free_places`."""
        _, subject, address = self._held.get(session.id, _Held(session, None, ""))
        await self._free(subject, address, more, of=session)

    async def _free(self, subject: str | None, address: str, places: int, *, of: LiveSession | None = None) -> None:
        self._check_subject(subject, places)
        if self._load.overloaded:
            raise NotReady(
                "The server does not keep up with the calls that it has.", code="overloaded", retry_after_s=5
            )
        if places + (of.places if of else 0) > self.capacity:
            raise NotReady(
                f"The server is too small for so many voices: it takes {self.capacity}.",
                code="at_capacity",
                retry_after_s=_RETRY_S,
            )
        while (short := self.taken + places - self.capacity) > 0:
            await self._end_one(address, short, but=of)
        # Others of this subject may have begun while places were freed.
        self._check_subject(subject, places)

    def _check_subject(self, subject: str | None, places: int) -> None:
        if subject is None or not self._per_subject:
            return
        has = sum(held.session.places for held in self._held.values() if held.subject == subject)
        if has + places > self._per_subject:
            raise TooManySessions(
                f"This caller has {self._per_subject} calls already, as many as one may have at once."
            )

    async def _end_one(self, address: str, short: int, *, but: LiveSession | None) -> None:
        """End the call that has been without a connection for longest, those from one address first.

        Args:
            address: where the call comes from for which places are missing.
            short: number of places that are missing; no call is ended unless those that may give way have as many.
            but: a call that is not ended.

        Raises:
            NotReady: all calls are connected, or have only begun.
        """
        now = monotonic()
        waiting = [
            held
            for held in self._held.values()
            if held.session is not but
            and held.session.ended_for is None
            and held.session.state != "connected"
            and now - held.session.started_at > self._give_way_s
        ]
        if sum(held.session.places for held in waiting) < short:
            raise NotReady(
                f"The server is full: it holds {self.capacity} calls.", code="at_capacity", retry_after_s=_RETRY_S
            )
        own = [held for held in waiting if held.address == address]
        oldest = min(own or waiting, key=lambda held: held.session.started_at)
        await oldest.session.end("gave_way")

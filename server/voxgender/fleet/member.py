"""Represent a media node as signaling knows it, and choose one for a call."""

import random
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256

from msgspec.structs import replace

from voxgender.errors import NotReady
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.remote import RemoteNode

PENALTY_S = 3.0
"""Time for which a node that was too slow or unreachable is chosen last."""
_BUSY = 0.9
"""Load, as a share of its cores, above which a node is chosen after all others that are not penalised."""


class Member:
    """A known node: its last record, and the client of its API.

    Args:
        record: its record, which has just come.
        node: the client of its API.
        clock: returns seconds, as ``time.monotonic``.
    """

    def __init__(self, record: NodeRecord, node: RemoteNode, clock: Callable[[], float]) -> None:
        self.node = node
        self.unanswered = 0
        """Offers on their way."""
        self._clock = clock
        self._penalised_until = 0.0
        self.update(record)

    def update(self, record: NodeRecord) -> None:
        """Replace the record by a newer one."""
        self.record = record
        self.confirmed_at = self._clock()
        self.reserved = 0
        """Places reserved since that record, for offers on their way; the record counts earlier ones."""

    @property
    def age_s(self) -> float:
        """Age of the record."""
        return self._clock() - self.confirmed_at

    @property
    def is_penalised(self) -> bool:
        """Return whether the node is chosen last at present."""
        return self._penalised_until > self._clock()

    @property
    def occupancy(self) -> float:
        """Share of its places that are taken or reserved."""
        return (self.record.sessions + self.reserved) / self.record.capacity

    def has_places(self, places: int = 1) -> bool:
        """Tell whether the node takes calls and has so many free places."""
        return not self.record.draining and self.record.sessions + self.reserved + places <= self.record.capacity

    def is_full(self, places: int = 1) -> bool:
        """Tell whether the node takes calls and has too few free places."""
        return not self.record.draining and not self.has_places(places)

    @contextmanager
    def reserve(self, places: int = 1) -> Iterator[None]:
        """Reserve places for an offer on its way; afterwards the node's own record counts them."""
        before = self.record
        self.reserved += places
        self.unanswered += 1
        try:
            yield
        finally:
            self.unanswered -= 1
            if self.record is before:
                self.reserved -= places

    def penalise(self) -> None:
        """Choose the node last for a while, because it is slow or cannot be reached."""
        self._penalised_until = self._clock() + PENALTY_S

    def note_refusal(self, refusal: NotReady, places: int = 1) -> None:
        """Note that the node refused a call of so many places: it gets no other such call before its next record."""
        if refusal.code == "draining":
            self.record = replace(self.record, draining=True)
        elif refusal.code == "at_capacity":
            # A call of fewer places may still fit.
            taken = self.record.capacity - places + 1
            self.record = replace(self.record, sessions=max(self.record.sessions, taken))
        elif refusal.code == "overloaded":
            self.record = replace(self.record, overloaded=True)
        else:
            self.penalise()


def choose(
    members: Iterable[Member],
    *,
    passed_over: Collection[str] = (),
    region: str = "",
    subject: str | None = None,
    places: int = 1,
) -> Member | None:
    """Choose the node for the next call: the less occupied of two drawn at random from the best that have free places.

    Two at random instead of the best of all, because many signaling instances with slightly old records would all
    choose the same node (M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 1996).

    With a subject, choose the same node for all of its calls while that has places, so that the node can count them
    (D. Thaler and C. Ravishankar, Using Name-Based Mappings to Increase Hit Rates, 1998).

    Args:
        members: the known nodes.
        passed_over: ids of nodes that are not to be chosen.
        region: nodes of this region are preferred.
        subject: the caller's subject, if its calls are to share a node.
        places: places that the call takes.

    Returns:
        A node, or None if none has free places.
    """
    candidates = [member for member in members if member.record.id not in passed_over and member.has_places(places)]
    if not candidates:
        return None

    def rank(member: Member) -> tuple[bool, bool, bool]:
        return (
            member.record.overloaded or member.is_penalised,
            bool(region) and member.record.region != region,
            subject is None and member.record.load > _BUSY,
        )

    best = min(map(rank, candidates))
    equals = [member for member in candidates if rank(member) == best]
    if subject is not None:
        return max(equals, key=lambda member: sha256(f"{member.record.id}/{subject}".encode()).digest())
    drawn = random.sample(equals, min(2, len(equals)))
    return min(drawn, key=lambda member: member.occupancy)

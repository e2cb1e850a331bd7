"""Sum up calls, their audio and their speech by the subject of their callers' tokens."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from voxgender.protocol import Message, Usage
from voxgender.roster import LiveCall

MAX_SUBJECTS = 10_000
"""Subjects that are kept apart; the calls of more are counted together."""

_MOST = 10**12
"""Greatest number that a node may tell: thirty thousand years of audio. The sums of a thousand nodes stay below 2**53,
up to which JSON carries numbers whole everywhere (RFC 8259 section 6)."""

Count = Annotated[int, Meta(ge=0, le=_MOST)]
Seconds = Annotated[float, Meta(ge=0, le=_MOST)]


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that have ended, and what was analysed of them."""

    calls: Count = 0
    audio_s: Seconds = 0.0
    speech_s: Seconds = 0.0

    def __add__(self, other: "Used") -> "Used":
        """Return the sum of both, whatever they are the sums of."""
        # Usage is told in milliseconds, and sums of floats have a little more.
        return Used(
            calls=self.calls + other.calls,
            audio_s=round(self.audio_s + other.audio_s, 3),
            speech_s=round(self.speech_s + other.speech_s, 3),
        )


class UsedBySubject(Used, frozen=True, kw_only=True):
    """Sums of one subject; None for callers without a token of their own."""

    subject: str | None


class UsedOnNode(Used, frozen=True, kw_only=True):
    """Sums of one media node."""

    node: str
    since: str
    """When it began to count, which is its start (ISO 8601)."""
    live: Count
    """Calls that are on. Each is counted when it ends."""


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Usage by subject. The rows of subjects and ``others`` add up to ``total``, and so do the rows of nodes."""

    total: Used
    subjects: tuple[UsedBySubject, ...]
    """Most audio first."""
    others: Used
    """Calls of subjects that are not kept apart, because there are more than ``MAX_SUBJECTS``."""
    nodes: tuple[UsedOnNode, ...]
    unreachable: tuple[str, ...] = ()
    """Media nodes that did not answer, and are not in the sums."""


class UsageLedger:
    """Counts the calls of one process; an observer of a media node. A call is counted when it ends.

    Args:
        most: subjects that are kept apart. The one whose last call ended longest ago gives way to a new one.
        clock: returns the time, with its zone.
    """

    def __init__(self, *, most: int = MAX_SUBJECTS, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._most = most
        self._since = clock().isoformat(timespec="seconds").replace("+00:00", "Z")
        self._by_subject: OrderedDict[str | None, Used] = OrderedDict()
        """The one whose last call ended longest ago first."""
        self._others = Used()
        self._live = 0

    def on_start(self, call: LiveCall) -> None:
        self._live += 1

    def on_event(self, call: LiveCall, message: Message) -> None:
        """Ignore messages: the end of a call has its sums."""

    def on_end(self, call: LiveCall, reason: str, usage: Usage) -> None:
        self._live -= 1
        before = self._by_subject.pop(call.subject, Used())
        self._by_subject[call.subject] = before + Used(calls=1, audio_s=usage.audio_s, speech_s=usage.speech_s)
        if len(self._by_subject) > self._most:
            _, longest_ago = self._by_subject.popitem(last=False)
            self._others += longest_ago

    async def report(self, node: str) -> UsageReport:
        """Return all sums of this process, which is the node of this name."""
        by_subject, others, live = list(self._by_subject.items()), self._others, self._live

        def made() -> UsageReport:
            total = sum((used for _, used in by_subject), others)
            rows = _most_first(_row(subject, used) for subject, used in by_subject)
            of_node = UsedOnNode(
                node=node, since=self._since, live=live,
                calls=total.calls, audio_s=total.audio_s, speech_s=total.speech_s,
            )  # fmt: skip
            return UsageReport(total=total, subjects=rows, others=others, nodes=(of_node,))

        # Ten thousand subjects take some ten milliseconds, for which no call has to wait.
        return await asyncio.to_thread(made)


def add_up(
    reports: Iterable[tuple[str, UsageReport]], unreachable: Sequence[str], *, most: int = MAX_SUBJECTS
) -> UsageReport:
    """Add up the reports of several nodes.

    Args:
        reports: the name of each node, and what it tells.
        unreachable: names of the nodes that tell nothing.
    """
    by_subject: dict[str | None, Used] = {}
    others = Used()
    nodes = []
    for node, report in reports:
        nodes += [msgspec.structs.replace(row, node=node) for row in report.nodes[:1]]
        others += report.others
        for row in report.subjects:
            by_subject[row.subject] = by_subject.get(row.subject, Used()) + row
    rows = _most_first(_row(subject, used) for subject, used in by_subject.items())
    others = sum(rows[most:], others)
    rows = rows[:most]
    return UsageReport(
        total=sum(rows, others),
        subjects=rows,
        others=others,
        nodes=tuple(nodes),
        unreachable=tuple(unreachable),
    )


def _most_first(rows: Iterable[UsedBySubject]) -> tuple[UsedBySubject, ...]:
    return tuple(sorted(rows, key=lambda row: (-row.audio_s, row.subject or "")))


def _row(subject: str | None, used: Used) -> UsedBySubject:
    return UsedBySubject(subject=subject, calls=used.calls, audio_s=used.audio_s, speech_s=used.speech_s)

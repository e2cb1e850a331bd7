"""Usage by subject, in one process and added up over several."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from voxgender.protocol import Usage
from voxgender.roster import LiveCall
from voxgender.usage import UsageLedger, UsageReport, Used, add_up


def count(ledger: UsageLedger, subject: str | None, audio_s: float = 1.0, speech_s: float = 0.5) -> None:
    call = LiveCall(session="s", started_at=0.0, subject=subject)
    ledger.on_start(call)
    ledger.on_end(call, "left", Usage(audio_s, speech_s))


def plain(report: UsageReport) -> dict[str | None, tuple[int, float, float]]:
    return {row.subject: (row.calls, row.audio_s, row.speech_s) for row in report.subjects}


async def test_calls_are_counted_by_subject_and_add_up() -> None:
    ledger = UsageLedger(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    for audio_s in (0.1, 0.2, 0.7):
        count(ledger, "ann", audio_s, audio_s / 2)
    count(ledger, None, 60.0, 1.0)
    ledger.on_start(LiveCall(session="t", started_at=0.0, subject="bob"))
    report = await ledger.report("here")
    assert plain(report) == {None: (1, 60.0, 1.0), "ann": (3, 1.0, 0.5)}
    assert report.total == Used(calls=4, audio_s=61.0, speech_s=1.5)
    (node,) = report.nodes
    assert (node.node, node.since, node.live, node.audio_s) == ("here", "2026-01-01T00:00:00Z", 1, 61.0)


async def test_a_thousand_calls_add_up_to_the_millisecond() -> None:
    """Sums of floats creep: 0.1 a thousand times is 99.9999999999986."""
    ledger = UsageLedger()
    for _ in range(1_000):
        count(ledger, "ann", 0.1, 0.1)
    assert plain(await ledger.report("here")) == {"ann": (1_000, 100.0, 100.0)}


async def test_the_subject_that_was_away_for_longest_gives_its_place_to_a_new_one() -> None:
    ledger = UsageLedger(most=2)
    for subject in ("ann", "bob", "ann", "carol"):
        count(ledger, subject)
    report = await ledger.report("here")
    assert plain(report) == {"ann": (2, 2.0, 1.0), "carol": (1, 1.0, 0.5)}
    assert report.others == Used(calls=1, audio_s=1.0, speech_s=0.5)
    assert report.total == Used(calls=4, audio_s=4.0, speech_s=2.0)


async def test_nodes_add_up_and_those_that_are_silent_are_named() -> None:
    one, other = UsageLedger(), UsageLedger()
    for ledger, subject in ((one, "ann"), (one, "bob"), (other, "ann"), (other, None)):
        count(ledger, subject)
    reports = [("a", await one.report("here")), ("b", await other.report("here"))]
    both = add_up(reports, ["c"])
    assert plain(both) == {"ann": (2, 2.0, 1.0), None: (1, 1.0, 0.5), "bob": (1, 1.0, 0.5)}
    assert [(node.node, node.calls) for node in both.nodes] == [("a", 2), ("b", 2)]
    assert both.total == Used(calls=4, audio_s=4.0, speech_s=2.0)
    assert both.unreachable == ("c",)
    few = add_up(reports, [], most=1)
    assert plain(few) == {"ann": (2, 2.0, 1.0)}
    assert few.others == Used(calls=2, audio_s=2.0, speech_s=1.0)
    assert few.total == both.total


@pytest.mark.parametrize("number", ["-1", "1e400", "NaN", '"1"', "1000000000001"])
def test_a_node_that_tells_no_usage_is_not_believed(number: str) -> None:
    text = json.dumps(msgspec.to_builtins(add_up([], []))).replace('"calls": 0', f'"calls": {number}', 1)
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
        msgspec.json.decode(text, type=UsageReport)

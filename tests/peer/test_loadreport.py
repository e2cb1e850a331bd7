"""Calls of a load are held, or there is a reason why not."""

import math

import pytest

from voxgender.peer.loadreport import why_not_held
from voxgender.peer.report import Recorder
from voxgender.protocol import Hello, Result, Warning

HOP_S = 0.192


def recorder(latency_ms: float, *, results: int = 50, hop_ms: int | None = 192, warned: bool = False) -> Recorder:
    """A call's ten seconds, from second 0 on: ``results`` of the 52 that there should be."""
    made = Recorder([0.02 * number for number in range(500)])
    if hop_ms is not None:
        made.add(Hello(session="s", model="m", window_ms=1000, hop_ms=hop_ms), 0.0)
    for seq in range(results):
        end = HOP_S * (seq + 1)
        heard = Result(seq=seq, start=0.0, end=end, label="male", confidence=1.0, scores=None, latency_ms=0.0)
        left = 0.02 * (math.ceil(end / 0.02 - 1e-6) - 1)
        made.add(heard, left + latency_ms / 1000)
    if warned:
        made.add(Warning(code="overloaded", message="…"), 5.0)
    return made


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (recorder(50), None),
        (recorder(199), None),
        (recorder(201), "late"),
        (recorder(50, results=40), "silent"),
        (recorder(50, results=0), "silent"),
        (recorder(50, hop_ms=None), "silent"),
        (recorder(50, warned=True), "dropped"),
    ],
    ids=["held", "held just so", "late", "some results", "no results", "no greeting", "dropped"],
)
def test_a_call_is_held_when_its_results_flow_in_time_and_nothing_is_dropped(
    call: Recorder, reason: str | None
) -> None:
    assert why_not_held(call, 0.0, 10.0) == reason


def test_results_that_an_outage_took_are_not_missed() -> None:
    without = Recorder([0.02 * number for number in range(500)], outages=[(4.0, 8.0)])
    without.add(Hello(session="s", model="m", window_ms=1000, hop_ms=192), 0.0)
    for seq in (*range(20), *range(42, 52)):
        end = HOP_S * (seq + 1)
        heard = Result(seq=seq, start=0.0, end=end, label="male", confidence=1.0, scores=None, latency_ms=0.0)
        without.add(heard, end + 0.05)

    assert why_not_held(without, 0.0, 10.0) is None

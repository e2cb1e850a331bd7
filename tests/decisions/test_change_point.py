import pytest

from voxgender.decisions import Decider, Evidence, Observation, Span
from voxgender.decisions.change_point import HopEvidence, find_change_point
from voxgender.decisions.evidence import log_odds
from voxgender.protocol import Change, Segment

from .conversation import HOP_S, WINDOW_S, scores


def hop(index: int, odds: float, *, pause_s: float = 0.0) -> HopEvidence:
    """A hop of speech, and the log-odds for male of the window that ends with it."""
    end = (index + 1) * HOP_S
    share = min(1.0, (HOP_S + pause_s) / WINDOW_S)
    return HopEvidence(end, (Span(end - HOP_S, end),), pause_s, log_odds(scores(odds)), 1.0, share)


def windows_to_change(*said: float, against: float) -> int:
    """Windows for a woman that it takes after these of a man."""
    hops = [hop(index, odds) for index, odds in enumerate(said)]
    for count in range(1, 9):
        hops.append(hop(len(hops), -against))
        if find_change_point(hops, "male", Evidence(), window_s=WINDOW_S, lookback_s=2 * WINDOW_S):
            return count
    return 9


def test_a_voice_that_wavers_is_contradicted_by_more_windows_than_a_sure_one() -> None:
    """One reader with a quarter of his windows wrong had eight of twelve false changes in nine readers' speech."""
    sure, wavering = (4.0,) * 8, (2.0, 0.5, -0.5, 1.5, 0.5, -0.5, 2.0, 0.5)
    assert windows_to_change(*sure, against=2.0) <= 2
    assert windows_to_change(*wavering, against=2.0) >= 4


@pytest.mark.parametrize("against", [1.0, 2.0, 4.0])
def test_the_older_windows_of_a_long_segment_count_as_the_latest_do(against: float) -> None:
    latest, older = [hop(0, 3.0)], Evidence()
    for _ in range(20):
        older.add(log_odds(scores(0.3)))
    latest += [hop(index, -against) for index in (1, 2)]
    found = [
        find_change_point(latest, "male", before, window_s=WINDOW_S, lookback_s=2 * WINDOW_S)
        for before in (Evidence(), older)
    ]
    assert (found[0] is not None) == (against > 1.0)
    assert found[1] is None


def test_after_a_pause_no_window_decides_alone() -> None:
    hops = [hop(index, 4.0) for index in range(6)]
    after_pause = hop(6, -4.0, pause_s=0.4)
    assert find_change_point([*hops, after_pause], "male", Evidence(), window_s=WINDOW_S, lookback_s=1.5) is None
    found = find_change_point([*hops, after_pause, hop(7, -4.0)], "male", Evidence(), window_s=WINDOW_S, lookback_s=1.5)
    assert found is not None
    assert (found.hop, found.voice) == (6, "female")


def test_the_change_lies_in_the_middle_of_the_first_window_of_the_new_voice() -> None:
    hops = [hop(index, 4.0 if index < 10 else -4.0) for index in range(14)]
    found = find_change_point(hops, "male", Evidence(), window_s=WINDOW_S, lookback_s=1.5)
    assert found is not None
    assert hops[found.hop].speech[0].start == pytest.approx(hops[10].end - WINDOW_S / 2, abs=HOP_S)


def test_a_voice_after_a_pause_has_its_windows_from_the_first_on() -> None:
    """Those with their middle in the pause went to the voice before: the change came late, or with confidence 0."""
    decider = Decider(window_s=WINDOW_S)
    events: list[Change | Segment] = []
    for index, odds in enumerate((-4.0, None, None, 1.0, 4.0)):
        span = Span(index * HOP_S, (index + 1) * HOP_S)
        spoken = () if odds is None else (span,)
        events += decider.observe(Observation(*span, spoken, None if odds is None else scores(odds))).events
    *_, change = (event for event in events if isinstance(event, Change))
    assert change.to == "male"
    assert change.at == pytest.approx(3 * HOP_S)
    assert change.confidence > 0.8

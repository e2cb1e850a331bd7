import pytest

from voxgender.analysis.beat import CALLS, LEAD_S, SLACK_S, SLOT_S, Beat, Slot
from voxgender.audio.activity import FRAME_S

HOP_S = 0.192


def early_s(slot: Slot, due: float) -> float:
    """How long before its slot something is there."""
    return (slot.number * SLOT_S - due) % HOP_S


def test_sixteen_calls_share_a_slot_and_the_next_ones_have_the_next() -> None:
    beat = Beat(HOP_S)
    assert [beat.join().number for _ in range(4 * CALLS)] == [n for n in (0, 1, 2, 0) for _ in range(CALLS)]


def test_a_slot_that_calls_have_left_is_filled_first() -> None:
    beat = Beat(HOP_S)
    slots = [beat.join() for _ in range(2 * CALLS)]
    slots[3].leave()
    assert [beat.join().number for _ in range(2)] == [0, 2]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("due", [1000.0 + ms / 1_000 for ms in range(0, 200, 7)])
def test_a_hop_is_brought_to_end_just_before_its_slot(number: int, due: float) -> None:
    slot = Slot(Beat(HOP_S), number)
    frames = slot.frames_too_late(due)
    assert 0 <= frames <= 5
    assert LEAD_S - 1e-6 <= early_s(slot, due - frames * FRAME_S) <= LEAD_S + FRAME_S + 1e-6


def test_a_hop_that_ends_there_is_left_alone_and_so_is_one_that_drifts_a_little() -> None:
    slot = Slot(Beat(HOP_S), 2)
    on_time = 1000 * HOP_S + 2 * SLOT_S - LEAD_S
    assert slot.frames_too_late(on_time - 0.01) == 0
    assert slot.frames_too_late(on_time - 0.05) == 5
    assert slot.frames_too_late(on_time - 0.05, slack_s=SLACK_S) == 0
    assert slot.frames_too_late(on_time - 0.10, slack_s=SLACK_S) > 0
    assert slot.frames_too_late(on_time + 0.01, slack_s=SLACK_S) == 1


def test_hops_shorter_than_a_slot_have_one_slot() -> None:
    beat = Beat(0.032)
    assert {beat.join().number for _ in range(40)} == {0}

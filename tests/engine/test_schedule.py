"""Calls have their turns at the ticks of their phases."""

import pytest

from voxgender.audio import activity
from voxgender.engine import HOP_MS
from voxgender.engine.engine import CALLS_A_TURN, CALLS_A_TURN_WITHOUT_MODEL
from voxgender.engine.schedule import BUSY_CALLS, EARLY_S, QUIET_TICK_S, TICK_S, Phase, Schedule, check_hop, next_tick
from voxgender.errors import SettingsError
from voxgender.media import sockets

HOP_S = HOP_MS / 1_000


def test_what_reads_what_judges_and_what_the_gate_takes_at_once_are_one_definition() -> None:
    """Three modules said 0.064 and 16 each for itself; nothing but prose kept them together."""
    assert vars(sockets)["QUIET_TICK_S"] is QUIET_TICK_S
    assert CALLS_A_TURN_WITHOUT_MODEL is activity.CALLS_A_RUN
    assert pytest.approx(2 * activity.FRAME_S) == TICK_S


def test_ticks_are_at_whole_multiples() -> None:
    assert next_tick(10.0, TICK_S) == pytest.approx(157 * TICK_S)
    assert next_tick(157 * TICK_S, TICK_S) == pytest.approx(158 * TICK_S)


def test_a_tick_that_went_off_early_is_not_followed_by_itself() -> None:
    assert next_tick(157 * TICK_S - EARLY_S / 2, TICK_S) == pytest.approx(158 * TICK_S)


def test_quiet_ticks_are_among_the_busy_ones() -> None:
    assert [next_tick(64 * TICK_S + number * QUIET_TICK_S, QUIET_TICK_S) for number in range(3)] == [
        pytest.approx(64 * TICK_S + (number + 1) * QUIET_TICK_S) for number in range(3)
    ]
    assert next_tick(65 * TICK_S - 0.01, QUIET_TICK_S) == pytest.approx(65 * TICK_S)


@pytest.mark.parametrize("hop_ms", [64, 128, HOP_MS, 320, 1_984])
def test_a_hop_of_whole_ticks_fits(hop_ms: int) -> None:
    check_hop(hop_ms)


@pytest.mark.parametrize(
    ("hop_ms", "instead"), [(200, "192 or 256"), (63, "64 or 128"), (100, "64 or 128"), (2_000, "1984 or 2048")]
)
def test_a_hop_that_does_not_fit_is_refused_and_the_sentence_says_what_does(hop_ms: int, instead: str) -> None:
    """A hop of 200 ms was taken, and waited 28 ms on average for its tick; nothing said so."""
    with pytest.raises(SettingsError, match=f"A hop of {hop_ms} ms does not fit ticks of 64 ms: .*{instead}"):
        check_hop(hop_ms)


@pytest.mark.parametrize("calls", [CALLS_A_TURN, CALLS_A_TURN_WITHOUT_MODEL])
def test_the_calls_of_a_turn_share_a_phase_before_the_next_one_begins(calls: int) -> None:
    schedule = Schedule(HOP_S, calls)
    assert [schedule.join().number for _ in range(3 * calls + 1)] == [0] * calls + [1] * calls + [2] * calls + [0]


def test_the_place_of_a_call_that_left_is_taken_first() -> None:
    schedule = Schedule(HOP_S, CALLS_A_TURN)
    phases = [schedule.join() for _ in range(2 * CALLS_A_TURN)]
    schedule.leave(phases[0])
    assert schedule.join().number == 0


def test_it_is_busy_from_sixteen_calls_on_and_only_while_they_are_there() -> None:
    schedule = Schedule(HOP_S, CALLS_A_TURN)
    phases = []
    for number in range(BUSY_CALLS):
        assert not schedule.busy, number
        phases.append(schedule.join())
    assert schedule.busy
    schedule.leave(phases.pop())
    assert not schedule.busy


def test_a_room_of_eight_is_enough_and_its_voices_have_their_turns_together() -> None:
    """A room of eight voices was read and analysed as often as eight calls, and cost more than four."""
    schedule = Schedule(HOP_S, CALLS_A_TURN)
    of_room = Phase(1, HOP_S)
    busy = []
    for _ in range(BUSY_CALLS // 2):
        busy.append(schedule.busy)
        assert schedule.join(of_room) == of_room
    busy.append(schedule.busy)
    assert busy == [False] * (BUSY_CALLS // 2) + [True]


def test_each_voice_of_a_room_counts_twice_beside_other_calls() -> None:
    schedule = Schedule(HOP_S, CALLS_A_TURN)
    for _ in range(BUSY_CALLS // 2):
        schedule.join(Phase(1, HOP_S))
    schedule.leave(Phase(1, HOP_S), is_beside=True)
    busy = []
    for _ in range(2):
        busy.append(schedule.busy)
        schedule.join()
    busy.append(schedule.busy)
    assert busy == [False, False, True]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_turns_of_a_phase_are_a_hop_apart_on_ticks(number: int) -> None:
    phase = Phase(number, HOP_S)
    turn = phase.next_turn(100.0)
    assert 0 < turn - 100.0 <= HOP_S
    assert round(turn / TICK_S) % 3 == number
    assert turn / TICK_S == pytest.approx(round(turn / TICK_S))
    assert phase.next_turn(turn) == pytest.approx(turn + HOP_S)
    assert phase.next_turn(turn - EARLY_S / 2) == pytest.approx(turn + HOP_S)

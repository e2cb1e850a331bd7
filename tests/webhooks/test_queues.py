"""Messages that wait for a receiver: in order, fair to all calls, and within bounds."""

import math
from collections.abc import Callable
from time import process_time

import pytest

from tests.clock import StillClock
from voxgender.webhooks.queues import Queue, Queues


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def queues(clock: StillClock) -> Queues:
    return Queues(max_waiting=5, first_pause_s=1.0, longest_pause_s=4.0, max_age_s=100.0, clock=clock)


def numbered(call: str) -> Callable[[int], bytes]:
    return lambda number: f"{call}{number}".encode()


def add(queues: Queues, *calls: str) -> None:
    for call in calls:
        assert queues.add(call, numbered(call))


def taken(queues: Queues) -> Queue:
    queue = queues.take()
    assert queue is not None
    return queue


def send(queues: Queues) -> bytes:
    """Send the message that is due first."""
    queue = taken(queues)
    body = queue.messages[0].body
    queues.note_success(queue)
    queues.release(queue)
    return body


def fail(queues: Queues, asked_s: float = 0.0, *, of_receiver: bool) -> bool:
    queue = taken(queues)
    dropped = queues.note_failure(queue, asked_s, of_receiver=of_receiver)
    queues.release(queue)
    return dropped


def test_messages_of_one_call_are_sent_in_order_and_calls_take_turns(queues: Queues) -> None:
    add(queues, "a", "a", "a", "b", "c")
    assert [send(queues) for _ in range(5)] == [b"a1", b"b1", b"c1", b"a2", b"a3"]
    assert queues.take() is None
    assert queues.pause_s() == math.inf


def test_one_message_of_a_call_is_under_way_at_a_time(queues: Queues) -> None:
    add(queues, "a", "a", "b")
    first, second = taken(queues), taken(queues)
    assert (first.call, second.call) == ("a", "b")
    assert queues.take() is None
    queues.note_success(first)
    queues.release(first)
    assert taken(queues) is first


def test_messages_that_find_no_room_leave_a_gap_in_the_numbers(queues: Queues) -> None:
    add(queues, "a", "a", "a", "a", "a")
    assert not queues.add("a", numbered("a"))
    assert queues.waiting == 5
    assert send(queues) == b"a1"
    add(queues, "a")
    assert [send(queues) for _ in range(5)] == [b"a2", b"a3", b"a4", b"a5", b"a7"]


def test_a_call_is_forgotten_with_its_last_message(queues: Queues) -> None:
    add(queues, "a")
    assert queues.add("a", numbered("a"), is_last=True)
    send(queues)
    assert queues.calls == 1
    send(queues)
    assert queues.calls == 0


def test_a_call_whose_last_message_finds_no_room_is_forgotten_too(queues: Queues) -> None:
    add(queues, "a", "b", "b", "b", "b")
    assert not queues.add("c", numbered("c"), is_last=True)
    assert queues.calls == 2


def test_pauses_grow_to_a_bound(queues: Queues, clock: StillClock) -> None:
    add(queues, "a")
    for longest_s in (1.0, 2.0, 4.0, 4.0):
        assert not fail(queues, of_receiver=False)
        assert longest_s / 2 <= queues.pause_s() <= longest_s
        clock.now += longest_s


def test_a_refused_message_holds_up_its_own_call_alone(queues: Queues) -> None:
    add(queues, "a", "b")
    fail(queues, of_receiver=False)
    assert send(queues) == b"b1"
    assert queues.take() is None


def test_a_receiver_that_is_away_holds_up_all_calls(queues: Queues, clock: StillClock) -> None:
    add(queues, "a", "b")
    fail(queues, of_receiver=True)
    assert queues.take() is None
    clock.now += 1.0
    assert send(queues) == b"b1"


def test_failures_that_were_under_way_together_count_as_one(queues: Queues, clock: StillClock) -> None:
    add(queues, "a", "b", "c")
    under_way = [taken(queues) for _ in range(3)]
    clock.now += 1.0
    for queue in under_way:
        queues.note_failure(queue, 0.0, of_receiver=True)
        queues.release(queue)
    assert queues.pause_s() <= 1.0


def test_a_pause_that_the_receiver_asks_for_is_kept_within_the_bound(queues: Queues) -> None:
    add(queues, "a")
    fail(queues, 3.0, of_receiver=True)
    assert queues.pause_s() == 3.0
    queues.all_due = True
    fail(queues, 1_000.0, of_receiver=True)
    assert queues.pause_s() == 4.0


def test_a_message_that_is_too_old_is_dropped_and_the_next_is_due_at_once(queues: Queues, clock: StillClock) -> None:
    add(queues, "a")
    clock.now += 100.0
    add(queues, "a")
    assert fail(queues, of_receiver=False)
    assert queues.waiting == 1
    assert send(queues) == b"a2"


def test_each_message_is_due_when_the_server_stops(queues: Queues) -> None:
    add(queues, "a", "b")
    fail(queues, of_receiver=True)
    queues.all_due = True
    assert {send(queues), send(queues)} == {b"a1", b"b1"}


def test_the_time_from_the_event_to_the_receiver_is_told(queues: Queues, clock: StillClock) -> None:
    add(queues, "a")
    clock.now += 2.5
    assert queues.note_success(taken(queues)) == 2.5


@pytest.mark.parametrize("of_receiver", [True, False], ids=["away", "refuses all"])
def test_ten_thousand_calls_that_wait_cost_nothing_as_others_go_on(*, of_receiver: bool) -> None:
    """Look at no call that waits, as each event of a call that goes on wakes all senders.

    Each of the eight looked at all calls twice: with a receiver that was away, or refused everything, while ten
    thousand calls ended, an event took the event loop 9 to 18 ms, and a hundred calls stood still.
    """
    queues = Queues()
    for number in range(9_999):
        assert queues.add(f"ended {number}", numbered(""), is_last=True)
        if not of_receiver:
            fail(queues, 60.0, of_receiver=False)
    if of_receiver:
        fail(queues, 60.0, of_receiver=True)
    began = process_time()
    for _ in range(1_000):
        assert queues.take() is None
        assert queues.pause_s() > 50
    # It took 1 to 2 s.
    assert process_time() - began < 0.1

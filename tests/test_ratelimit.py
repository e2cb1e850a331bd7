"""Limits of rate, by a clock that the test moves."""

import pytest

from voxgender.ratelimit import RateLimit


def test_a_burst_passes_at_once_and_then_the_rate() -> None:
    limit = RateLimit(per_s=10.0, burst=5.0)
    assert [limit.take(0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert limit.take(0.1)
    assert not limit.take(0.1)


def test_no_more_than_the_burst_is_saved_up() -> None:
    limit = RateLimit(per_s=10.0, burst=5.0)
    assert limit.left(0.0) == 5.0
    assert sum(limit.take(1_000.0) for _ in range(20)) == 5


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    limit = RateLimit(per_s=1.0, burst=1.0)
    assert limit.take(100.0)
    assert not limit.take(50.0)
    assert not limit.take(100.5)
    assert limit.take(101.0)


def test_what_is_too_much_takes_nothing_and_says_how_long_to_wait() -> None:
    limit = RateLimit(per_s=2.0, burst=4.0)
    assert not limit.take(0.0, 5.0)
    assert limit.take(0.0, 4.0)
    assert limit.wait_s(0.0) == pytest.approx(0.5)
    assert limit.wait_s(0.5) == 0.0


def test_what_was_used_already_is_paid_back_first() -> None:
    limit = RateLimit(per_s=1.0, burst=1.0)
    limit.left(0.0)
    limit.spend(3.0)
    assert not limit.take(2.5)
    assert limit.take(3.0)

"""The tracks of a phone call, side by side on one clock, whatever order their messages come in."""

from collections.abc import Callable
from itertools import permutations

import pytest

from voxgender.http.tracks import LAG_S, MAX_EARLY, Tracks

MS_20 = 160
"""Samples of 20 ms at 8 kHz."""


def tracks(count: int = 2, *names: str) -> Tracks:
    return Tracks(names or ("inbound", "outbound"), count, rate_hz=8_000, silence=b".")


def test_two_tracks_are_interleaved_as_far_as_both_have_come() -> None:
    both = tracks()
    assert both.add("inbound", 1, 0, b"aa") == b""
    assert both.add("outbound", 1, 0, b"bbb") == b"abab"
    assert both.rest() == b".b"


def test_channels_are_in_the_order_of_the_names() -> None:
    both = tracks()
    assert both.add("outbound", 1, 0, b"b") == b""
    assert both.add("inbound", 1, 0, b"a") == b"ab"


def test_wide_samples_stay_whole() -> None:
    both = Tracks(("inbound", "outbound"), 2, rate_hz=8_000, silence=b"..")
    both.add("inbound", 1, 0, b"aAcC")
    assert both.add("outbound", 1, 0, b"bBdD") == b"aAbBcCdD"


def test_one_track_goes_straight_through_and_others_are_left_out() -> None:
    one = tracks(1, "inbound")
    assert one.add("inbound", 1, 0, b"a") == b"a"
    assert one.add("outbound", 1, 0, b"b") == b""


def test_a_track_that_lags_becomes_silence_and_what_comes_too_late_is_left_out() -> None:
    both = tracks()
    lag = round(LAG_S * 8_000)
    both.add("outbound", 1, 0, b"b" * MS_20)
    both.add("inbound", 1, 0, b"a" * MS_20)
    out = both.add("inbound", 2, 20, b"a" * (lag + 2 * MS_20))
    assert out == b"a." * (2 * MS_20)
    assert both.add("outbound", 2, 20, b"x" * MS_20) == b""
    assert both.add("outbound", 3, 60, b"b" * MS_20) == b"ab" * MS_20


def test_a_gap_in_a_track_is_silence_and_a_long_one_is_skipped() -> None:
    one = tracks(1, "inbound")
    one.add("inbound", 1, 1_000, b"a" * MS_20)
    assert one.add("inbound", 2, 1_120, b"a" * MS_20) == b"." * (5 * MS_20) + b"a" * MS_20
    assert one.add("inbound", 3, 10**12, b"a" * MS_20) == b"a" * MS_20
    assert one.add("inbound", 4, 10**12 + 20, b"a" * MS_20) == b"a" * MS_20


@pytest.mark.parametrize("order", [*permutations((2, 3, 4))])
def test_messages_in_any_order_are_put_in_theirs(order: tuple[int, ...]) -> None:
    one = tracks(1, "inbound")
    out = one.add("inbound", 1, 0, b"1" * MS_20)
    for number in order:
        out += one.add("inbound", number, 20 * (number - 1), str(number).encode() * MS_20)
    assert out == b"".join(str(number).encode() * MS_20 for number in (1, 2, 3, 4))


def test_a_message_that_never_comes_is_waited_for_only_so_long() -> None:
    one = tracks(1, "inbound")
    out = one.add("inbound", 1, 0, b"1" * MS_20)
    for number in range(4, 4 + MAX_EARLY + 1):
        out += one.add("inbound", number, 20 * (number - 1), b"n" * MS_20)
    assert out == b"1" * MS_20 + b"." * 2 * MS_20 + b"n" * MS_20 * (MAX_EARLY + 1)
    one.add("inbound", 99, None, b"z")
    assert one.rest() == b"z"


def test_messages_without_numbers_and_times_follow_one_another() -> None:
    one = tracks(1, "inbound")
    assert one.add("inbound", None, None, b"a") + one.add("inbound", None, None, b"b") == b"ab"


def test_what_comes_twice_is_heard_once() -> None:
    one = tracks(1, "inbound")
    one.add("inbound", 1, 0, b"a" * 4 * MS_20)
    assert one.add("inbound", 1, 0, b"a" * 4 * MS_20) == b""


CLOCKS: dict[str, Callable[[int], int]] = {
    "stands still": lambda index: 0,
    "counts seconds": lambda index: index // 50,
    "is too slow": lambda index: 10 * index,
    "begins anew": lambda index: 20 * (index % 75),
    "wraps": lambda index: (2**32 - 5_000 + 20 * index) % 2**32,
}


@pytest.mark.parametrize(("clock", "numbered"), [*((clock, True) for clock in CLOCKS), ("wraps", False)])
def test_a_gateway_whose_clock_is_wrong_is_heard(clock: str, *, numbered: bool) -> None:
    """Hear a gateway that speaks Twilio's dialect, and counts time otherwise.

    Its timestamps stood still, or began anew when the call was transferred. What is behind was taken for what had come
    already, so the rest of the call was silence.
    """
    one = tracks(1, "inbound")
    messages = 300
    heard = b"".join(
        one.add("inbound", index + 1 if numbered else None, CLOCKS[clock](index), b"a" * MS_20)
        for index in range(messages)
    )
    assert heard == b"a" * messages * MS_20


def test_a_gateway_without_numbers_whose_clock_stands_still_is_heard() -> None:
    """A program of one's own that sends ``"timestamp": "0"`` was heard for a tenth of each two seconds.

    Its messages were taken for one that came again and again, though each had other samples.
    """
    one = tracks(1, "inbound")
    speech = [bytes([1 + index % 100]) * MS_20 for index in range(200)]
    # A pause, all of whose messages are the same.
    sent = [*speech, *[bytes(MS_20)] * 100, *speech]
    assert b"".join(one.add("inbound", None, 0, samples) for samples in sent) == b"".join(sent)
    # From here on its clock goes: what comes twice is heard once again.
    heard = [one.add("inbound", None, 20 + 100 * (index // 2), speech[index // 2] * 5) for index in range(20)]
    assert b"".join(heard) == b"".join(samples * 5 for samples in speech[:10])


def test_numbers_and_times_that_begin_anew_together_are_missed_for_two_seconds_at_most() -> None:
    one = tracks(1, "inbound")
    lengths = (75, 500)
    heard = b"".join(
        one.add("inbound", index + 1, 20 * index, b"a" * MS_20) for length in lengths for index in range(length)
    )
    assert len(heard) >= (sum(lengths) - 2 * 50 - 1) * MS_20


def test_what_lags_is_left_out_as_far_as_silence_stood_for_it() -> None:
    both = tracks()
    messages = 100
    out = b"".join(both.add("inbound", index + 1, 20 * index, b"a" * MS_20) for index in range(messages))
    out += b"".join(both.add("outbound", index + 1, 20 * index, b"b" * MS_20) for index in range(messages))
    assert out[::2] == b"a" * messages * MS_20
    # Half a second was waited for.
    assert out[1::2] == b"." * (messages - 25) * MS_20 + b"b" * 25 * MS_20

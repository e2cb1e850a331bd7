"""A call's own hop: the engine's results, joined."""

import re
from itertools import pairwise

import pytest

from voxgender.errors import OptionRefused
from voxgender.media.hops import Hops, check_hop, longest_hop_ms
from voxgender.protocol import Change, Message, Result, Segment, Summary


def result(start: float, end: float, *, seq: int = 1, channel: int | None = None, label: str = "male") -> Result:
    return Result(
        seq=seq, start=start, end=end, label=label, confidence=end, scores=None, latency_ms=1.0, channel=channel
    )


def summary(channel: int | None = None) -> Summary:
    return Summary(duration=1, speech=1, male=1, female=0, uncertain=0, segments=1, channel=channel)


def told(hops: Hops, *messages: Message) -> list[Message]:
    return [one for message in messages for one in hops.join(message)]


def every(step: float, until: float, channel: int | None = None) -> list[Message]:
    count = round(until / step)
    return [result(round(step * n, 3), round(step * (n + 1), 3), seq=n + 1, channel=channel) for n in range(count)]


@pytest.mark.parametrize("hop_ms", [0, 192, 384, 1_920])
def test_the_server_s_hop_and_its_multiples_fit(hop_ms: int) -> None:
    check_hop(hop_ms, 192)


@pytest.mark.parametrize("hop_ms", [1, 64, 191, 200, 288, 1_984, 2_112, 999_999])
def test_another_hop_is_refused_in_a_sentence_that_names_those_that_fit(hop_ms: int) -> None:
    with pytest.raises(OptionRefused) as refused:
        check_hop(hop_ms, 192)
    assert str(refused.value) == "hop_ms takes the server's hop or a multiple of it: 192, 384, 576, …, 1920."


@pytest.mark.parametrize(("own_ms", "longest_ms"), [(64, 1_984), (192, 1_920), (640, 1_920), (1_088, 1_088)])
def test_the_hops_that_are_named_are_taken(own_ms: int, longest_ms: int) -> None:
    assert longest_hop_ms(own_ms) == longest_ms
    with pytest.raises(OptionRefused) as refused:
        check_hop(longest_ms + own_ms, own_ms)
    named = [int(number) for number in re.findall(r"\d+", str(refused.value))]
    assert named[-1] == longest_ms
    for hop_ms in named:
        check_hop(hop_ms, own_ms)


def test_joined_results_cover_the_audio_without_a_gap() -> None:
    messages = told(Hops(576, 192), *every(0.192, 5.76), summary())
    results = [one for one in messages if isinstance(one, Result)]
    assert [one.seq for one in results] == list(range(1, 11))
    assert [one.end - one.start for one in results] == pytest.approx([0.576] * 10)
    assert all(before.end == after.start for before, after in pairwise(results))
    assert all(one.confidence == one.end for one in results), "a joined result is the last of its hop"


def test_a_change_waits_for_no_hop() -> None:
    change = Change(at=0.1, from_="no_speech", to="male", confidence=1)
    first, second, third = every(0.192, 0.576)
    assert told(Hops(576, 192), first, change, second) == [change]
    assert [one.type for one in told(Hops(576, 192), first, change, second, third)] == ["change", "result"]


def test_a_segment_takes_its_results_with_it() -> None:
    """A client that asked for all that can be said so far got the segment alone, and waited for its results."""
    ended = Segment(start=0.0, end=0.576, label="male", confidence=1)
    messages = told(Hops(1_920, 192), *every(0.192, 0.576), ended, result(0.576, 0.768), summary())
    assert [one.type for one in messages] == ["result", "segment", "result", "summary"]
    assert [(one.start, one.end) for one in messages if isinstance(one, Result)] == [(0.0, 0.576), (0.576, 0.768)]


def test_the_rest_of_a_call_is_told_before_its_summary() -> None:
    messages = told(Hops(1_920, 192), *every(0.192, 0.576), summary())
    assert [one.type for one in messages] == ["result", "summary"]
    assert isinstance(messages[0], Result)
    assert (messages[0].start, messages[0].end) == (0.0, 0.576)


def test_a_result_spans_no_gap_in_which_nothing_was_analysed() -> None:
    messages = told(Hops(576, 192), result(0.0, 0.192), result(8.0, 8.192), result(8.192, 8.384), result(8.384, 8.576))
    assert [(one.start, one.end) for one in messages if isinstance(one, Result)] == [(0.0, 0.192), (8.0, 8.576)]


def test_each_channel_has_its_own_hops_and_numbers() -> None:
    hops = Hops(384, 192)
    both = [one for pair in zip(every(0.192, 0.768, 0), every(0.192, 0.768, 1), strict=True) for one in pair]
    messages = told(hops, *both, summary(0), summary(1))
    for channel in (0, 1):
        mine = [one for one in messages if one.channel == channel]
        assert [one.seq for one in mine if isinstance(one, Result)] == [1, 2]
    assert not hops._joined
    assert not hops._numbers

"""The options of one call: from a query, from a token, and both together."""

from typing import Any

import msgspec
import pytest

from voxgender.calloptions import (
    MAX_REFERENCE,
    MAX_TAG,
    MAX_TAGS,
    MESSAGES,
    CallOptions,
    bind,
    left_out,
    read,
    read_messages,
    read_texts,
)
from voxgender.errors import OptionRefused


def test_lists_of_a_query_stand_with_commas_between() -> None:
    asked = read_texts({"tags": "pilot,team a", "messages": "segment,change", "hop_ms": "384", "encoding": "opus"})
    assert asked == CallOptions(tags=("pilot", "team a"), messages=("change", "segment", "summary"), hop_ms=384)


def test_a_token_has_them_as_arrays_and_means_the_same() -> None:
    claim = {"tags": ["pilot", "team a"], "messages": ["segment", "change"], "hop_ms": 384}
    assert read(claim) == read_texts({"tags": "pilot,team a", "messages": "change,segment", "hop_ms": "384"})


def test_all_types_of_messages_are_told_where_all_or_none_are_named() -> None:
    assert read_texts({"messages": "segment,result,change"}).messages == MESSAGES
    assert left_out(MESSAGES) == left_out(()) == frozenset()


def test_a_token_that_binds_all_messages_binds_them() -> None:
    """All were taken for none chosen, and its caller could leave out what the token's owner had asked for."""
    with pytest.raises(OptionRefused, match="binds messages"):
        bind(read({"messages": ["summary"]}), read({"messages": list(MESSAGES)}))


def test_the_summary_and_what_cannot_be_chosen_are_never_left_out() -> None:
    assert left_out(read_messages("summary") or ()) == {"result", "change", "segment"}
    assert left_out(read_messages("change") or ()) == {"result", "segment"}
    assert read_messages(None) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tags": []}, "1 to 8"),
        ({"tags": [str(number) for number in range(MAX_TAGS + 1)]}, "1 to 8"),
        ({"tags": ["a", "a"]}, "different"),
        ({"tags": ["x" * (MAX_TAG + 1)]}, "64"),
        ({"tags": [" a"]}, "spaces"),
        ({"tags": ["a,b"]}, "commas"),
        ({"tags": ["a\nb"]}, "printable"),
        ({"tags": ["\ud800"]}, "printable"),
        ({"tags": [7]}, "printable"),
        ({"tags": [["a"]]}, "printable"),
        ({"tags": {"a": "b"}}, "tags takes"),
        ({"tags": None}, "tags takes"),
        ({"messages": []}, "result, change, segment, summary"),
        ({"messages": ["hello"]}, "result, change, segment, summary"),
        ({"messages": [["change"]]}, "result, change, segment, summary"),
        ({"messages": "change"}, "result, change, segment, summary"),
        ({"hop_ms": 0}, "whole number"),
        ({"hop_ms": -192}, "whole number"),
        ({"hop_ms": True}, "whole number"),
        ({"hop_ms": 192.0}, "whole number"),
        ({"hop_ms": 10**6}, "whole number"),
        ({"hop_ms": "192"}, "whole number"),
    ],
)
def test_a_value_that_is_not_taken_is_refused_in_one_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionRefused, match=said) as refused:
        read(given)
    assert str(refused.value).count(". ") == 0


@pytest.mark.parametrize("text", ["", "0", "-192", "+192", "19２", "1e3", "192.0", "0x40", " 192", "9" * 400])
def test_a_hop_that_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(OptionRefused, match="whole number"):
        read_texts({"hop_ms": text})


@pytest.mark.parametrize(
    ("asked", "bound"),
    [
        (CallOptions(tags=("a",)), CallOptions(tags=("a", "b"))),
        (CallOptions(tags=("a", "b")), CallOptions(tags=("a",))),
        (CallOptions(hop_ms=384), CallOptions(hop_ms=192)),
        (CallOptions(messages=("change", "summary")), CallOptions(messages=("summary",))),
    ],
)
def test_a_query_that_contradicts_the_token_is_refused(asked: CallOptions, bound: CallOptions) -> None:
    with pytest.raises(OptionRefused, match="binds"):
        bind(asked, bound)
    assert bind(bound, bound) == bind(CallOptions(), bound) == bound
    assert bind(asked, CallOptions()) == asked


def test_the_longest_options_come_through_json_as_they_were() -> None:
    longest = CallOptions(
        name="n" * 64,
        reference="\N{GRINNING FACE}" * MAX_REFERENCE,
        tags=tuple(f"{number}".rjust(MAX_TAG, "\N{GRINNING FACE}") for number in range(MAX_TAGS)),
        hop_ms=1_984,
        messages=MESSAGES[1:],
    )
    assert msgspec.json.decode(msgspec.json.encode(longest), type=CallOptions) == longest
    assert read(msgspec.structs.asdict(longest)) == longest

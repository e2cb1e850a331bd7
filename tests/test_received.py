"""Texts of others are decoded, or they are refused by a ValueError or None: nothing else comes of them."""

import pytest

from voxgender import received
from voxgender.received import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("65535", 65_535)])
def test_whole_numbers_are_read(text: str, number: int) -> None:
    assert whole_number(text, 65_535) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1 ", "1_0", "1.0", "1e3", "0x1", "²", "٣", "１", "65536", "9" * 20, "9" * 5_000]
)
def test_other_texts_are_no_whole_numbers(text: str) -> None:
    """``int`` takes some of them, and of more than 4300 digits raises an error of its own."""
    assert whole_number(text, 65_535) is None


def test_a_number_may_have_fifteen_digits() -> None:
    assert whole_number("9" * 15) == 10**15 - 1
    assert whole_number("0" * 16) is None


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1]", '{"a": "b"}', b"\xff"])
def test_a_text_of_another_kind_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        received.decode(text, dict[str, int])


@pytest.mark.parametrize("text", ["http://a[]@/", "http://[", "http://a:b/"])
def test_a_text_that_is_no_url_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        received.url(text)

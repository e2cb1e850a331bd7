"""Texts of others are decoded, or they are refused by a ValueError or None: nothing else comes of them."""

import pytest

from voxgender import received
from voxgender.received import is_line, whole_number


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


NAMES = ("", "Ana", "علی\u200cرضا", "നിഖിൽ\u200d", "👩\u200d💻", "شركة\u200f", "a\u00a0b", "\U0001fae9")


@pytest.mark.parametrize("text", NAMES)
def test_names_of_people_are_lines_in_any_script(text: str) -> None:
    """Python calls joiners unprintable, and characters that are newer than its tables."""
    assert is_line(text)


@pytest.mark.parametrize("text", ["a\nb", "\0", "\x1b[2J", "\x85", "\u2028", "\u2029", "\ud800", "a\tb"])
def test_a_text_of_several_lines_or_with_control_characters_is_no_line(text: str) -> None:
    assert not is_line(text)

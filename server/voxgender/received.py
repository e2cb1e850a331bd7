"""Decode JSON, URLs and numbers that come from others: clients, nodes, and servers that are called."""

import re
from typing import Any, TypeVar

import msgspec
from yarl import URL

T = TypeVar("T")

_MAX_DIGITS = 15
_MOST = 10**_MAX_DIGITS - 1
_NO_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, separators of lines, and surrogates, which UTF-8 cannot carry."""


def decode(text: bytes | str, kind: type[T] | Any) -> T:
    """Decode a JSON text of a kind that msgspec knows.

    Raises:
        ValueError: it is no JSON, or of another kind.
    """
    try:
        decoded: T = msgspec.json.decode(text, type=kind)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return decoded


def url(text: str) -> URL:
    """Parse a URL.

    Raises:
        ValueError: the text is not a URL.
    """
    try:
        return URL(text)
    except IndexError:
        # yarl's word for ``http://a[]@/``.
        raise ValueError("it is no URL") from None


def is_line(text: str) -> bool:
    """Tell whether a text for people is one line, of characters that UTF-8 carries.

    ``str.isprintable`` refuses joiners, without which Persian and Malayalam names are misspelt, and what is newer than
    Python's tables.
    """
    return _NO_LINE.search(text) is None


def whole_number(text: str, most: int = _MOST) -> int | None:
    """Parse a whole number from 0 to ``most``, of 15 digits at most; return None for any other text.

    ``int`` takes signs, blanks, underscores and the digits of other scripts too, and is slow for very long texts.
    """
    if len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number <= most else None

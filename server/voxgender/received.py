"""Decode JSON and URLs that others have written: clients, nodes, servers that are called."""

from typing import Any, TypeVar

import msgspec
from yarl import URL

T = TypeVar("T")


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
        ValueError: it is none.
    """
    try:
        return URL(text)
    except IndexError:
        # yarl's word for ``http://a[]@/``.
        raise ValueError("it is no URL") from None

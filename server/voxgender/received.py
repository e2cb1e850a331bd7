"""Decode JSON that others have written: clients, nodes, servers that are called."""

from typing import Any, TypeVar

import msgspec

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

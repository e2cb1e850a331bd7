"""Options of a role by their own names, whatever their group."""

from typing import TypeVar

from voxgender import options

T = TypeVar("T")


def given(kind: type[T], **values: object) -> T:
    """Make ``kind`` with these values and the defaults of all others; the environment is left aside."""
    return options.read(kind, values, {})

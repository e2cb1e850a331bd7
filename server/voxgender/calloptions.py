"""Read what a caller wants of one call: its name, its reference, how often and of which labels it is told."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from voxgender.errors import OptionRefused

MAX_NAME = 64
"""Characters of a name by which a call can be followed."""
MAX_REFERENCE = 128
"""Characters of a reference."""
MAX_LABELS = 32
"""Labels that may be asked for."""
MAX_HOP_MS = 10_000
"""Greatest hop that is read; the server's window bounds it further."""
PARAMETERS = ("name", "reference", "hop_ms", "labels")
"""Names of the options, in a query and in a token's claim ``call``."""

NAME_RULE = (
    f"A name has 1 to {MAX_NAME} of the characters A-Z, a-z, 0-9, '.', '_', '~' and '-', the first of them a letter or "
    "a digit."
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")
_LABEL = re.compile(r"[^\s,]{1,64}")
_DIGITS = re.compile(r"[0-9]{1,6}")


class CallOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a caller wants of one call.

    Attributes:
        name: name by which the call can be followed; empty for none.
        reference: what the caller's own system calls it; told back, and never looked at.
        hop_ms: time between two results; 0 for the server's.
        labels: labels that are told; empty for all.
    """

    name: str = ""
    reference: str = ""
    hop_ms: int = 0
    labels: tuple[str, ...] = ()


DEFAULTS = CallOptions()


def is_name(text: str) -> bool:
    """Tell whether calls can be followed by this name: it stands in a URL's path without being escaped."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def read_query(query: Mapping[str, str]) -> CallOptions:
    """Read a URL's query.

    Raises:
        OptionRefused: a parameter is unknown, given twice, or has a value that is not taken.
    """
    if unknown := [name for name in query if name not in PARAMETERS]:
        if any(name in ("token", "access_token", "authorization") for name in unknown):
            raise OptionRefused(
                "A token does not go into the URL, which is logged: send it as 'Authorization: Bearer TOKEN'."
            )
        raise OptionRefused(f"The query has a parameter that is not known; it takes {', '.join(PARAMETERS)}.")
    if len(query) > len(set(query)):
        raise OptionRefused("The query has a parameter twice: give each one once.")
    return read(dict(query))


def read(given: Mapping[str, Any]) -> CallOptions:
    """Read options whose values are texts, or of their own JSON types.

    Raises:
        OptionRefused: a value is not taken.
    """
    values: dict[str, Any] = {}
    if "name" in given:
        values["name"] = given["name"]
        if not (isinstance(given["name"], str) and is_name(given["name"])):
            raise OptionRefused(NAME_RULE)
    if "reference" in given:
        reference = values["reference"] = given["reference"]
        if not (isinstance(reference, str) and 0 < len(reference) <= MAX_REFERENCE and reference.isprintable()):
            raise OptionRefused(f"reference takes 1 to {MAX_REFERENCE} printable characters.")
    if "hop_ms" in given:
        values["hop_ms"] = _hop_ms(given["hop_ms"])
    if "labels" in given:
        values["labels"] = _labels(given["labels"])
    return CallOptions(**values)


def bind(asked: CallOptions, bound: CallOptions) -> CallOptions:
    """Return what a caller asks for with what its token binds.

    Raises:
        OptionRefused: it asks for something else than its token binds.
    """
    values = {}
    for option in PARAMETERS:
        wanted, fixed = getattr(asked, option), getattr(bound, option)
        if wanted and fixed and wanted != fixed:
            raise OptionRefused(f"The token binds {option} to another value: leave it out.")
        values[option] = fixed or wanted
    return CallOptions(**values)


def _hop_ms(value: object) -> int:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 < value <= MAX_HOP_MS:
        raise OptionRefused("hop_ms takes a whole number of milliseconds, a multiple of the server's hop.")
    return value


def _labels(value: object) -> tuple[str, ...]:
    labels = value.split(",") if isinstance(value, str) else value
    if not isinstance(labels, list) or not 0 < len(labels) <= MAX_LABELS:
        raise OptionRefused(f"labels takes 1 to {MAX_LABELS} labels, separated by commas.")
    for label in labels:
        if not (isinstance(label, str) and _LABEL.fullmatch(label)):
            raise OptionRefused("labels takes labels of the model, separated by commas, without blanks.")
    return tuple(dict.fromkeys(labels))

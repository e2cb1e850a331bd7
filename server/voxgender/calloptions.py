"""Read the options of one call: its name and its reference."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from voxgender.errors import OptionRefused

MAX_NAME = 64
"""Characters of a name by which a call can be followed."""
MAX_REFERENCE = 128
"""Characters of a reference."""
PARAMETERS = ("name", "reference")
"""Names of the options, in a query and in a token's claim ``call``."""

NAME_RULE = (
    f"A name has 1 to {MAX_NAME} of the characters A-Z, a-z, 0-9, '.', '_', '~' and '-', the first of them a letter or "
    "a digit."
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")


class CallOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of one call.

    Attributes:
        name: name by which the call can be followed; empty for none.
        reference: the name of the call in the caller's own system; told back, and never looked at.
    """

    name: str = ""
    reference: str = ""


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
    """Read options from a query or a token.

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

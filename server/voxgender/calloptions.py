"""Read the options of one call: its names, its hop, and the messages that its client wants."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from voxgender.errors import OptionRefused
from voxgender.received import is_line, whole_number

MAX_NAME = 64
"""Characters of a name by which a call can be followed."""
MAX_REFERENCE = 128
"""Characters of a reference."""
MAX_TAGS = 8
"""Tags of a call."""
MAX_TAG = 64
"""Characters of a tag."""
PARAMETERS = ("name", "reference", "tags", "hop_ms", "messages")
"""Names of the options, in a query and in a token's claim ``call``."""
MESSAGES = ("result", "change", "segment", "summary")
"""Types of messages that can be chosen. ``summary`` always comes, as do all types that are not named here."""
NO_RESULTS = MESSAGES[1:]
"""All but the results."""

NAME_RULE = (
    f"A name has 1 to {MAX_NAME} of the characters A-Z, a-z, 0-9, '.', '_', '~' and '-', the first of them a letter or "
    "a digit."
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")
_LISTS = ("tags", "messages")
_MAX_HOP_MS = 999_999


class CallOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of one call.

    Attributes:
        name: name by which the call can be followed; empty for none.
        reference: the name of the call in the caller's own system; told back, and never looked at.
        tags: words of the caller's own; told back, and never looked at.
        hop_ms: time between two results; 0 for the server's own.
        messages: types of messages that are told, in the order of ``MESSAGES``; empty for all, as nobody chose.
    """

    name: str = ""
    reference: str = ""
    tags: tuple[str, ...] = ()
    hop_ms: int = 0
    messages: tuple[str, ...] = ()


DEFAULTS = CallOptions()


def is_name(text: str) -> bool:
    """Tell whether calls can be followed by this name: it stands in a URL's path without being escaped."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def left_out(messages: tuple[str, ...]) -> frozenset[str]:
    """Return the types of messages to leave out if these are wanted; without any, nothing is left out."""
    return frozenset(MESSAGES).difference(messages, ("summary",)) if messages else frozenset()


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
    return read_texts(query)


def read_texts(texts: Mapping[str, str]) -> CallOptions:
    """Read the options among the parameters of a query, or of a gateway; others are passed over.

    Raises:
        OptionRefused: a value is not taken.
    """
    given: dict[str, Any] = {name: texts[name] for name in PARAMETERS if name in texts}
    for name in _LISTS:
        if name in given:
            given[name] = given[name].split(",")
    if (hop_ms := whole_number(given.get("hop_ms", ""), _MAX_HOP_MS)) is not None:
        given["hop_ms"] = hop_ms
    return read(given)


def read_messages(text: str | None) -> tuple[str, ...] | None:
    """Read the types of messages that a follower wants; None if it does not say.

    Raises:
        OptionRefused: there is no such type.
    """
    return None if text is None else _messages(text.split(","))


def read(given: Mapping[str, Any]) -> CallOptions:
    """Read options that have their types already, as a token's claim has them.

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
        if not (isinstance(reference, str) and 0 < len(reference) <= MAX_REFERENCE and is_line(reference)):
            raise OptionRefused(f"reference takes 1 to {MAX_REFERENCE} printable characters.")
    if "tags" in given:
        values["tags"] = _tags(given["tags"])
    if "hop_ms" in given:
        hop_ms = values["hop_ms"] = given["hop_ms"]
        # The hops that fit are known where the call is analysed.
        if type(hop_ms) is not int or not 0 < hop_ms <= _MAX_HOP_MS:
            raise OptionRefused("hop_ms takes a whole number of milliseconds; hello.limits tells which fit.")
    if "messages" in given:
        values["messages"] = _messages(given["messages"])
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


def _tags(given: object) -> tuple[str, ...]:
    tags = tuple(given) if isinstance(given, (list, tuple)) else ()
    if not (0 < len(tags) <= MAX_TAGS and all(map(_is_tag, tags)) and len(set(tags)) == len(tags)):
        raise OptionRefused(
            f"tags takes 1 to {MAX_TAGS} different tags of 1 to {MAX_TAG} printable characters, without commas and "
            "without spaces at their ends."
        )
    return tags


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and 0 < len(tag) <= MAX_TAG and is_line(tag) and "," not in tag and tag == tag.strip()


def _messages(given: object) -> tuple[str, ...]:
    wanted = given if isinstance(given, (list, tuple)) else ()
    if not wanted or any(one not in MESSAGES for one in wanted):
        raise OptionRefused(f"messages takes some of {', '.join(MESSAGES)}, with commas between them.")
    # In one order, so that two that are the same are equal.
    return tuple(one for one in MESSAGES if one in wanted or one == "summary")

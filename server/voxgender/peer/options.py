"""Options of the synthetic caller, checked as those of the server are: one line says what an option takes."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from voxgender.errors import SettingsError

T = TypeVar("T", bound=msgspec.Struct)


def described(kind: type[msgspec.Struct]) -> dict[str, Meta]:
    """Every field's name, and its limits and description."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in kind.__struct_fields__}


def convert(kind: type[T], given: Mapping[str, Any]) -> T:
    """Make options of texts or values; ``None`` stands for one that was not given.

    Raises:
        SettingsError: a value cannot be used; the message names the flag and what it takes.
    """
    values = {name: given[name] for name in kind.__struct_fields__ if given.get(name) is not None}
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        if not name:
            raise SettingsError(problem) from None
        meta = described(kind)[name]
        number = "a whole number" if "int" in problem else "a number"
        raise SettingsError(f"--{name.replace('_', '-')} takes {number} {_limits(meta)}") from None


def _limits(meta: Meta) -> str:
    if meta.gt is not None:
        return f"above {meta.gt} and up to {meta.le}"
    return f"of at least {meta.ge}" if meta.le is None else f"from {meta.ge} to {meta.le}"

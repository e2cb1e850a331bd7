"""Options of a command, declared once as dataclasses: flag, environment variable, type, limits, default and help.

A field is an option, and its docstring is its help. A field whose type is a dataclass is a group of options::

    @dataclass(frozen=True, kw_only=True)
    class MediaOptions(FromEnvironment):
        \"\"\"Media and sessions.\"\"\"

        max_sessions: Annotated[int, Meta(ge=1)] = 100
        \"\"\"Concurrent calls; excess offers get 503.\"\"\"

gives ``--max-sessions N`` and ``VOXGENDER_MAX_SESSIONS``; the flag wins. Limits are msgspec's ``Meta``; ``Display``
holds facts that a type cannot. A field without a default is required, one with ``repr=False`` is a secret.
"""

import argparse
import ast
import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from voxgender.errors import SettingsError

PREFIX = "VOXGENDER_"

_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://[0-9A-Za-z.:\[\]-]+:[0-9]{1,5}")
"""Value that Kubernetes gives ``VOXGENDER_PORT`` in each pod beside a service called ``voxgender``. Nobody chose it."""

T = TypeVar("T")


class FromEnvironment:
    """Base of a group whose options are environment variables, too."""


class Display(NamedTuple):
    """Facts of an option that neither its name nor its type tells."""

    metavar: str = ""
    """Stands for the value in a help text; by default chosen by type and unit."""
    unset: str = ""
    """Meaning of an empty default."""
    takes: str = ""
    """Values that a pattern allows, in words."""
    positional: bool = False
    """Given by its place on the command line, without a flag."""
    fallback_variable: str = ""
    """Environment variable to read where the option's own one is not set."""


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        annotation: its type, with limits.
        default: ``MISSING`` where a value is required.
        group: the dataclass that declares it.
        variable: its environment variable; empty if it has none.
    """

    name: str
    annotation: Any
    default: Any
    group: type
    display: Display
    variable: str

    @property
    def flag(self) -> str:
        """Name on the command line: ``--max-sessions``, or the metavar of a positional option."""
        return self.display.metavar if self.display.positional else f"--{self.name.replace('_', '-')}"

    @property
    def unit(self) -> str:
        """``ms`` or ``s``; empty if the value has no unit."""
        suffix = self.name.rpartition("_")[2]
        return suffix if suffix in ("ms", "s") else ""

    @property
    def help(self) -> str:
        """The first paragraph of the field's docstring, as one line without its full stop."""
        return _docstrings(self.group).get(self.name, "")

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed texts, if they are few; empty otherwise."""
        kind = _plain(self.annotation)
        return get_args(kind) if get_origin(kind) is Literal else ()

    @property
    def is_number(self) -> bool:
        """True if the option takes a number."""
        return _plain(self.annotation) in (int, float)

    @property
    def is_list(self) -> bool:
        """True if the option takes several values."""
        return get_origin(_plain(self.annotation)) is tuple

    @property
    def shown_default(self) -> str:
        """The default as a user would write it, or the meaning of an empty one; empty if there is nothing to show."""
        if self.default is MISSING or (not self.default and type(self.default) not in (int, float)):
            return self.display.unset
        if isinstance(self.default, tuple):
            return ", ".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def takes(self) -> str:
        """The values that are allowed, in words: ``a whole number from 0 to 65535``."""
        if self.display.takes:
            return self.display.takes
        if self.choices:
            *others, last = self.choices
            return f"{', '.join(others)} or {last}"
        kind, limits = _plain(self.annotation), _limits(self.annotation)
        if kind is bool:
            return "true or false"
        if not self.is_number:
            return "text in UTF-8" if limits.min_length is None else "text that is not empty, in UTF-8"
        number = {int: "a whole number", float: "a number"}[kind]
        return " ".join(filter(None, (number, self.range)))

    @property
    def range(self) -> str:
        """The limits of a number in words: ``from 0 to 65535``; empty without limits."""
        limits = _limits(self.annotation)
        most = "" if limits.le is None else f"to {limits.le}"
        if limits.gt is not None:
            words = f"above {limits.gt}" + (most and f" up {most}")
        elif limits.ge is not None:
            words = f"from {limits.ge} {most}" if most else f"of at least {limits.ge}"
        else:
            words = ""
        return words if limits.multiple_of is None else f"{words} in steps of {limits.multiple_of}"

    def convert(self, value: Any) -> Any:
        """Check a value: text, several texts, or the type itself.

        Raises:
            ValueError: it is not allowed.
        """
        try:
            if not _is_path(self.annotation):
                # Arguments that are not in the terminal's encoding hold surrogates, which would fail later.
                msgspec.json.encode(value)
            # Without the None of an optional one, which the library reads from the text "null".
            checked: Any = Annotated[_plain(self.annotation), _limits(self.annotation)]
            return msgspec.convert(value, checked, strict=False, dec_hook=_convert_path)
        except (msgspec.MsgspecError, TypeError, UnicodeEncodeError):
            # The library's sentence shows the value, which may be a secret.
            raise ValueError(self.name) from None


def options_of(kind: type, defaults: object = None) -> Iterator[Option]:
    """Yield every option of a command or a group, in order.

    Args:
        defaults: an instance whose values stand in for the defaults of ``kind``.
    """
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        default = field.default if defaults is None else getattr(defaults, field.name)
        if is_dataclass(hint):
            assert isinstance(hint, type)
            yield from options_of(hint, None if default is MISSING else default)
            continue
        display = next((fact for fact in get_args(hint) if isinstance(fact, Display)), Display())
        variable = PREFIX + field.name.upper() if issubclass(kind, FromEnvironment) else ""
        yield Option(field.name, hint, default, _declaring(kind, field.name), display, variable)


def read(kind: type[T], flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> T:
    """Make a command's options of flags, environment and defaults, in this order.

    Args:
        flags: values by name, as texts or already of their type; None stands for one that was not given.
        environ: the environment; by default the process's own.

    Raises:
        SettingsError: a value is not allowed; the message names the option and the allowed values, never the value.
        TypeError: the command has no such flag.
    """
    flags = flags or {}
    environ = os.environ if environ is None else environ
    declared = list(options_of(kind))
    if unknown := flags.keys() - {option.name for option in declared}:
        raise TypeError(f"{kind.__name__} has no option {', '.join(sorted(unknown))}")
    values = {}
    for option in declared:
        source, value = _value_given(option, flags, environ)
        if not source:
            if option.default is MISSING:
                raise SettingsError(f"{option.flag} is required")
            values[option.name] = option.default
            continue
        try:
            values[option.name] = option.convert(value)
        except ValueError:
            raise SettingsError(f"{source} takes {option.takes}") from None
    return _build(kind, values)


def add_arguments(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add a command's options to its parser, each group under its own title. Values stay texts, for :func:`read`."""
    groups: dict[type, argparse._ArgumentGroup] = {}
    for option in options_of(kind):
        if option.group is kind or option.display.positional:
            _add(parser, option)
            continue
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(_title(option.group))
        _add(groups[option.group], option)


def _add(parser: "argparse._ActionsContainer", option: Option) -> None:
    default = f"default: {option.shown_default}" if option.shown_default else ""
    facts = "; ".join(filter(None, (option.range, default)))
    variables = ", else ".join(filter(None, (option.variable, option.display.fallback_variable)))
    text = " ".join(filter(None, (option.help, facts and f"({facts})", variables and f"[{variables}]")))
    described: dict[str, Any] = {"help": text.replace("%", "%%")}
    if _plain(option.annotation) is bool:
        parser.add_argument(option.flag, action="store_true", default=None, **described)
    elif option.display.positional:
        parser.add_argument(option.name, metavar=option.flag, nargs=_count(option), **described)
    else:
        parser.add_argument(
            option.flag,
            action="append" if option.is_list else "store",
            required=option.default is MISSING,
            metavar=option.display.metavar or _metavar(option),
            **described,
        )


def _count(option: Option) -> str | None:
    """Return argparse's ``nargs`` of a positional option."""
    if not option.is_list:
        return None
    return "+" if option.default is MISSING else "*"


def _metavar(option: Option) -> str:
    if option.choices:
        return "{" + ",".join(option.choices) + "}"
    if option.is_number:
        return option.unit.upper() or "N"
    return option.name.rpartition("_")[2].upper()


def _value_given(option: Option, flags: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, Any]:
    """Find the name by which a value was given, and the value; the name is empty if no value was given."""
    if flags.get(option.name) is not None:
        return option.flag, flags[option.name]
    if option.variable:
        for variable in (option.variable, option.display.fallback_variable):
            text = environ.get(variable)
            if text is not None and not (option.is_number and _SERVICE_LINK.fullmatch(text)):
                parts = [part.strip() for part in text.split(",") if part.strip()]
                return variable, parts if option.is_list else text
    return "", None


def _build(kind: type[T], values: Mapping[str, Any]) -> T:
    hints = get_type_hints(kind)
    return kind(
        **{
            field.name: _build(hints[field.name], values) if is_dataclass(hints[field.name]) else values[field.name]
            for field in fields(kind)  # type: ignore[arg-type]
        }
    )


def _plain(hint: Any) -> Any:
    """Strip a type of its limits and of None."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    return hint


def _limits(hint: Any) -> Meta:
    return next((fact for fact in get_args(hint) if isinstance(fact, Meta)), Meta())


def _is_path(hint: Any) -> bool:
    kind = _plain(hint)
    return Path in (kind, *get_args(kind))


def _convert_path(kind: type, value: Any) -> Any:
    return kind(value)


def _declaring(kind: type, name: str) -> type:
    """Find the class in whose body a field stands."""
    return next(each for each in kind.__mro__ if name in inspect.get_annotations(each))


def _title(group: type) -> str:
    return (inspect.getdoc(group) or group.__name__).partition("\n")[0].removesuffix(".")


@cache
def _docstrings(group: type) -> dict[str, str]:
    """Read the docstrings of a class's fields off its source; none if there is no source."""
    try:
        source = inspect.getsource(sys.modules[group.__module__])
    except (OSError, TypeError):
        return {}
    (declared,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == group.__name__
    )
    found = {}
    for field, text in pairwise(declared.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                found[name] = " ".join(inspect.cleandoc(docstring).partition("\n\n")[0].split()).removesuffix(".")
    return found

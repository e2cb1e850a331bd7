"""The mechanism by itself: dataclasses in, flags, variables, values, help and errors out."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from voxgender import options
from voxgender.errors import SettingsError
from voxgender.options import Display, FromEnvironment


@dataclass(frozen=True, kw_only=True)
class Oven(FromEnvironment):
    """Oven and its door.

    This paragraph is for readers of the code.
    """

    heat_s: Annotated[float, Meta(gt=0, le=100)] = 1.5
    """Time to heat,
    in seconds.

    This paragraph is for readers of the code.
    """
    port: Annotated[int, Meta(ge=1), Display(fallback_variable="PORT")] = 80
    """Door 100 % open."""
    racks: Annotated[tuple[str, ...], Display(unset="all")] = ()
    """Rack to use."""
    mode: Literal["fan", "grill"] = "fan"
    """Way of heating."""
    key: str = field(default="", repr=False)
    """Key of the door."""
    name: Annotated[str, Meta(pattern=r"^[a-z]*\Z"), Display(takes="small letters")] = ""
    """Name of the oven."""
    step: Annotated[int, Meta(ge=64, le=640, multiple_of=64)] = 64
    """Step."""


@dataclass(frozen=True, kw_only=True)
class Bake:
    """Options of baking."""

    files: Annotated[tuple[Path, ...], Display(metavar="FILE", positional=True)]
    """Recipe."""
    out: Path
    """Folder to write."""
    log: Path | None = None
    """File to log to."""
    quick: bool = False
    """Hurry."""
    oven: Oven = Oven(port=443)


def bake(flags: dict[str, object] | None = None, **environ: str) -> Bake:
    return options.read(Bake, {"files": ["a"], "out": "b"} | (flags or {}), environ)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="bake")
    options.add_arguments(made, Bake)
    return made


def test_nothing_given_leaves_the_defaults_of_the_command_and_then_of_the_group() -> None:
    made = bake()
    assert made == Bake(files=(Path("a"),), out=Path("b"))
    assert made.oven == Oven(port=443)
    assert Oven().port == 80


def test_a_flag_beats_the_environment_and_that_the_default() -> None:
    assert bake(VOXGENDER_PORT="2").oven.port == 2
    assert bake({"port": "3"}, VOXGENDER_PORT="2").oven.port == 3
    assert bake({"port": None}, VOXGENDER_PORT="2").oven.port == 2


def test_another_variable_may_stand_in() -> None:
    assert bake(PORT="2").oven.port == 2
    assert bake(PORT="2", VOXGENDER_PORT="3").oven.port == 3
    with pytest.raises(SettingsError, match=r"^PORT takes a whole number of at least 1$"):
        bake(PORT="x")


def test_only_groups_that_want_it_are_read_from_the_environment() -> None:
    """``voxgender train --workers`` must not be set by the variable of ``voxgender serve --workers``."""
    assert bake(VOXGENDER_LOG="x", VOXGENDER_QUICK="1").log is None


def test_lists_are_separated_by_commas_in_the_environment_and_replaced_by_flags() -> None:
    assert bake(VOXGENDER_RACKS="one, two,").oven.racks == ("one", "two")
    assert bake(VOXGENDER_RACKS="").oven.racks == ()
    assert bake({"racks": ["a,b", "c"]}, VOXGENDER_RACKS="one").oven.racks == ("a,b", "c")


def test_texts_become_values_of_their_types() -> None:
    made = bake({"log": "x", "quick": True, "heat_s": "2", "mode": "grill", "step": "128"})
    assert (made.log, made.quick, made.oven.heat_s, made.oven.mode, made.oven.step) == (
        Path("x"),
        True,
        2.0,
        "grill",
        128,
    )


def test_a_text_is_taken_by_the_letter() -> None:
    """``--audio null`` would have played the test signal."""
    assert bake({"log": "null", "key": "null", "name": "none"}).log == Path("null")
    assert bake({"key": "null"}).oven.key == "null"


def test_a_path_may_have_a_name_that_is_no_text() -> None:
    assert bake({"files": ["\udcff"]}).files == (Path("\udcff"),)


@pytest.mark.parametrize(
    ("name", "value", "takes"),
    [
        ("heat_s", "0", "a number above 0 up to 100"),
        ("heat_s", "nan", "a number above 0 up to 100"),
        ("heat_s", "inf", "a number above 0 up to 100"),
        ("heat_s", "", "a number above 0 up to 100"),
        ("port", "1.5", "a whole number of at least 1"),
        ("port", {"a": 1}, "a whole number of at least 1"),
        ("racks", ["\udcff"], "text in UTF-8"),
        ("racks", [{"a": 1}], "text in UTF-8"),
        ("mode", "fry", "fan or grill"),
        ("key", "\udcff", "text in UTF-8"),
        ("key", object(), "text in UTF-8"),
        ("name", "A", "small letters"),
        ("step", "100", "a whole number from 64 to 640 in steps of 64"),
    ],
)
def test_a_value_that_is_not_allowed_is_one_sentence_without_the_value(name: str, value: object, takes: str) -> None:
    with pytest.raises(SettingsError) as caught:
        bake({name: value})
    assert str(caught.value) == f"--{name.replace('_', '-')} takes {takes}"
    assert caught.value.__suppress_context__
    if isinstance(value, str):
        with pytest.raises(SettingsError) as caught:
            bake({}, **{f"VOXGENDER_{name.upper()}": value})
        assert str(caught.value) == f"VOXGENDER_{name.upper()} takes {takes}"


def test_an_option_without_a_default_is_required() -> None:
    with pytest.raises(SettingsError, match=r"^--out is required$"):
        options.read(Bake, {"files": ["a"]}, {})


def test_a_name_that_is_not_declared_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="Bake has no option prot"):
        bake({"prot": "80"})


def test_the_help_is_made_of_docstring_limits_default_and_variable() -> None:
    text = " ".join(parser().format_help().split())
    for part in (
        "Oven and its door:",
        "--heat-s S Time to heat, in seconds (above 0 up to 100; default: 1.5) [VOXGENDER_HEAT_S]",
        "--port N Door 100 % open (of at least 1; default: 443) [VOXGENDER_PORT, else PORT]",
        "--racks RACKS Rack to use (default: all) [VOXGENDER_RACKS]",
        "--mode {fan,grill} Way of heating (default: fan) [VOXGENDER_MODE]",
        "--key KEY Key of the door [VOXGENDER_KEY]",
        "--out OUT Folder to write --log LOG File to log to --quick Hurry",
        "FILE Recipe",
    ):
        assert part in text
    assert "readers of the code" not in text


def test_the_parser_leaves_texts_as_they_are() -> None:
    arguments = vars(
        parser().parse_args(["--out", "o", "--port", "x", "--racks", "1", "--racks", "2", "--quick", "f", "g"])
    )
    assert {name: value for name, value in arguments.items() if value is not None} == {
        "out": "o", "port": "x", "racks": ["1", "2"], "quick": True, "files": ["f", "g"],
    }  # fmt: skip


def test_without_its_source_a_class_has_options_and_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_source(_: object) -> str:
        raise OSError

    options._docstrings.cache_clear()
    monkeypatch.setattr("inspect.getsource", no_source)
    try:
        assert "--port N" in parser().format_help()
        assert {option.help for option in options.options_of(Bake)} == {""}
    finally:
        options._docstrings.cache_clear()

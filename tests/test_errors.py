"""Errors are made where they are raised."""

import ast
import inspect
from pathlib import Path

from voxgender import errors
from voxgender.http.problem import Problem

PACKAGE = Path(__file__).parent.parent / "server" / "voxgender"
ERRORS = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}


def kept(source: str) -> list[str]:
    """Return the names in a module that are bound to one error for all who raise it."""
    return [
        ast.unparse(target)
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id in ERRORS | {Problem.__name__}
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
    ]


def test_no_module_keeps_an_error_to_raise_it_again_and_again() -> None:
    """Python adds to an error's traceback each time it is raised: one object for all kept the frames of all of them."""
    found = {path.name: names for path in PACKAGE.rglob("*.py") if (names := kept(path.read_text(encoding="utf-8")))}
    assert found == {}


def test_an_error_that_a_module_keeps_is_found() -> None:
    assert kept('GONE = StreamEnded("restarted", "Gone.")\nLIMIT = float("1")') == ["GONE"]

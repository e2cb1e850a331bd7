"""One word means one thing."""

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "server" / "voxgender"
TWICE = {"Phase"}
"""A call's ticks, and a part of a training: docs/glossary.md has both."""


def test_no_two_classes_have_the_same_name() -> None:
    """A caller was who opens a call and a program that places one; a window had three shapes."""
    names = Counter(
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(names) > 200
    assert {name for name, times in names.items() if times > 1} == TWICE

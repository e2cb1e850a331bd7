"""``docs/cases-and-attacks.md``: each line names a test that there is."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "cases-and-attacks.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


def test_each_line_names_a_test_that_there_is() -> None:
    known: dict[str, set[str]] = {}
    for path, name in NAMED:
        if path not in known:
            tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
            known[path] = {
                node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        assert name in known[path], f"{path} has no {name}"
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    rows = [line for line in lines if not line.startswith(("| what was done", "|---"))]
    assert all(re.search(r"\.py::\w+`|\.test\.js`", row) for row in rows)
    assert len(rows) > 60


def test_tests_of_the_client_that_are_named_exist() -> None:
    for name in re.findall(r"`(test/[\w.-]+\.test\.js)`", PAGE):
        assert (TESTS.parent / "client" / name).is_file(), name

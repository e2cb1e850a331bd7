"""Docstrings can be understood alone: they name their subject, and those of functions begin with a verb.

One in six began with a relative clause that had no subject ("What is heard now", "Where it is none"). ruff's rule D401
finds first lines with "The" and "A"; those are found here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "server" / "voxgender"
HEADLESS = re.compile(
    r"(All|As|At|By|Each|Every|For|From|How|In|Its|Nothing|Of|On|One|Since|That|To|Until|What|Whatever|When|Where|Wherever|"
    r"Whether|Which|Who|Whoever|Whose|Why|With)\b"
)
"""First words of a clause without a subject, or of a noun phrase where a verb belongs."""

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def documented(source: str) -> Iterator[tuple[Documented, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Documented) and (docstring := ast.get_docstring(node)):
            yield node, docstring


def headless(source: str) -> list[str]:
    return [docstring.splitlines()[0] for node, docstring in documented(source) if _is_headless(node, docstring)]


def _is_headless(node: Documented, docstring: str) -> bool:
    found = HEADLESS.match(docstring)
    # "One call over WebRTC" is a noun phrase, as a class may have.
    is_noun_phrase = isinstance(node, ast.ClassDef) and found is not None and found[1] == "One"
    return found is not None and not is_noun_phrase


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=str(path.relative_to(PACKAGE))) for path in sorted(PACKAGE.rglob("*.py"))],
)
def test_docstrings_have_a_subject_or_begin_with_a_verb(path: Path) -> None:
    assert headless(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("word", ["What", "Where", "Whoever", "Whether", "Of", "As", "Why", "That"])
def test_a_docstring_without_a_subject_is_found(word: str) -> None:
    assert headless(f'def function(): """{word} came."""') == [f"{word} came."]
    assert headless(f'"""{word} came."""') == [f"{word} came."]

"""Docstrings can be understood alone: they name their subject, and those of functions begin with a verb.

One in six began with a relative clause that had no subject ("What is heard now", "Where it is none"). ruff's rule D401
finds first lines with "The" and "A"; those are found here.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "server" / "voxgender"
HEADLESS = re.compile(
    r"(All|As|At|By|Each|Every|For|From|How|In|Its|Nothing|Of|On|One|Since|That|To|Until|What|Whatever|When|Where|Wherever|"
    r"Whether|Which|Who|Whoever|Whose|Why|With)\b"
)
"""First words of a clause without a subject, or of a noun phrase where a verb belongs."""

RELATIVE = re.compile(r"(Of|That|What|Whatever|Where|Wherever|Whether|Who|Whoever|Whose|Why)\b")
"""First words of a clause without a subject, whatever it describes: also the text below an attribute or a constant."""
ROOT = PACKAGE.parent.parent
SCRIPTS = [
    path
    for folder in ("client", "examples")
    for path in sorted((ROOT / folder).rglob("*.js"))
    if "node_modules" not in path.parts
]

COMMENT = re.compile(r"(Of|What|Whatever|Wherever|Whether|Who|Whoever|Whose|Which|Why)\b(?!.*\?$)")
"""First words of a comment that has no subject, unless it is a question."""

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


def descriptions(source: str) -> Iterator[str]:
    """Yield all docstrings, and all texts below attributes and constants."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text.strip()


def relative(source: str) -> list[str]:
    return [text.splitlines()[0] for text in descriptions(source) if RELATIVE.match(text)]


@pytest.mark.parametrize("folder", ["server", "tests", "tools"])
def test_no_text_begins_with_a_clause_without_a_subject(folder: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in relative(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def comments(source: str) -> Iterator[str]:
    """Yield each comment of a Python module, of several lines the first."""
    last_row = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            is_alone = not token.line[:column].strip()
            if not is_alone or row != last_row + 1:
                yield token.string.lstrip("# ")
            last_row = row if is_alone else -1


@pytest.mark.parametrize("folder", ["server", "tests", "tools", "examples"])
def test_no_comment_begins_with_a_clause_without_a_subject(folder: str) -> None:
    """ "Of another version." leaves it to the reader what is."""
    found = {
        f"{path.relative_to(ROOT)}: {comment}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for comment in comments(path.read_text(encoding="utf-8"))
        if COMMENT.match(comment)
    }
    assert found == set()


def script_comments(source: str) -> Iterator[str]:
    """Yield the first line of each block comment of a script, and each comment of one line."""
    yield from re.findall(r"/\*\*?\s*(?:\*\s*)?(.*)", source)
    yield from re.findall(r"^[^'\"`\n]*?(?<![:\w])// (.*)", source, re.MULTILINE)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_comment_of_a_script_begins_with_a_clause_without_a_subject(path: Path) -> None:
    found = [comment for comment in script_comments(path.read_text(encoding="utf-8")) if COMMENT.match(comment)]
    assert found == []


def test_comments_without_a_subject_are_found() -> None:
    assert list(comments('a = "# no"  # Of old.\n# Whoever\n# comes\nb = 1\n')) == ["Of old.", "Whoever"]
    script = (
        "/**\n * Whether it is.\n * @returns x\n */\n/** Of each. */\nf(); // Who knows.\n// Whose\nu = 'http://x'\n"
    )
    assert [one for one in script_comments(script) if COMMENT.match(one)] == [
        "Whether it is.",
        "Of each. */",
        "Who knows.",
        "Whose",
    ]


def test_a_text_below_an_attribute_is_found() -> None:
    assert relative('class A:\n    x = 1\n    """Of all its parts."""\n') == ["Of all its parts."]


@pytest.mark.parametrize("word", ["What", "Where", "Whoever", "Whether", "Of", "As", "Why", "That"])
def test_a_docstring_without_a_subject_is_found(word: str) -> None:
    assert headless(f'def function(): """{word} came."""') == [f"{word} came."]
    assert headless(f'"""{word} came."""') == [f"{word} came."]

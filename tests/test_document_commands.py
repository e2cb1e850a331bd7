"""Commands, programs and lists of the documentation agree with the program, the Makefile and the client."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import voxgender
from voxgender.cli import parse

ROOT = Path(__file__).parents[1]
PAGES = [
    page
    for page in (
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").glob("*.md")),
        ROOT / "client" / "README.md",
    )
    if "node_modules" not in page.parts and page.name != "CHANGELOG.md"
]
MAKEFILE = (ROOT / "Makefile").read_text()


class Command(NamedTuple):
    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def commands() -> list[Command]:
    """Return each line of a block of code that runs something, without what it is piped to."""
    found = []
    for page in PAGES:
        fenced = False
        lines = iter(enumerate(page.read_text().splitlines(), 1))
        for number, line in lines:
            fenced ^= line.lstrip().startswith("```")
            text = line.strip().removeprefix("$ ")
            if not (fenced or line.startswith("    ")) or text.startswith(("```", "|", "-")):
                continue
            while text.endswith("\\"):
                text = text[:-1] + next(lines)[1].strip()
            for part in re.split(r" [|&>]+ ?|; ", re.sub(r"(^|\s)#\s.*", "", text)):
                try:
                    words = tuple(shlex.split(part.replace("…", "x")))
                except ValueError:
                    continue
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    found.append(Command(str(page.relative_to(ROOT)), number, words))
    return found


COMMANDS = commands()


def of(*names: str) -> list[Command]:
    return [command for command in COMMANDS if command.words[0].removeprefix(".venv/bin/") in names]


@pytest.mark.parametrize("command", of("voxgender"), ids=str)
def test_the_program_takes_every_command_of_the_pages(command: Command) -> None:
    parse(command.words[1:])


TARGETS = {match for page in PAGES for match in re.findall(r"(?:`|^ *)make ([a-z-]+)", page.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_of_the_pages_is_in_the_makefile(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("command", of("python", "python3"), ids=str)
def test_every_program_and_module_of_the_pages_is_there(command: Command) -> None:
    words = command.words[1:]
    if words[0] == "-m":
        module = words[1].replace(".", "/")
        if not module.startswith("tests/"):
            return
        assert (ROOT / f"{module}.py").is_file() or (ROOT / module / "__main__.py").is_file()
        if module == "tests/benchmarks" and len(words) > 2 and not words[2].startswith("-"):
            folder = ROOT / "tests/benchmarks"
            assert (folder / f"{words[2]}.py").is_file() or (folder / words[2]).is_dir()
    elif words[0].startswith(("tests/", "examples/", "tools/")):
        assert (ROOT / words[0]).is_file()


def test_there_are_commands() -> None:
    assert len(of("voxgender")) > 30
    assert len(TARGETS) > 10
    assert len(of("python", "python3")) > 5


class Program(NamedTuple):
    code: str
    output: str


def programs(page: str) -> list[Program]:
    """Return the whole programs of a page, each with what the page says that it prints."""
    blocks = re.findall(
        r"^```py\n(.*?)^```(?:(?:(?!^#|^```).)*?^```text\n(.*?)^```)?",
        (ROOT / page).read_text(),
        re.DOTALL | re.MULTILINE,
    )
    return [Program(*block) for block in blocks]


RECORDING, *OTHERS = programs("docs/recipes.md")
(PYAV,) = (program for program in OTHERS if "import av" in program.code)
"""Recipes of frameworks are run where these are: ``tests/integrations``."""
(TURNS,) = programs("docs/tutorial.md")


def run(program: Program, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", program.code], cwd=folder, capture_output=True, text=True, check=True
    ).stdout


def test_the_recipes_make_their_recording_and_pyav_reads_it(tmp_path: Path) -> None:
    assert run(RECORDING, tmp_path) == "voice.wav\n"
    assert run(PYAV, tmp_path) == PYAV.output != ""


def test_the_program_of_the_tutorial_prints_what_the_page_says(tmp_path: Path) -> None:
    assert run(TURNS, tmp_path) == TURNS.output != ""


def test_every_error_of_the_browser_client_is_explained() -> None:
    """A code that a program is told stands in one of the three lists that the page of troubles names."""
    words = (ROOT / "client/src/words.js").read_text()
    codes = set(re.findall(r"^  ([a-z_]+): \[", words, re.MULTILINE))
    codes |= set(re.findall(r"`([a-z_]+)`", (ROOT / "client/src/errors.js").read_text())) - {"code", "explain", "error"}
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("troubleshooting.md", "http-api.md", "protocol.md"))
    assert len(codes) > 30
    assert {code for code in codes if f"`{code}`" not in pages} == set()


def test_the_page_of_the_library_has_every_public_name() -> None:
    page = (ROOT / "docs/python-api.md").read_text()
    assert set(re.findall(r"^::: voxgender\.(\w+)$", page, re.MULTILINE)) == set(voxgender.__all__) - {"__version__"}

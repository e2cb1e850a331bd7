"""``docs/`` agrees with the code on options, metrics, limits and steps."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.metrics import MetricWrapperBase

from voxgender import metrics
from voxgender.media.livesession import Reason
from voxgender.protocol import LABELS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OPERATIONS = (DOCS / "operations.md").read_text()
README = (ROOT / "README.md").read_text()
SECURITY = (DOCS / "security.md").read_text()
ARCHITECTURE = (DOCS / "architecture.md").read_text()


def first_column(page: str, heading: str) -> list[str]:
    """The code words in the first column of the table under a heading row."""
    _, _, rest = page.partition(f"\n| {heading} |")
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    return [match[1] for row in rows if (match := re.match(r"\| `([^`]+)`", row))]


def test_the_table_of_options_is_current() -> None:
    check = subprocess.run(
        [sys.executable, "tools/options_table.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_every_metric_is_explained_and_nothing_more() -> None:
    names = [
        f"{metric._name}_total" if metric._type == "counter" else metric._name
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    ]
    assert sorted(first_column(OPERATIONS, "metric")) == sorted(names)


def test_every_way_a_call_ends_is_explained() -> None:
    assert first_column(OPERATIONS, "`reason`") == list(get_args(Reason))


def test_every_fate_of_a_packet_is_explained() -> None:
    assert set(first_column(OPERATIONS, "`fate`")) == set(metrics.PACKETS)
    assert all(f"`{label}`" in OPERATIONS for label in LABELS)


BOUNDS = re.findall(r"`(_?[A-Z_]+ = [^`]+)`[^|]*\| `([\w/]+\.py)` \|", SECURITY)


@pytest.mark.parametrize(("assignment", "path"), BOUNDS)
def test_every_bound_is_the_one_in_the_code(assignment: str, path: str) -> None:
    source = (ROOT / "server/voxgender" / path).read_text()
    assert re.search(rf"^{re.escape(assignment)}(?=\s|$)", source, re.MULTILINE)


EXPOSED = (
    "amrwb.py",
    "audiostream.py",
    "calloptions.py",
    "http/*.py",
    "media/**/*.py",
    "roster.py",
    "sdp/*.py",
    "webhooks/*.py",
)
"""Modules that strangers and callers reach first."""
FORMAT_SIZES = {("MAX_FRAME_BYTES", "amrwb.py"), ("MAX_REASON", "http/websocket.py")}
"""Sizes that a format has by itself, and that bound nothing."""


def test_every_bound_of_the_modules_that_strangers_reach_is_listed() -> None:
    package = ROOT / "server" / "voxgender"
    there = {
        (name, path.relative_to(package).as_posix())
        for pattern in EXPOSED
        for path in package.glob(pattern)
        for name in re.findall(r"^(MAX_[A-Z_]+) = ", path.read_text(), re.MULTILINE)
    }
    assert len(there) > 30
    assert there - FORMAT_SIZES - {(assignment.partition(" ")[0], path) for assignment, path in BOUNDS} == set()


@pytest.mark.parametrize(
    "page",
    [page for page in (*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))) if "node_modules" not in page.parts],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_between_the_documents_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^(    .*|```.*?^```)$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (page.parent / target).exists(), target


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
STEPS = re.findall(r"^\| \w+ \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", ARCHITECTURE, re.MULTILINE)


def functions_of(module: str) -> set[str]:
    names = set()
    for node in ast.parse((ROOT / "server/voxgender" / module).read_text()).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, FUNCTIONS)}
        elif isinstance(node, FUNCTIONS):
            names.add(node.name)
    return names


@pytest.mark.parametrize(("functions", "modules"), STEPS)
def test_every_step_of_the_walks_is_a_function_of_its_module(functions: str, modules: str) -> None:
    there = set().union(*(functions_of(module) for module in re.findall("`([^`]+)`", modules)))
    assert set(re.findall("`([^`]+)`", functions)) <= there


PACKAGE = ROOT / "server/voxgender"
SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text() for path in PACKAGE.rglob("*.py")
}
CLASSES: dict[str, str] = {}
for source in SOURCES.values():
    for name in re.findall(r"^class (\w+)", source, re.MULTILINE):
        CLASSES[name] = CLASSES.get(name, "") + source
NAMES = [
    pytest.param(owner, name, id=f"{page.name}-{owner}.{name}")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for owner, name in sorted(set(re.findall(r"`(?:voxgender\.)?([A-Za-z][\w.]*)\.(\w+)(?:\(\))?`", page.read_text())))
    if name not in ("py", "md") and owner in SOURCES.keys() | CLASSES.keys()
]


@pytest.mark.parametrize(("owner", "name"), NAMES)
def test_a_name_with_its_module_or_class_is_there(owner: str, name: str) -> None:
    """A page told of a function that had been given another name."""
    assert re.search(rf"\b{name}\b", SOURCES.get(owner) or CLASSES[owner])


def test_the_walks_have_steps() -> None:
    assert len(STEPS) > 20


def first_cells(page: str, heading: str) -> str:
    """The first cells of all tables under a heading."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE))


def test_every_package_has_its_purpose_in_the_map_and_nothing_else_has() -> None:
    package = ROOT / "server" / "voxgender"
    found = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/*.py")}
    listed = re.findall(r"`([\w/]+)`", first_cells(ARCHITECTURE, "Packages"))
    assert {name for name in listed if "/" not in name} == found - {"__init__", "__main__", "voxgender"}
    assert all((package / name).exists() for name in listed if "/" in name)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = sum((extras[name] for name in extras if name not in ("dev", "docs")), project["dependencies"])
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in needed}
    listed = set(re.findall(r"[\w-]+", first_cells(ARCHITECTURE, "Dependencies")))
    assert names - {"voxgender"} <= listed


def test_every_decision_has_its_number_and_its_date() -> None:
    for page in (DOCS / "decisions").glob("[0-9]*.md"):
        title, _, dates = page.read_text().splitlines()[:3]
        assert title.startswith(f"# {page.name[:4]}. ")
        assert re.fullmatch(r"\*\d{4}-\d\d-\d\d(, revised \d{4}-\d\d-\d\d)?\*", dates), page.name


NAMED = [
    (page, path)
    for page in sorted(DOCS.rglob("*.md"))
    for path in re.findall(r"`((?:tests|tools|server|client|examples)/[\w/.-]+\.\w+)`", page.read_text())
]


@pytest.mark.parametrize(("page", "path"), NAMED, ids=[f"{page.name}-{path}" for page, path in NAMED])
def test_files_that_are_named_exist(page: Path, path: str) -> None:
    assert (ROOT / path).is_file() or (page.parent / path).is_file()


def test_the_index_of_decisions_has_every_page() -> None:
    pages = DOCS / "decisions"
    linked = re.findall(r"\]\((\d{4}[^)]*)\)", (pages / "README.md").read_text())
    assert linked == sorted(page.name for page in pages.glob("[0-9]*.md"))


def test_the_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    """They stayed what they were when the tables were measured anew."""
    performance = (DOCS / "performance.md").read_text()
    tables = dict(re.findall(r"<!-- benchmark: (\w+) -->(.*?)<!-- /benchmark -->", performance, re.DOTALL))
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| `python -m tests.benchmarks (\w+)` \|$", README, re.MULTILINE)
    assert len(rows) > 3
    for figures, name in rows:
        measured = set(re.findall(r"\d+(?:\.\d+)?", tables[name] + tables["summary"]))
        assert set(re.findall(r"\b\d+(?:\.\d+)?", figures)) <= measured, figures


def test_the_site_and_its_list_for_programs_have_every_page() -> None:
    """A page that the navigation lacks is in no menu, and not in ``llms.txt``. Decisions are listed by their index."""
    listed = set(re.findall(r" ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {str(page.relative_to(DOCS)) for page in (*DOCS.glob("*.md"), *DOCS.glob("deployment/*.md"))}
    assert sorted(pages - listed) == []


def test_each_line_for_an_sdk_is_one_that_is_checked_against_the_sdk() -> None:
    """``make sdks`` checks and runs those of ``taps.ts``."""
    taps = (ROOT / "tests/sdks/src/taps.ts").read_text()
    lines = re.findall(r"^tap\(.*\);$", (DOCS / "embedding.md").read_text(), re.MULTILINE)
    assert len(lines) == 8
    assert [line for line in lines if line not in taps] == []

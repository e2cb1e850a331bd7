"""Write what was measured into the documents: ``python -m tests.benchmarks.page [--check]``.

Between ``<!-- benchmark: NAME -->`` and ``<!-- /benchmark -->`` stand plot and table of a benchmark's newest run, and
``summary`` sets all of them against what was to be reached. Plots go to ``docs/images``. ``--check`` writes nothing,
and ends with status 1 where a page is not current.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.tables import markdown

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "artifacts" / "benchmarks"
PAGES = tuple(ROOT / "docs" / name for name in ("performance.md", "reliability.md", "embedding.md"))
IMAGES = ROOT / "docs" / "images"

_BLOCK = re.compile(r"(<!-- benchmark: (\w+) -->\n).*?(<!-- /benchmark -->)", re.DOTALL)

Figures = dict[str, Any]


class Goal(NamedTuple):
    """One line of what was to be reached."""

    what: str
    benchmark: str
    limit: float
    unit: str
    read: Callable[[Figures], float | None]
    at_least: bool = False

    def is_reached(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def _ours(figures: Figures) -> float:
    return float(next(iter(figures["percent_per_call"].values())))


def _beside_fastrtc(figures: Figures) -> float | None:
    fastrtc = figures["percent_per_call"].get("FastRTC")
    return _ours(figures) / float(fastrtc) if fastrtc else None


def _row(start: str, voices: str, column: int) -> Callable[[Figures], float | None]:
    def read(figures: Figures) -> float | None:
        return next((row[column] for row in figures["rows"] if row[0].startswith(start) and row[1] == voices), None)

    return read


def _turn(kind: str, loss: float, column: int) -> Callable[[Figures], float | None]:
    def read(figures: Figures) -> float | None:
        return next((row[column] for row in figures["rows"] if row[:2] == [kind, loss]), None)

    return read


def _fault(name: str, key: str, percentile: str) -> Callable[[Figures], float | None]:
    def read(figures: Figures) -> float | None:
        report = figures["reports"].get(name)
        return None if report is None or report["not_recovered"] else (report[key] or {}).get(percentile)

    return read


def _growth(name: str) -> Callable[[Figures], float]:
    # Allocators and caches fill up during the first piece; what comes after it might never end.
    return lambda figures: float(figures[name][-1][1] - figures[name][0][1])


def _one_window(figures: Figures) -> float | None:
    return next((cell["ours_ms"] for cell in figures["cells"] if (cell["window_s"], cell["batch"]) == (1.0, 1)), None)


def _large_model(figures: Figures) -> float | None:
    return next(
        (
            cell["eager_ms"] / cell["ours_ms"]
            for cell in figures["cells"]
            if cell["model"] != "embedded" and (cell["precision"], cell["threads"], cell["batch"]) == ("int8", 2, 1)
        ),
        None,
    )


def _call_memory(figures: Figures) -> float:
    return float(next(iter(figures["rounds"].values()))[0]["server_memory_mb_per_call"])


def _model_memory(figures: Figures) -> float | None:
    """Growth from the smallest step to the largest that was held: what the model holds once is in both."""
    steps = [step for step in figures["steps"] if step["asked"] <= figures["calls_held"]]
    if len(steps) < 2:
        return None
    grown = steps[-1]["server_memory_mb"] - steps[0]["server_memory_mb"]
    return float(grown / (steps[-1]["asked"] - steps[0]["asked"]))


GOALS = (
    Goal("server CPU of a live call, model off", "media_plane", 0.45, "% of a core", _ours),
    Goal("the same, to FastRTC's in the same run", "media_plane", 0.22, "", _beside_fastrtc),
    Goal(
        "live calls held, embedded model, callers on the same cores",
        "held_calls",
        130,
        "",
        lambda f: f["calls_held"],
        True,
    ),
    Goal("result latency of one call, p50", "single_call", 60, "ms", _row("result", "synthesised", 3)),
    Goal("result latency of one call, p95", "single_call", 120, "ms", _row("result", "synthesised", 4)),
    Goal("result latency with 2 % loss, p95", "networks", 200, "ms", _fault("2 % loss", "latency_ms", "p95")),
    Goal(
        "in time again after an outage of 500 ms",
        "networks",
        1000,
        "ms",
        _fault("an outage of 500 ms", "recovery_ms", "max"),
    ),
    Goal("first decision after speech starts, p50", "single_call", 700, "ms", _row("first", "synthesised", 3)),
    Goal("the same, recorded voices", "single_call", 700, "ms", _row("first", "recorded", 3)),
    Goal("change heard after a new voice starts, p50", "single_call", 900, "ms", _row("change", "synthesised", 3)),
    Goal("the same, recorded voices", "single_call", 900, "ms", _row("change", "recorded", 3)),
    Goal("change heard in read speech, 2 % loss, p50", "turns", 900, "ms", _turn("read", 2.0, 4)),
    Goal("the same, p95", "turns", 1600, "ms", _turn("read", 2.0, 5)),
    Goal("false changes a minute of one reader, 2 % loss", "turns", 1, "", _turn("read", 2.0, 6)),
    Goal("embedded model, 1 s window, one thread, alone", "model", 2, "ms", _one_window),
    Goal(
        "wav2vec2-large, 1 s window, two threads, int8, beside torch eager",
        "model",
        2.5,
        "times as fast",
        _large_model,
        at_least=True,
    ),
    Goal("memory of a call, model off", "media_plane", 1.5, "MB", _call_memory),
    Goal("memory of a call, embedded model", "held_calls", 1.5, "MB", _model_memory),
    Goal("growth from the 20th to the 1,000th call", "memory", 10, "MB", _growth("waves_mb")),
    Goal("growth over the last 50 minutes of an hour's call", "memory", 2, "MB", _growth("hour_mb")),
)


def written(page: str, artifacts: Path) -> str:
    """The page with its tables current. What was not measured keeps the table that it has."""

    def fill(block: re.Match[str]) -> str:
        begin, name, end = block.groups()
        table = _table(name, artifacts)
        return block[0] if table is None else f"{begin}\n{table}\n\n{end}"

    return _BLOCK.sub(fill, page)


def _table(name: str, artifacts: Path) -> str | None:
    measured = {path.stem: json.loads(path.read_text()) for path in sorted(artifacts.glob("*.json"))}
    if name == "summary":
        return markdown(("what", "to reach", "measured", ""), _summary(measured)) if measured else None
    if name == "machine":
        return _machine(measured) if measured else None
    file, plot = artifacts / f"{name}.md", artifacts / f"{name}.svg"
    if not file.exists():
        return None
    table = file.read_text().rstrip()
    if plot.exists():
        title = re.search("<title>(.*)</title>", plot.read_text())
        return f"![{title[1] if title else name}](images/{_image(plot)})\n\n{table}"
    return table


def _image(plot: Path) -> str:
    return plot.name.replace("_", "-")


def _summary(measured: dict[str, Figures]) -> Iterator[tuple[str, ...]]:
    for goal in GOALS:
        sign = "≥" if goal.at_least else "≤"
        wanted = f"{sign} {_shown(goal.limit)} {goal.unit}".rstrip()
        figures = measured.get(goal.benchmark)
        value = None if figures is None else goal.read(figures)
        if value is None:
            yield goal.what, wanted, "–", "not measured"
        else:
            verdict = "reached" if goal.is_reached(value) else "**not reached**"
            yield goal.what, wanted, f"{_shown(value)} {goal.unit}".rstrip(), verdict


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _machine(measured: dict[str, Figures]) -> str:
    machine = next(iter(measured.values()))["machine"]
    loads = [figures["machine"]["load_average"][0] for figures in measured.values() if "machine" in figures]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"{machine['cores']} cores, {machine['cpu']} ({machine['simd']}), {machine['system']}, Python "
        f"{machine['python']}, {packages}. Load average before each benchmark: {min(loads):.2f} to {max(loads):.2f}."
    )


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m tests.benchmarks.page [--check]", file=sys.stderr)
        return 2
    stale = 0
    for path in PAGES:
        page = path.read_text()
        current = written(page, ARTIFACTS)
        if not arguments:
            path.write_text(current)
        elif current != page:
            print(f"docs/{path.name} is not current: run python -m tests.benchmarks.page", file=sys.stderr)
            stale = 1
    if arguments:
        return stale
    for plot in ARTIFACTS.glob("*.svg"):
        (IMAGES / _image(plot)).write_text(plot.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

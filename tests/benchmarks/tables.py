"""Tables that benchmarks return."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class Measured(NamedTuple):
    figures: dict[str, Any]
    """All of it, for programs."""
    table: str
    """The main figures, in Markdown."""
    plot: str = ""
    """The same as SVG, where there is something to see."""


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [_line(head), _line(["---"] * len(head)), *(_line([_cell(value) for value in row]) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
    return str(value)

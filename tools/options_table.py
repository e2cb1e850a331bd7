#!/usr/bin/env python3
"""Write the table of options into docs/operations.md, from voxgender.settings.

usage: .venv/bin/python tools/options_table.py [--check]

--check writes nothing and ends with status 1 where the table is not current.
"""

import re
import sys
from pathlib import Path

from voxgender.options import Option, options_of
from voxgender.settings import ROLES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
BEGIN, END = "<!-- options: tools/options_table.py writes this -->\n", "<!-- /options -->\n"


def table() -> str:
    roles: dict[str, dict[str, Option]] = {}
    for role, settings in ROLES.items():
        for option in options_of(settings):
            roles.setdefault(option.name, {})[role] = option
    lines = ["| option | environment | commands | default | unit | |", "|---|---|---|---|---|---|"]
    for of_roles in roles.values():
        option = next(iter(of_roles.values()))
        commands = "all" if len(of_roles) == len(ROLES) else ", ".join(of_roles)
        # The unit has a column of its own.
        text = re.sub(r", in (ms|seconds)(?=$|;)", "", option.help)
        cells = (f"`{option.flag}`", f"`{option.variable}`", commands, default(of_roles), option.unit, text)
        allowed = option.takes if option.choices else option.range
        lines.append(f"| {' | '.join(cells)}{allowed and f'; {allowed}'} |")
    return "\n".join(lines) + "\n"


def default(of_roles: dict[str, Option]) -> str:
    """One default for all roles, or each role's own."""
    shown = {role: code(option) for role, option in of_roles.items()}
    values = set(shown.values())
    return values.pop() if len(values) == 1 else ", ".join(f"{role} {value}" for role, value in shown.items())


def code(option: Option) -> str:
    if not option.default and option.shown_default == option.display.unset:
        return option.display.unset or "none"
    return f"`{option.shown_default}`"


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["--check"]):
        raise SystemExit("usage: tools/options_table.py [--check]")
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    current = before + BEGIN + "\n" + table() + "\n" + END + after
    if arguments and current != page:
        raise SystemExit("docs/operations.md is not current: run tools/options_table.py")
    PAGE.write_text(current)


if __name__ == "__main__":
    main(sys.argv[1:])

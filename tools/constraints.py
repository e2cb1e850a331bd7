#!/usr/bin/env python3
"""Pin what voxgender runs on, in constraints.txt, at the versions that are installed here.

usage: .venv/bin/python tools/constraints.py [--check]

--check writes nothing and ends with status 1 where a pin is missing or is not what is installed.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
FILE = PROJECT / "constraints.txt"
BEGIN, END = "# tools/constraints.py writes these\n", "# until here\n"


def pins() -> list[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    found: dict[tuple[str, str], str] = {}
    extras = project["optional-dependencies"]
    runs = (extras[name] for name in ("registry", "media", "checkpoints", "torch", "pool"))
    follow(chain(project["dependencies"], *runs), "", found)
    return sorted({f"{name}=={version}" for (name, _), version in found.items()})


def follow(requirements: Iterable[str], extra: str, found: dict[tuple[str, str], str]) -> None:
    """Add each requirement that applies here, and what it requires itself."""
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name == "voxgender":
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is not installed: run make setup first") from None
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in found:
                # A build's own mark (+cpu) is the index's affair.
                found[name, wanted] = installed.version.partition("+")[0]
                follow(installed.requires or (), wanted, found)


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["--check"]):
        raise SystemExit("usage: tools/constraints.py [--check]")
    text = FILE.read_text()
    before, _, rest = text.partition(BEGIN)
    written, _, after = rest.partition(END)
    current = "".join(f"{pin}\n" for pin in pins())
    if not arguments:
        FILE.write_text(before + BEGIN + current + END + after)
    elif stale := set(current.split()) - set(re.findall(r"^\S+==\S+$", written, re.MULTILINE)):
        raise SystemExit(f"constraints.txt is not current ({', '.join(sorted(stale))}): run tools/constraints.py")


if __name__ == "__main__":
    main(sys.argv[1:])

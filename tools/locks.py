#!/usr/bin/env python3
"""Write the lock files of the images: every package with its version and the hashes of its files.

usage: .venv/bin/python tools/locks.py [--check]

Versions are those of constraints.txt. pip takes such a file with --require-hashes, and then installs nothing else: no
file that was changed on its way or in the index, and no package that nobody has named. --check writes nothing, asks no
index, and ends with status 1 where a lock lacks a package, a hash or the version that is pinned.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.constraints import END, FILE, PROJECT, follow

LOCKS = PROJECT / "locks"
EXTRAS = {
    "signaling": ("registry",),
    "media": ("registry", "media"),
    "media-checkpoints": ("registry", "media", "checkpoints"),
    "media-checkpoints-torch": ("registry", "media", "checkpoints", "torch"),
}
"""The extras of each lock; the Dockerfile chooses one by its EXTRAS."""
BUILD = "build"
"""The lock of what the package is built with."""
_ENTRY = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+?)((?: *\\\n *--hash=sha256:[0-9a-f]{64})+)", re.MULTILINE)


def requirements(name: str) -> list[str]:
    """Return what a lock is made for."""
    if name == BUILD:
        return FILE.read_text().partition(END)[2].split("\n", 1)[1].split()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = (line for extra in EXTRAS[name] for line in project["optional-dependencies"][extra])
    return [*project["dependencies"], *(line for line in extras if not line.startswith("voxgender"))]


def locked(name: str) -> dict[str, str]:
    """Return the packages of a lock with their versions; only those that have hashes."""
    return {package: version for package, version, _ in _ENTRY.findall((LOCKS / f"{name}.txt").read_text())}


def write(name: str) -> None:
    compiler = ["uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"]
    (python,) = re.findall(r"^ARG PYTHON=(\d+\.\d+\.\d+)", (PROJECT / "Dockerfile").read_text(), re.MULTILINE)
    platform = ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
    command = [str(Path(sys.executable).parent / compiler[0]), *compiler[1:], *platform, "--constraint", str(FILE), "-"]
    made = subprocess.run(command, input="\n".join(requirements(name)), capture_output=True, text=True, check=False)
    if made.returncode:
        raise SystemExit(made.stderr)
    head = f"# tools/locks.py writes this. pip install --require-hashes --requirement locks/{name}.txt\n"
    (LOCKS / f"{name}.txt").write_text(head + made.stdout)


def faults(name: str) -> Iterable[str]:
    pinned = dict(re.findall(r"^([^#\s]\S*)==(\S+)$", FILE.read_text(), re.MULTILINE))
    found = locked(name)
    needed: dict[tuple[str, str], str] = {}
    if name != BUILD:
        follow(requirements(name), "", needed)
    for package in sorted({package for package, _ in needed} - found.keys()):
        yield f"{package} is missing"
    for package, version in found.items():
        # Packages that only a build for other graphics processors brings are not pinned.
        if pinned.get(package, version) != version:
            yield f"{package} is {version}, and pinned at {pinned[package]}"


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["--check"]):
        raise SystemExit("usage: tools/locks.py [--check]")
    for name in (*EXTRAS, BUILD):
        if not arguments:
            write(name)
        elif wrong := list(faults(name)):
            raise SystemExit(f"locks/{name}.txt is not current ({'; '.join(wrong)}): run tools/locks.py")


if __name__ == "__main__":
    main(sys.argv[1:])

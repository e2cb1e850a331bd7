"""Find the packages that an extra installs among those that are installed here."""

import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.artifacts import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def required(*extras: str) -> list[str]:
    """The distributions that ``pip install 'voxgender[extras]'`` brings."""
    wanted = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return list(_closure([*PROJECT["dependencies"], *wanted], set()))


def files(names: Iterable[str]) -> Iterator[tuple[Path, Path]]:
    """The files of distributions, each as its path below ``site-packages`` and its place here."""
    for name in names:
        for file in distribution(name).files or ():
            place = Path(str(file.locate()))
            if ".." not in file.parts and place.is_file():
                yield Path(file), place


def _closure(requirements: Iterable[str], seen: set[str]) -> Iterator[str]:
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        if name == "voxgender":
            for extra in requirement.extras:
                yield from _closure(PROJECT["optional-dependencies"][extra], seen)
        elif name not in seen and not (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            seen.add(name)
            yield name
            yield from _closure(distribution(name).requires or (), seen)

"""Read manifests: CSV files that list recordings and their labels."""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Literal, TextIO, TypeGuard, get_args

from voxgender.errors import ManifestError

ClipLabel = Literal["male", "female", "noise", "human-sound", ""]
"""Label of a recording, empty if it has none. Coughs, laughter and crying are ``human-sound``: noise for training, but
a row of its own in figures."""

Kind = Literal["female", "male", "noise"]
KINDS: tuple[Kind, ...] = ("female", "male", "noise")
"""Labels of the embedded model, in the order of its outputs."""

_MAX_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Clip:
    """A row of a manifest. Columns that the file lacks are empty; without speakers, each clip has one of its own."""

    path: Path
    label: ClipLabel
    split: str = ""
    speaker: str = ""
    corpus: str = ""
    language: str = ""

    @property
    def kind(self) -> Kind:
        """The model's label that is right for it."""
        if not self.label:
            raise ValueError(f"{self.path} has no label")
        return "noise" if self.label == "human-sound" else self.label


def read_manifest(path: str | PathLike[str]) -> list[Clip]:
    """Read the columns ``path`` and ``label``, and ``split``, ``speaker``, ``corpus``, ``language`` if they exist.

    Paths are relative to the manifest.

    Raises:
        ManifestError: it cannot be read, lacks a column, or names an unknown label or a missing file.
    """
    manifest = Path(path)
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(_lines(file, manifest))
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                columns = " and ".join(sorted(missing))
                raise ManifestError(f"{manifest}: no column {columns}; the first line has to name path,label")
            clips = [_clip(manifest, reader.line_num, row) for row in reader]
    except OSError as error:
        raise ManifestError(f"{manifest}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{manifest}: not a CSV file in UTF-8 ({error})") from None
    if not clips:
        raise ManifestError(f"{manifest}: lists no recording")
    return clips


@lru_cache(4096)
def digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal: a name for what is made of it, wherever the file lies."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def with_split(clips: Iterable[Clip], split: str) -> list[Clip]:
    return [clip for clip in clips if clip.split == split]


def _lines(file: TextIO, manifest: Path) -> Iterator[str]:
    """Yield lines, none of which is longer than memory: a device such as ``/dev/zero`` has one without end."""
    while line := file.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            raise ManifestError(f"{manifest}: not a CSV file in UTF-8 (a line has more than {_MAX_LINE} characters)")
        yield line


def _clip(manifest: Path, line: int, row: dict[str, str | None]) -> Clip:
    name, label = (row["path"] or "").strip(), (row["label"] or "").strip().lower()
    if not name:
        raise ManifestError(f"{manifest}, line {line}: no path")
    path = manifest.parent / name
    if not _is_label(label):
        raise ManifestError(f"{manifest}, line {line}: label {label!r} is none of male, female, noise")
    if not path.is_file():
        raise ManifestError(f"{manifest}, line {line}: {path}: no such file")
    return Clip(
        path,
        label,
        split=(row.get("split") or "").strip(),
        speaker=(row.get("speaker") or "").strip() or name,
        corpus=(row.get("corpus") or "").strip(),
        language=(row.get("language") or "").strip(),
    )


def _is_label(label: str) -> TypeGuard[ClipLabel]:
    return label in get_args(ClipLabel)

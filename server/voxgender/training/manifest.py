"""Manifests: a CSV that says where recordings are and what is heard in them."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal, TypeGuard, get_args

from voxgender.errors import ManifestError

Heard = Literal["male", "female", "noise", "human-sound", ""]
"""``human-sound`` is coughs, laughter, crying: noise to learn from, counted apart; empty is not labelled."""

Kind = Literal["female", "male", "noise"]
KINDS: tuple[Kind, ...] = ("female", "male", "noise")
"""What the embedded model tells apart, in the order of its outputs."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A row of the manifest. Columns that the file does not have are empty, and every clip its own speaker."""

    path: Path
    label: Heard
    split: str = ""
    speaker: str = ""
    corpus: str = ""
    language: str = ""

    @property
    def kind(self) -> Kind:
        """The output that should light up for it."""
        if not self.label:
            raise ValueError(f"{self.path} has no label")
        return "noise" if self.label == "human-sound" else self.label


def read_manifest(path: str | PathLike[str]) -> list[Clip]:
    """Read the columns ``path`` and ``label``, and of ``split``, ``speaker``, ``corpus``, ``language`` those
    that are there.

    Paths are relative to the manifest.

    Raises:
        ManifestError: it cannot be read, lacks a column, names an unknown label or a file that is not there.
    """
    manifest = Path(path)
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
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


def with_split(clips: Iterable[Clip], split: str) -> list[Clip]:
    return [clip for clip in clips if clip.split == split]


def _clip(manifest: Path, line: int, row: dict[str, str | None]) -> Clip:
    name, label = (row["path"] or "").strip(), (row["label"] or "").strip().lower()
    if not name:
        raise ManifestError(f"{manifest}, line {line}: no path")
    path = manifest.parent / name
    if not _is_heard(label):
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


def _is_heard(label: str) -> TypeGuard[Heard]:
    return label in get_args(Heard)

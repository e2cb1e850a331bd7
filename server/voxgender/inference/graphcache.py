"""Keep converted checkpoints on disk, so that each is converted once.

An entry is a folder ``KEY`` with the files of a graph and their digests, in the form of ``sha256sum``. It is written
under another name and renamed when it is whole, so several processes may write the same entry at once.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

logger = logging.getLogger(__name__)

MODEL, WEIGHTS = "model.onnx", "weights"
_SUMS = "SHA256SUMS"
_UNFINISHED = ".new-"
_ABANDONED_S = 3_600
"""Age of an unfinished entry whose process is surely gone."""
LIMIT_BYTES = 4 << 30


def cache_folder() -> Path:
    """Find the folder of the XDG base directory specification: ``$XDG_CACHE_HOME/voxgender/graphs``.

    Raises:
        OSError: the environment names none, and the user has no home directory.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification has relative paths ignored.
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError as error:
            raise OSError(f"no XDG_CACHE_HOME is set, and {error}") from error
    return base / "voxgender" / "graphs"


class GraphCache:
    """A folder of converted checkpoints, bounded in size: those that were not used for longest go first."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes

    def find(self, key: str) -> Path | None:
        """Find an entry's model, checked to be whole; a damaged entry is removed.

        Raises:
            OSError: the folder cannot be read.
        """
        entry = self.folder / key
        if not entry.is_dir():
            return None
        if not _is_whole(entry):
            logger.warning("%s is damaged: it is removed", entry)
            self.discard(key)
            return None
        with suppress(OSError):  # A cache that can only be read is as good.
            os.utime(entry)
        return entry / MODEL

    def store(self, key: str, write: Callable[[Path], None]) -> Path:
        """Add an entry, and return its model.

        Args:
            key: a name for a folder.
            write: writes ``model.onnx``, and ``weights`` beside it, into the folder that it is given.

        Raises:
            OSError: the folder cannot be written, or the disk is full. Nothing of the entry stays.
        """
        entry = self.folder / key
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=_UNFINISHED, dir=self.folder, ignore_cleanup_errors=True) as made:
            unfinished = Path(made) / key
            unfinished.mkdir()
            write(unfinished)
            sums = (f"{_digest(path)}  {path.name}\n" for path in sorted(unfinished.iterdir()))
            (unfinished / _SUMS).write_text("".join(sums), encoding="utf-8")
            try:
                unfinished.rename(entry)
            except OSError:
                # Another process was first, or there is a damaged one.
                if self.find(key) is None:
                    unfinished.rename(entry)
        self._prune(keep=entry)
        return entry / MODEL

    def discard(self, key: str) -> None:
        """Remove an entry at once, so that nobody finds half of it."""
        with (
            suppress(OSError),
            TemporaryDirectory(prefix=_UNFINISHED, dir=self.folder, ignore_cleanup_errors=True) as old,
        ):
            (self.folder / key).rename(Path(old) / key)

    def _prune(self, keep: Path) -> None:
        with suppress(OSError):
            for path in self.folder.glob(f"{_UNFINISHED}*"):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(path, ignore_errors=True)
            entries = sorted(self._entries(), key=lambda entry: (entry != keep, -entry.stat().st_mtime))
            size = 0
            for entry in entries:
                size += sum(file.stat().st_size for file in entry.iterdir())
                if size > self._limit_bytes and entry != keep:
                    self.discard(entry.name)

    def _entries(self) -> Iterator[Path]:
        return (path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_whole(entry: Path) -> bool:
    try:
        lines = (entry / _SUMS).read_text(encoding="utf-8").splitlines()
        digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        return MODEL in digests and all(_digest(entry / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

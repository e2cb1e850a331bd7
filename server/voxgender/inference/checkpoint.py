"""Read a checkpoint's files in the layout of transformers, without torch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voxgender.errors import ModelError
from voxgender.extras import advice
from voxgender.graphs.architecture import Weights

GRAPH = "voxgender.onnx"
"""File name of the graph that ``voxgender export`` writes beside a checkpoint."""

_CONFIG, _PREPROCESSING = "config.json", "preprocessor_config.json"
_SHARDS = "model-*-of-*.safetensors"
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_OLDER = "pytorch_model*.bin"
_WANTED = [_CONFIG, _PREPROCESSING, _SINGLE, _INDEX, _SHARDS, GRAPH]


class Unreadable(Exception):
    """The files are damaged, or in a layout that only transformers may know; the message says what is wrong."""


class Checkpoint(NamedTuple):
    """A directory that holds a model."""

    directory: Path
    config: dict[str, Any]
    """``config.json``, with integers as keys of ``id2label``."""
    preprocessing: dict[str, Any]
    weight_files: tuple[Path, ...]

    @property
    def normalise(self) -> bool:
        """True if each window is brought to zero mean and unit variance first."""
        return bool(self.preprocessing.get("do_normalize", True))

    def fingerprint(self) -> str:
        """Digest the configuration and the weights: 64 hexadecimal digits, independent of the directory's name.

        Raises:
            Unreadable: a file cannot be read.
        """
        texts = json.dumps([self.config, self.preprocessing], sort_keys=True)
        digest = hashlib.sha256(texts.encode())
        try:
            for path in self.weight_files:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise Unreadable(str(error)) from error
        return digest.hexdigest()

    def weights(self) -> Weights:
        """Open the weights. Each tensor is read when it is asked for.

        Raises:
            Unreadable: they are damaged, or not in safetensors.
            ModuleNotFoundError: the package ``safetensors`` is not installed.
        """
        if not all(path.suffix == ".safetensors" for path in self.weight_files):
            raise Unreadable("its weights are not in safetensors")
        return _SafeTensors(self.weight_files)


def check_files(directory: Path) -> None:
    """Check that a checkpoint's folder holds plain files: to open a named pipe would wait for ever.

    Raises:
        ModelError: it holds something else, or cannot be looked into.
    """
    try:
        odd = [path.name for path in directory.iterdir() if path.exists() and not (path.is_file() or path.is_dir())]
    except OSError as error:
        raise ModelError(f"model {directory}: cannot be read ({error.strerror})") from None
    if odd:
        raise ModelError(f"model {directory}: its {min(odd)} is no regular file")


def read(source: str) -> Checkpoint:
    """Read two JSON files, and find the weights.

    Args:
        source: a directory, or the id of a repository on the Hugging Face hub.

    Raises:
        Unreadable: something is missing, damaged or laid out in another way.
        ModelError: the repository cannot be fetched.
    """
    directory = Path(source)
    if not directory.is_dir():
        directory = _fetched(source)
    config = _json_object(directory / _CONFIG)
    preprocessing = _json_object(directory / _PREPROCESSING)
    try:
        # JSON has no numbers as keys.
        labels = {int(index): str(label) for index, label in config["id2label"].items()}
    except (AttributeError, KeyError, ValueError):
        raise Unreadable(f"{_CONFIG} has no id2label that names its outputs") from None
    return Checkpoint(directory, {**config, "id2label": labels}, preprocessing, _weight_files(directory))


def _fetched(repository: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as missing:
        raise ModelError(
            f"model {repository}: no such directory here, and fetching it from the hub {advice(missing)}"
        ) from missing
    try:
        return Path(snapshot_download(repository, allow_patterns=_WANTED))
    except Exception as error:  # errors of its HTTP client have no base class of the hub's
        raise ModelError(
            f"model {repository}: no such directory here, and not to be had from the hub ({_first_line(error)})"
        ) from error


def _json_object(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        # Half of a surrogate pair, which JSON can name and no file can hold.
        json.dumps(read, ensure_ascii=False).encode()
    except FileNotFoundError:
        raise Unreadable(f"it lacks {file.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{file.name} cannot be read ({_first_line(error)})") from error
    if not isinstance(read, dict):
        raise Unreadable(f"{file.name} holds no object")
    return read


def _weight_files(directory: Path) -> tuple[Path, ...]:
    if (single := directory / _SINGLE).is_file():
        return (single,)
    if (directory / _INDEX).is_file():
        try:
            names = sorted(set(_json_object(directory / _INDEX)["weight_map"].values()))
            outside = any(name != Path(name).name for name in names)
        except (AttributeError, KeyError, TypeError):
            raise Unreadable(f"{_INDEX} has no weight_map") from None
        if outside:
            raise ModelError(f"model {directory}: its {_INDEX} names files outside of it")
        return tuple(directory / name for name in names)
    if older := sorted(directory.glob(_OLDER)):
        return tuple(older)
    raise Unreadable(f"it lacks {_SINGLE}")


class _SafeTensors(Weights):
    """Reads each tensor when it is asked for, so that a large checkpoint never is in memory as a whole."""

    def __init__(self, files: Sequence[Path]) -> None:
        from safetensors import SafetensorError, safe_open

        self._damage = (OSError, SafetensorError)
        try:
            opened: list[Any] = [safe_open(file, framework="numpy") for file in files]
            self._file_of = {name: file for file in opened for name in file.keys()}  # noqa: SIM118 - no mapping
        except self._damage as error:
            raise Unreadable(f"its weights are damaged ({_first_line(error)})") from error

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        file = self._file_of[name]
        try:
            tensor: npt.NDArray[np.float32] = file.get_tensor(name).astype(np.float32, copy=False)
        except (*self._damage, TypeError) as error:
            raise Unreadable(f"its {name} cannot be read ({_first_line(error)})") from error
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip().rstrip(".")

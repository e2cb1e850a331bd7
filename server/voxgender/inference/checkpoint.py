"""A checkpoint's files in the layout of transformers, read without torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

Weights = Mapping[str, npt.NDArray[np.float32]]
"""By the names that transformers gives them."""

_CONFIG, _PREPROCESSING = "config.json", "preprocessor_config.json"
_SHARDS = "model-*-of-*.safetensors"
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_WANTED = [_CONFIG, _PREPROCESSING, _SINGLE, _INDEX, _SHARDS]


class Checkpoint(NamedTuple):
    """What a directory says of its model."""

    config: dict[str, Any]
    """With ``id2label`` from numbers."""
    preprocessing: dict[str, Any]
    weights: Weights


def read(source: str) -> Checkpoint | None:
    """Read the plain case: two JSON files, and weights as safetensors.

    Args:
        source: a directory, or the id of a repository on the Hugging Face hub.

    Returns:
        None for whatever else there is, or is damaged. transformers knows older layouts, and says what is wrong.
    """
    try:
        directory = Path(source)
        if not directory.is_dir():
            from huggingface_hub import snapshot_download

            directory = Path(snapshot_download(source, allow_patterns=_WANTED))
        config = _json_object(directory / _CONFIG)
        preprocessing = _json_object(directory / _PREPROCESSING)
        # JSON has no numbers as keys.
        labels = {int(index): str(label) for index, label in config["id2label"].items()}
        return Checkpoint({**config, "id2label": labels}, preprocessing, _SafeTensors(_weight_files(directory)))
    except (AttributeError, KeyError, OSError, TypeError, ValueError, SafetensorError):
        return None


def _json_object(file: Path) -> dict[str, Any]:
    read = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(read, dict):
        raise ValueError(f"{file.name} holds no object")
    return read


def _weight_files(directory: Path) -> Sequence[Path]:
    if (single := directory / _SINGLE).is_file():
        return [single]
    return [directory / name for name in sorted(set(_json_object(directory / _INDEX)["weight_map"].values()))]


class _SafeTensors(Weights):
    """Reads each tensor when it is asked for, so that a large checkpoint never is in memory as a whole."""

    def __init__(self, files: Sequence[Path]) -> None:
        opened: list[Any] = [safe_open(file, framework="numpy") for file in files]
        self._file_of = {name: file for file in opened for name in file.keys()}  # noqa: SIM118 - no mapping

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        tensor: npt.NDArray[np.float32] = self._file_of[name].get_tensor(name).astype(np.float32, copy=False)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)

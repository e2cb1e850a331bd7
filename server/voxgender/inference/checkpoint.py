"""Read a checkpoint's files in the layout of transformers, without torch.

Files are taken for hostile: JSON and safetensors hold data alone. A pickled ``pytorch_model.bin``, and the code that
``auto_map`` names, would be run: neither is ever loaded.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from voxgender.errors import ModelError, first_line
from voxgender.extras import advice
from voxgender.graphs.architecture import Architecture, Unconvertible, Weights

GRAPH = "voxgender.onnx"
"""File name of the graph that ``voxgender export`` writes beside a checkpoint."""

_CONFIG, _PREPROCESSING = "config.json", "preprocessor_config.json"
_SHARDS = "model-*-of-*.safetensors"
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_WANTED = [_CONFIG, _PREPROCESSING, _SINGLE, _INDEX, _SHARDS, GRAPH]
_UNNAMED = {"0": "LABEL_0", "1": "LABEL_1"}
"""Labels that transformers takes for a missing ``id2label``."""
_MAX_JSON_BYTES = 16 << 20
_LARGEST = {
    **dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers"), 512),
    **dict.fromkeys(("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"), 1_024),
    **dict.fromkeys(("num_conv_pos_embeddings", "num_conv_pos_embedding_groups"), 4_096),
    **dict.fromkeys(("hidden_size", "d_model", "classifier_proj_size"), 16_384),
    **dict.fromkeys(("conv_dim", "conv_kernel", "conv_stride"), 16_384),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim"), 131_072),
}
"""Sizes in a configuration, far above those of any network: one of 10^7 layers would be made for minutes."""


class Unreadable(Exception):
    """The files are missing, damaged, or of a kind that is not loaded; the message says what is wrong."""


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
        """Open the weights. Each tensor is read, and checked to be finite, when it is asked for.

        Raises:
            Unreadable: they are damaged.
            ModuleNotFoundError: the package ``safetensors`` is not installed.
        """
        return _SafeTensors(self.weight_files)

    def check_size(self) -> None:
        """Check that the weights fit into memory.

        Raises:
            Unreadable: they do not, or cannot be read.
        """
        try:
            needed = sum(path.stat().st_size for path in self.weight_files)
        except OSError as error:
            raise Unreadable(str(error)) from error
        if needed > (memory := memory_bytes()):
            raise Unreadable(
                f"its weights take {needed / 1e9:.1f} GB, and this machine has {memory / 1e9:.1f} GB of memory"
            )
        with suppress(Unconvertible):
            told = Architecture.of(self.config).encoder_weights
            if needed < told:
                raise Unreadable(f"{_CONFIG} tells of {told} weights, and the files hold {needed} bytes")


def _check_files(directory: Path) -> None:
    """Check that a checkpoint's folder holds plain files: to open a named pipe would wait for ever.

    Raises:
        Unreadable: it holds something else, or cannot be looked into.
    """
    try:
        odd = [path.name for path in directory.iterdir() if path.exists() and not (path.is_file() or path.is_dir())]
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    if odd:
        raise Unreadable(f"its {min(odd)} is no regular file")


def read(source: str, revision: str = "") -> Checkpoint:
    """Read two JSON files, and find the weights.

    Args:
        source: a directory, or the id of a repository on the Hugging Face hub.
        revision: the repository's branch, tag or commit; empty for its main branch.

    Raises:
        Unreadable: something is missing, damaged or of a kind that is not loaded.
        ModelError: the repository cannot be fetched.
    """
    directory = Path(source)
    if not directory.is_dir():
        directory = _fetched(source, revision)
    _check_files(directory)
    config = _json_object(directory / _CONFIG)
    for name, largest in _LARGEST.items():
        told = config.get(name, largest)
        for size in told if isinstance(told, list) else [told]:
            if type(size) is not int or not 0 < size <= largest:
                raise Unreadable(f"{_CONFIG} has a {name} that no network has")
    preprocessing = _json_object(directory / _PREPROCESSING)
    try:
        # JSON has no numbers as keys.
        labels = {int(index): str(label) for index, label in config.get("id2label", _UNNAMED).items()}
    except (AttributeError, ValueError):
        raise Unreadable(f"{_CONFIG} has no id2label that names its outputs") from None
    return Checkpoint(directory, {**config, "id2label": labels}, preprocessing, _weight_files(directory))


def memory_bytes() -> int:
    """Return the size of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _fetched(repository: str, revision: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as missing:
        raise ModelError(
            f"model {repository}: no such directory here, and fetching it from the hub {advice(missing)}"
        ) from missing
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_WANTED))
    except Exception as error:  # errors of its HTTP client have no base class of the hub's
        raise ModelError(
            f"model {repository}: no such directory here, and not to be had from the hub"
            f"{f' at revision {revision}' if revision else ''} ({first_line(error)})"
        ) from error


def _json_object(file: Path) -> dict[str, Any]:
    try:
        if (size := file.stat().st_size) > _MAX_JSON_BYTES:
            raise Unreadable(f"{file.name} is {size / 1e6:.0f} MB long; that is no configuration")
        read = json.loads(file.read_text(encoding="utf-8"))
        # Half of a surrogate pair, which JSON can name and no file can hold.
        json.dumps(read, ensure_ascii=False).encode()
    except FileNotFoundError:
        raise Unreadable(f"it lacks {file.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{file.name} cannot be read ({first_line(error)})") from error
    if not isinstance(read, dict):
        raise Unreadable(f"{file.name} holds no object")
    return read


def _weight_files(directory: Path) -> tuple[Path, ...]:
    if (single := directory / _SINGLE).is_file():
        return (single,)
    if (directory / _INDEX).is_file():
        try:
            names = sorted(set(_json_object(directory / _INDEX)["weight_map"].values()))
            files = tuple(directory / name for name in names)
        except (AttributeError, KeyError, TypeError):
            raise Unreadable(f"{_INDEX} has no weight_map") from None
        if any(file.suffix != ".safetensors" or file.parent != directory for file in files):
            raise Unreadable(f"{_INDEX} names files that are no safetensors beside it")
        return files
    raise Unreadable(
        f"it lacks {_SINGLE}; pickled weights (pytorch_model.bin) are not loaded, as they can hold any program: "
        "convert them to safetensors"
    )


class _SafeTensors(Weights):
    """Reads each tensor when it is asked for, so that a large checkpoint never is in memory as a whole."""

    def __init__(self, files: Sequence[Path]) -> None:
        # Only once it is imported does NumPy know of bfloat16.
        import ml_dtypes  # noqa: F401
        from safetensors import SafetensorError, safe_open

        self._damage = (OSError, SafetensorError)
        try:
            opened: list[Any] = [safe_open(file, framework="numpy") for file in files]
            self._file_of = {name: file for file in opened for name in file.keys()}  # noqa: SIM118 - no mapping
        except self._damage as error:
            raise Unreadable(f"its weights are damaged ({first_line(error)})") from error

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        file = self._file_of[name]
        try:
            tensor: npt.NDArray[np.float32] = file.get_tensor(name).astype(np.float32, copy=False)
        except (*self._damage, TypeError) as error:
            raise Unreadable(f"its {name} cannot be read ({first_line(error)})") from error
        if not np.isfinite(tensor).all():
            raise Unreadable(f"its {name} holds NaN or infinity, as after training that failed")
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)

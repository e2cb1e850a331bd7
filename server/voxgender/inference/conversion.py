"""Find a checkpoint's graph, or convert the checkpoint and keep the graph in a cache."""

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from voxgender.errors import ModelError
from voxgender.graphs import architecture as architecture_module
from voxgender.graphs.architecture import Architecture, Unconvertible, Weights
from voxgender.inference.checkpoint import GRAPH, Unreadable, read
from voxgender.inference.classifier import Precision
from voxgender.inference.graphcache import MODEL, WEIGHTS, GraphCache, cache_folder
from voxgender.inference.runtime import OnnxNetwork
from voxgender.onnxsession import VERSION
from voxgender.system import usable_cores
from voxgender.version import __version__

logger = logging.getLogger(__name__)

Start = Callable[[Path | bytes], OnnxNetwork]
"""Loads a graph with the number of threads that it is to have."""


def open_network(
    config: Mapping[str, Any],
    weights: Callable[[], Weights],
    *,
    normalise: bool,
    fingerprint: str = "",
    exported: Path | None = None,
    precision: Precision = "auto",
    threads: int = 1,
    always_threads: bool = False,
) -> OnnxNetwork:
    """Load the graph that was exported with a checkpoint or is in the cache; else make one.

    Args:
        config: as in ``config.json``.
        weights: opens the checkpoint's weights, if a graph has to be made.
        normalise: whether each window is brought to zero mean and unit variance first.
        fingerprint: fingerprint of the checkpoint; without one, nothing is kept.
        exported: a graph's file that may belong to the checkpoint.
        precision: number format of the encoder's matrix products; ``auto`` is int8 for large networks.
        threads: threads of one run of a large network. To wake threads for the short operations of a small one costs
            more than it saves: it has one thread a run, and two runs at once where there are two cores.
        always_threads: use the threads for a small network, too.

    Raises:
        Unconvertible: the graph knows no such architecture, or the weights do not fit it.
        Unreadable: the weights are damaged, or not in safetensors.
        ModuleNotFoundError: a graph has to be made, and a package that this takes is not installed.
    """
    shape = Architecture.of(config)
    int8 = shape.large if precision == "auto" else precision == "int8"
    runs = 1
    if not (shape.large or always_threads):
        threads, runs = 1, min(2, usable_cores())
    start = partial(OnnxNetwork, threads=threads, runs=runs)
    if exported and exported.is_file() and (network := _exported(exported, fingerprint, start, int8=int8)):
        return network

    def convert(external: BinaryIO | None) -> bytes:
        from voxgender.graphs.wav2vec2 import build

        model = build(shape, weights(), normalise=normalise, int8=int8, checkpoint=fingerprint, external=external)
        return bytes(model.SerializeToString())

    if fingerprint and (network := _cached(key(fingerprint, int8=int8), convert, start)):
        return network
    try:
        with TemporaryDirectory(prefix="voxgender-") as folder:
            _write(Path(folder), convert)
            return start(Path(folder) / MODEL)
    except OSError:
        return _in_memory(convert, start)


def export(directory: Path) -> None:
    """Write the graph of a checkpoint beside it, so that it starts without being converted.

    Raises:
        ModelError: a file is missing or damaged, or the graph knows no such architecture.
    """
    from voxgender.graphs.wav2vec2 import build

    try:
        found = read(str(directory))
        shape = Architecture.of(found.config)
        fingerprint = found.fingerprint()
        model = build(shape, found.weights(), normalise=found.normalise, int8=shape.large, checkpoint=fingerprint)
    except (Unreadable, Unconvertible) as reason:
        raise ModelError(f"{directory}: no graph can be made of it: {reason}") from reason
    unfinished = directory / f".{GRAPH}.{os.getpid()}"
    try:
        unfinished.write_bytes(model.SerializeToString())
        unfinished.replace(directory / GRAPH)
    finally:
        unfinished.unlink(missing_ok=True)


def _exported(file: Path, fingerprint: str, start: Start, *, int8: bool) -> OnnxNetwork | None:
    """Load an exported graph, if it belongs to the checkpoint and has the precision that is wanted."""
    try:
        network = start(file)
    except Unconvertible as reason:
        logger.warning("%s is not used: %s", file, reason)
        return None
    if network.checkpoint != fingerprint:
        logger.warning("%s is not used: it was made from other weights than those beside it", file)
        return None
    return network if network.precision == ("int8" if int8 else "fp32") else None


def _cached(key: str, convert: Callable[[BinaryIO | None], bytes], start: Start) -> OnnxNetwork | None:
    """Load the graph of a key from the cache; convert it first if it is missing. None if it cannot be kept."""
    try:
        cache = GraphCache(cache_folder())
        if (found := cache.find(key)) is not None:
            # Another process may remove the entry at this moment.
            with suppress(Unconvertible):
                return start(found)
            cache.discard(key)
        stored = cache.store(key, lambda folder: _write(folder, convert))
    except OSError as reason:
        logger.warning("the converted model is not kept, so that each start takes longer: %s", reason)
        return None
    try:
        return start(stored)
    except Unconvertible:
        cache.discard(key)
        return None


def key(fingerprint: str, *, int8: bool, runtime: str = VERSION, converter: str = __version__) -> str:
    """Hash all that a graph depends on, as the name of its entry in the cache.

    Args:
        fingerprint: fingerprint of the checkpoint.
        int8: whether the encoder's matrix products are in eight bits.
        runtime: version of ONNX Runtime.
        converter: version of voxgender; the converter's code is hashed, too.
    """
    graphs = Path(architecture_module.__file__).parent
    digest = hashlib.sha256(f"{fingerprint} {int8} {runtime} {converter}".encode())
    for source in sorted(graphs.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _write(folder: Path, convert: Callable[[BinaryIO | None], bytes]) -> None:
    # ONNX Runtime reads the weights of a file one by one; of a model in memory it holds several copies.
    with (folder / WEIGHTS).open("wb") as external:
        model = convert(external)
    (folder / MODEL).write_bytes(model)


def _in_memory(convert: Callable[[BinaryIO | None], bytes], start: Start) -> OnnxNetwork:
    from google.protobuf.message import EncodeError

    try:
        return start(convert(None))
    except (EncodeError, ValueError) as error:
        raise Unconvertible(f"it is too large to be converted in memory ({error})") from error

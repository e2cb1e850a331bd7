"""A checkpoint in ONNX Runtime: what wav2vec2 costs on a CPU, and no more.

One call into native code for a batch, the interpreter's lock released all the while; torch runs hundreds of small
operations a window, and takes the lock between them.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from voxgender.inference.checkpoint import Weights
from voxgender.inference.classifier import SAMPLE_RATE_HZ, Precision, Windows
from voxgender.inference.graph import PROBABILITIES, WINDOWS, Architecture, Unconvertible, build
from voxgender.onnxgraph import session

_LARGE = 10_000_000
"""Encoder weights; wav2vec2-base has 85 million."""
_TOGETHER = 8
"""Windows in one run. More are slower a window, as they outgrow the processor's caches, and keep more memory."""


class OnnxNetwork:
    """Windows to probabilities in the checkpoint's order of labels."""

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Weights,
        *,
        normalise: bool,
        precision: Precision = "auto",
        threads: int = 1,
    ) -> None:
        """Convert a checkpoint and load it; the first call is as fast as any.

        Args:
            config: as in ``config.json``.
            weights: by the names in the checkpoint's files.
            normalise: whether each window is brought to zero mean and unit variance first.
            precision: of the encoder's matrix products.
            threads: of one call of a large network, the calling thread among them. A small one takes one: threads
                that sleep and wake between its short operations cost more than they save.

        Raises:
            Unconvertible: another architecture than :mod:`~.graph` knows.
            OSError: a large network finds no room in the folder for temporary files.
        """
        architecture = Architecture.of(config)
        large = architecture.encoder_weights >= _LARGE
        self.precision: Precision = ("int8" if large else "fp32") if precision == "auto" else precision
        int8 = self.precision == "int8"
        threads = threads if large else 1
        if large:
            # From a file, ONNX Runtime takes the weights one by one; from memory, it holds them several times.
            with TemporaryDirectory(prefix="voxgender-") as folder:
                with (Path(folder) / "weights").open("wb") as external:
                    model = build(architecture, weights, normalise=normalise, int8=int8, external=external)
                file = Path(folder) / "model.onnx"
                file.write_bytes(model.SerializeToString())
                self._session = _session(str(file), threads)
        else:
            model = build(architecture, weights, normalise=normalise, int8=int8)
            self._session = _session(model.SerializeToString(), threads)
        self(np.zeros((1, SAMPLE_RATE_HZ), dtype=np.float32))

    def __call__(self, windows: Windows) -> npt.NDArray[np.float32]:
        """float32 ``(batch, samples)`` -> float32 ``(batch, labels)``."""
        parts = [
            self._session.run([PROBABILITIES], {WINDOWS: windows[start : start + _TOGETHER]})[0]
            for start in range(0, len(windows), _TOGETHER)
        ]
        return np.concatenate(parts)


def _session(model: str | bytes, threads: int) -> Any:
    try:
        return session(model, threads)
    except Exception as error:  # its exceptions have no base of their own
        raise Unconvertible(f"ONNX Runtime refuses it: {error}") from error

"""Run a checkpoint's graph in ONNX Runtime.

A batch is one call into native code, with the interpreter's lock released all the while; torch runs hundreds of small
operations a window, and takes the lock between them.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from voxgender.graphs.architecture import CHECKPOINT, PRECISION, PROBABILITIES, WINDOWS, Unconvertible
from voxgender.inference.classifier import SAMPLE_RATE_HZ, Windows
from voxgender.onnxsession import open_session

_TOGETHER = 8
"""Windows in one run. More take longer per window, as they outgrow the processor's caches, and more memory."""
_LEAST = 4
"""Windows for which a run on another thread pays."""


class OnnxNetwork:
    """Runs a graph. Probabilities are in the checkpoint's order of labels."""

    precision: str
    """``fp32`` or ``int8``, of the encoder's matrix products."""
    checkpoint: str
    """Fingerprint of the checkpoint that the graph was made from."""

    def __init__(self, model: Path | bytes, *, threads: int = 1, runs: int = 1) -> None:
        """Load a graph; the first call is as fast as any.

        Args:
            model: a file that :mod:`voxgender.graphs.wav2vec2` wrote, or what it holds. From a file, ONNX Runtime takes
                the weights of a large network one by one; from memory, it holds them several times.
            threads: number of threads of one run.
            runs: number of runs at once, each on a thread of its own, into which a batch is divided.

        Raises:
            Unconvertible: ONNX Runtime cannot read or run it.
        """
        try:
            self._session = open_session(model, threads)
            told = self._session.get_modelmeta().custom_metadata_map
            self.precision, self.checkpoint = told.get(PRECISION, ""), told.get(CHECKPOINT, "")
            # Four windows together take a sixth more a window in eight bits, and would share the scale of their inputs.
            self._together = 1 if self.precision == "int8" else _TOGETHER
            self._runs = runs
            self._others = ThreadPoolExecutor(max(1, runs - 1), thread_name_prefix="voxgender-model")
            self(np.zeros((1, SAMPLE_RATE_HZ), dtype=np.float32))
        except Exception as error:  # ONNX Runtime's exceptions have no base of their own
            raise Unconvertible(f"ONNX Runtime refuses it: {error}") from error

    def __call__(self, windows: Windows) -> npt.NDArray[np.float32]:
        """Classify windows: float32 ``(batch, samples)`` to float32 ``(batch, labels)``."""
        size = min(self._together, max(_LEAST, -(-len(windows) // self._runs)))
        first, *rest = (windows[start : start + size] for start in range(0, len(windows), size))
        if self._runs == 1:
            return np.concatenate([self._run(part) for part in (first, *rest)])
        others = [self._others.submit(self._run, part) for part in rest]
        return np.concatenate([self._run(first), *(other.result() for other in others)])

    def _run(self, windows: Windows) -> npt.NDArray[np.float32]:
        probabilities: npt.NDArray[np.float32] = self._session.run([PROBABILITIES], {WINDOWS: windows})[0]
        return probabilities

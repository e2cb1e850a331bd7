"""Write the speech gate's network, Silero VAD, for many calls at once.

The file of the package ``silero-vad`` takes the frames of one call. The same network, with the weights of that file, is
laid out anew here so that one run takes frames of many calls, as products of a few large matrices: a third of the time.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, numpy_helper

from voxgender.graphs.builder import Array, Graph

Floats = npt.NDArray[np.float32]

_SOURCE = "https://github.com/snakers4/silero-vad"
_CONTEXT, _FRAME = 64, 512
"""Samples before a frame that the network hears with it, and samples of a frame."""
_ROUNDING = 1e-6
"""Largest difference of two values of the spectrum's basis that ought to be the same."""
_HIDDEN = 128
"""Values of each of the two states."""


def build() -> ModelProto:
    """Build the network for frames of shape ``(n, calls, 64 + 512)`` and states of shape ``(1, calls, 128)``.

    Raises:
        ModuleNotFoundError: the package ``silero-vad`` is not installed.
    """
    weights = _weights()
    graph = Graph()
    # Spectrum of four overlapping pieces of a frame; the last reaches past its end, into its mirror image. The basis is
    # symmetric: each sample is added to the one at the same distance from the piece's other end for the cosines, and
    # subtracted for the sines. That halves both products.
    samples = _CONTEXT + _FRAME
    layer = graph.add("Reshape", "frames", graph.integers(-1, samples))
    ahead = _slice(graph, layer, 1, 1 + 4 * 128)
    # Backwards from the end of the mirror image, which is read forwards.
    back = graph.add(
        "Concat", _slice(graph, layer, _FRAME - 1, samples - 1), _slice(graph, layer, -1, 127 - samples, -1), axis=1
    )
    ahead, back = (graph.add("Reshape", one, graph.integers(-1, 4, 128)) for one in (ahead, back))
    back = graph.add("Gather", back, graph.constant(np.array([3, 2, 1, 0])), axis=1)
    cosines, sines = _folded(weights["stft.forward_basis_buffer"][:, 0])
    parts = [
        graph.add("MatMul", graph.add("Reshape", graph.add(sign, ahead, back), graph.integers(-1, 128)), matrix)
        for sign, matrix in (("Add", graph.constant(cosines)), ("Sub", graph.constant(sines)))
    ]
    real, imaginary = (graph.add("Mul", part, part) for part in parts)
    layer = graph.add("Sqrt", graph.add("Add", real, imaginary))
    # Convolutions over the four pieces, then two, then one. All places of the first share their weights: they are most
    # of the network's, and one large matrix of them would not stay in the cache.
    padded = graph.add("Pad", graph.add("Reshape", layer, graph.integers(-1, 4, 129)), graph.integers(0, 1, 0, 0, 1, 0))
    seen = graph.constant(np.array([(0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5)]))
    layer = graph.add("Reshape", graph.add("Gather", padded, seen, axis=1), graph.integers(-1, 3 * 129))
    first = weights["encoder.0.weight"].transpose(2, 1, 0).reshape(3 * 129, 128)
    layer = _dense(graph, layer, first, weights["encoder.0.bias"])
    layer = _convolution(graph, layer, weights, 1, pieces=4, stride=2)
    layer = _convolution(graph, layer, weights, 2, pieces=2, stride=2)
    layer = _convolution(graph, layer, weights, 3, pieces=1, stride=1)
    calls = graph.add("Slice", graph.add("Shape", "h"), graph.integers(1), graph.integers(3))
    layer = graph.add("Reshape", layer, graph.add("Concat", graph.integers(-1), calls, axis=0))
    recurrent = (weights["onnx::LSTM_209"], weights["onnx::LSTM_210"], weights["onnx::LSTM_211"])
    names = (graph.constant(value) for value in recurrent)
    layer, next_h, next_c = graph.add_many("LSTM", 3, layer, *names, "", "h", "c", hidden_size=_HIDDEN)
    layer = graph.add("MatMul", graph.add("Relu", layer), graph.constant(weights["output.weight"][0]))
    layer = graph.add("Sigmoid", graph.add("Add", layer, graph.constant(weights["output.bias"])))
    shape = graph.add("Slice", graph.add("Shape", "frames"), graph.integers(0), graph.integers(2))
    probabilities = graph.add("Reshape", layer, shape)
    state = (1, "calls", _HIDDEN)
    return graph.model(
        "voice-activity",
        inputs={"frames": ("n", "calls", samples), "h": state, "c": state},
        outputs={
            "probabilities": (probabilities, ("n", "calls")),
            "next_h": (next_h, state),
            "next_c": (next_c, state),
        },
        metadata={"source": _SOURCE, "license": "MIT"},
    )


def _slice(graph: Graph, layer: str, begin: int, end: int, step: int = 1) -> str:
    """Take some samples of each frame."""
    return graph.add("Slice", layer, *(graph.integers(number) for number in (begin, end, 1, step)))


def _folded(basis: Floats) -> tuple[Floats, Floats]:
    """Return the cosines and the sines of a spectrum for sums and differences of samples, each of shape ``(128, 129)``.

    Args:
        basis: of shape ``(258, 256)``, with a periodic window, whose first sample is zero.

    Raises:
        ValueError: the basis is not symmetric.
    """
    cosines, sines = basis[:129].T, basis[129:].T
    if (
        np.abs(basis[:, 0]).max() > _ROUNDING
        or np.abs(cosines[1:] - cosines[:0:-1]).max() > _ROUNDING
        or np.abs(sines[1:] + sines[:0:-1]).max() > _ROUNDING
    ):
        raise ValueError("The spectrum's basis is not symmetric.")
    # The sample in the middle is added to itself.
    middle = np.where(np.arange(1, 129) == 128, 0.5, 1.0).astype(np.float32)[:, np.newaxis]
    return cosines[1:129] * middle, sines[1:129] * middle


def _dense(graph: Graph, layer: str, matrix: Array, bias: Array) -> str:
    """Add a product, a bias and their ReLU; ONNX Runtime fuses the three."""
    return graph.add("Relu", graph.add("Gemm", layer, graph.constant(matrix), graph.constant(bias)))


def _convolution(graph: Graph, layer: str, weights: dict[str, Any], number: int, *, pieces: int, stride: int) -> str:
    """Add a convolution of width 3 over a frame's pieces, and its ReLU, as one product for all places.

    The matrix holds the weights for the pieces within a place's reach, and zeros for all others.
    """
    weight = weights[f"encoder.{number}.weight"]
    channels_out, channels_in, width = weight.shape
    places = range(0, pieces, stride)
    matrix = np.zeros((pieces, channels_in, len(places), channels_out), dtype=np.float32)
    for column, place in enumerate(places):
        for tap in range(width):
            # Pieces before the first and after the last are zero.
            if 0 <= place + tap - 1 < pieces:
                matrix[place + tap - 1, :, column] = weight[:, :, tap].T
    matrix = matrix.reshape(pieces * channels_in, len(places) * channels_out)
    layer = graph.add("Reshape", layer, graph.integers(-1, pieces * channels_in))
    return _dense(graph, layer, matrix, np.tile(weights[f"encoder.{number}.bias"], len(places)))


def _weights() -> dict[str, Any]:
    # The file is found without importing the package, which would import torch.
    package = find_spec("silero_vad")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'silero_vad'", name="silero_vad")
    path = Path(package.origin).with_name("data") / "silero_vad_16k_sequence.onnx"
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}

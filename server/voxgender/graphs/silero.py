"""Write the speech gate's network, Silero VAD, for many calls at once.

The file of the package ``silero-vad`` takes the frames of one call. The same network, with the weights of that file, is
laid out anew here so that one run takes frames of many calls, as products of a few large matrices: a third of the time.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from voxgender.graphs.builder import Array, Graph

_SOURCE = "https://github.com/snakers4/silero-vad"
_CONTEXT, _FRAME = 64, 512
"""Samples before a frame that the network hears with it, and samples of a frame."""
_HIDDEN = 128
"""Values of each of the two states."""


def build() -> ModelProto:
    """Build the network for frames of shape ``(n, calls, 64 + 512)`` and states of shape ``(1, calls, 128)``.

    Raises:
        ModuleNotFoundError: the package ``silero-vad`` is not installed.
    """
    weights = _weights()
    graph = Graph()
    # Spectrum of four overlapping pieces of a frame; the last reaches past its end, into its mirror image.
    samples = _CONTEXT + _FRAME
    layer = graph.add("Reshape", "frames", graph.integers(-1, samples))
    end = (samples - 2, samples - 2 - _CONTEXT)
    mirrored = graph.add("Slice", layer, *(graph.integers(number) for number in (*end, 1, -1)))
    # Copied by halves of pieces, not by samples: these copies would take as long as a product does.
    layer = graph.add("Reshape", graph.add("Concat", layer, mirrored, axis=1), graph.integers(-1, 5, 128))
    layer = graph.add("Gather", layer, graph.constant(np.array([(0, 1), (1, 2), (2, 3), (3, 4)])), axis=1)
    layer = graph.add("Reshape", layer, graph.integers(-1, 256))
    layer = graph.add("MatMul", layer, graph.constant(weights["stft.forward_basis_buffer"][:, 0].T))
    layer = graph.add("Mul", layer, layer)
    real, imaginary = graph.add_many("Split", 2, layer, graph.integers(129, 129), axis=1)
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

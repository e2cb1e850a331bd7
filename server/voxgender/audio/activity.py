"""The speech gate's network: Silero VAD (https://github.com/snakers4/silero-vad), for many calls at once.

The package's own ONNX file takes the frames of one call. The same network, with the weights of that file, is laid out
anew here so that one run takes frames of many calls, as products of a few large matrices: a third of the time.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples
from voxgender.onnxgraph import Array, Graph, session

FRAME = 512
"""Samples that one probability stands for: 32 ms."""
FRAME_S = FRAME / SAMPLE_RATE_HZ
CONTEXT = 64
"""Samples before a frame that the network hears with it."""

_AT_ONCE = 16
"""Calls in one run; more do not make it cheaper."""
_HIDDEN = 128


class State(NamedTuple):
    """The network's memory of one call, each float32 of shape ``(128,)``."""

    h: npt.NDArray[np.float32]
    c: npt.NDArray[np.float32]

    @classmethod
    def initial(cls) -> "State":
        return cls(np.zeros(_HIDDEN, dtype=np.float32), np.zeros(_HIDDEN, dtype=np.float32))


class Judgement(NamedTuple):
    """Speech probabilities of one call's frames, float32 of shape ``(n,)``, and the state after them."""

    probabilities: npt.NDArray[np.float32]
    state: State


class VoiceActivity:
    """One network for all calls, used from one thread at a time."""

    def __init__(self) -> None:
        self._session = session(_model())

    def __call__(self, frames: Sequence[Samples], states: Sequence[State]) -> list[Judgement]:
        """Judge frames of many calls.

        Args:
            frames: of each call those that follow one another, float32, shape ``(n, 64 + 512)``: each frame with the
                64 samples before it. ``n`` may differ, and may be zero.
            states: of each call what its last judgement gave, or ``State.initial()``.
        """
        judged = [Judgement(np.zeros(0, dtype=np.float32), state) for state in states]
        by_count: dict[int, list[int]] = {}
        for index, one in enumerate(frames):
            if one.shape[0]:
                by_count.setdefault(one.shape[0], []).append(index)
        for indices in by_count.values():
            for start in range(0, len(indices), _AT_ONCE):
                some = indices[start : start + _AT_ONCE]
                probabilities, h, c = self._session.run(
                    None,
                    {
                        "frames": np.stack([frames[index] for index in some], axis=1),
                        "h": np.stack([states[index].h for index in some])[np.newaxis],
                        "c": np.stack([states[index].c for index in some])[np.newaxis],
                    },
                )
                for place, index in enumerate(some):
                    judged[index] = Judgement(probabilities[:, place], State(h[0, place], c[0, place]))
        return judged


def _model() -> bytes:
    """The network for frames of shape ``(n, calls, 576)`` and states of shape ``(1, calls, 128)``, serialised."""
    weights = _weights()
    graph = Graph()
    # Spectrum of four overlapping pieces of a frame; the last reaches past its end, into its mirror image.
    samples = CONTEXT + FRAME
    layer = graph.add("Reshape", "frames", graph.integers(-1, samples))
    end = (samples - 2, samples - 2 - CONTEXT)
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
    model = graph.model(
        "voice-activity",
        inputs={"frames": ("n", "calls", samples), "h": state, "c": state},
        outputs={
            "probabilities": (probabilities, ("n", "calls")),
            "next_h": (next_h, state),
            "next_c": (next_c, state),
        },
    )
    return bytes(model.SerializeToString())


def _dense(graph: Graph, layer: str, matrix: Array, bias: Array) -> str:
    """A product, a bias and their ReLU, which ONNX Runtime makes one step of."""
    return graph.add("Relu", graph.add("Gemm", layer, graph.constant(matrix), graph.constant(bias)))


def _convolution(graph: Graph, layer: str, weights: dict[str, Any], number: int, *, pieces: int, stride: int) -> str:
    """A convolution of width 3 over a frame's pieces, and its ReLU, as one product for all places.

    Its matrix holds the weights where a piece is seen from a place, and zeros where not.
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
    # Found, not imported: the package would bring torch with it, which neither the gate nor `--model off` needs.
    package = find_spec("silero_vad")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).with_name("data") / "silero_vad_16k_sequence.onnx"
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}

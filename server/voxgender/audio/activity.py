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
    mirrored = np.concatenate((np.arange(samples), samples - 2 - np.arange(64)))
    pieces = np.stack([mirrored[start : start + 256] for start in range(0, 512, 128)])
    layer = graph.add("Reshape", "frames", graph.integers(-1, samples))
    layer = graph.add("Gather", layer, graph.constant(pieces.astype(np.int64)), axis=1)
    layer = graph.add("MatMul", layer, graph.constant(weights["stft.forward_basis_buffer"][:, 0].T))
    layer = graph.add("Mul", layer, layer)
    real, imaginary = graph.add_many("Split", 2, layer, graph.integers(129, 129), axis=2)
    layer = graph.add("Sqrt", graph.add("Add", real, imaginary))
    # Convolutions over the four pieces, then two, then one, each as one product.
    layer = _convolution(graph, layer, weights, 0, places=((-1, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4)))
    layer = _convolution(graph, layer, weights, 1, places=((-1, 0, 1), (1, 2, 3)))
    layer = _convolution(graph, layer, weights, 2, places=((-1, 0, 1),))
    layer = _convolution(graph, layer, weights, 3, places=((-1, 0, 1),))
    calls = graph.add("Slice", graph.add("Shape", "h"), graph.integers(1), graph.integers(3))
    layer = graph.add("Reshape", layer, graph.add("Concat", graph.integers(-1), calls, axis=0))
    recurrent = (weights["onnx::LSTM_209"], weights["onnx::LSTM_210"], weights["onnx::LSTM_211"])
    names = (graph.constant(value) for value in recurrent)
    layer, next_h, next_c = graph.add_many("LSTM", 3, layer, *names, "", "h", "c", hidden_size=_HIDDEN)
    layer = _dense(graph, graph.add("Relu", layer), weights["output.weight"][0], weights["output.bias"])
    shape = graph.add("Slice", graph.add("Shape", "frames"), graph.integers(0), graph.integers(2))
    probabilities = graph.add("Reshape", graph.add("Sigmoid", layer), shape)
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


def _dense(graph: Graph, layer: str, weights: Array, bias: Array) -> str:
    return graph.add("Add", graph.add("MatMul", layer, graph.constant(weights)), graph.constant(bias))


def _convolution(
    graph: Graph, layer: str, weights: dict[str, Any], number: int, *, places: tuple[tuple[int, int, int], ...]
) -> str:
    """A convolution of width 3 and its ReLU: at each of ``places`` the product of three pieces with the weights.

    Pieces before the first or after the last are zero.
    """
    weight = weights[f"encoder.{number}.weight"]
    channels_out, channels_in, width = weight.shape
    count = {0: 4, 1: 4, 2: 2, 3: 1}[number]
    padded = graph.add("Pad", layer, graph.integers(0, 1, 0, 0, 1, 0))
    taken = np.clip(np.array(places, dtype=np.int64) + 1, 0, count + 1)
    layer = graph.add("Gather", padded, graph.constant(taken), axis=1)
    layer = graph.add("Reshape", layer, graph.integers(-1, len(places), width * channels_in))
    products = weight.transpose(2, 1, 0).reshape(width * channels_in, channels_out)
    return graph.add("Relu", _dense(graph, layer, products, weights[f"encoder.{number}.bias"]))


def _weights() -> dict[str, Any]:
    # Found, not imported: the package would bring torch with it, which neither the gate nor `--model off` needs.
    package = find_spec("silero_vad")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).with_name("data") / "silero_vad_16k_sequence.onnx"
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}

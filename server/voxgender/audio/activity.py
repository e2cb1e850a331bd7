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
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from voxgender.audio.resampler import SAMPLE_RATE_HZ, Samples

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
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(_model(), options, providers=["CPUExecutionProvider"])

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


class _Graph:
    """An ONNX graph in the making; each operation gives the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: npt.ArrayLike) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def add(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        names = list(outputs) or [f"{kind}{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0]

    def dense(self, inputs: str, weights: npt.ArrayLike, bias: npt.ArrayLike) -> str:
        return self.add("Add", self.add("MatMul", inputs, self.constant(weights)), self.constant(bias))


def _model() -> bytes:
    """The network for frames of shape ``(n, calls, 576)`` and states of shape ``(1, calls, 128)``, serialised."""
    weights = _weights()
    graph = _Graph()
    # Spectrum of four overlapping pieces of a frame; the last reaches past its end, into its mirror image.
    samples = CONTEXT + FRAME
    mirrored = np.concatenate((np.arange(samples), samples - 2 - np.arange(64)))
    pieces = np.stack([mirrored[start : start + 256] for start in range(0, 512, 128)])
    layer = graph.add("Reshape", "frames", graph.integers(-1, samples))
    layer = graph.add("Gather", layer, graph.constant(pieces.astype(np.int64)), axis=1)
    layer = graph.add("MatMul", layer, graph.constant(weights["stft.forward_basis_buffer"][:, 0].T))
    layer = graph.add("Mul", layer, layer)
    graph.add("Split", layer, graph.integers(129, 129), outputs=("real", "imaginary"), axis=2)
    layer = graph.add("Sqrt", graph.add("Add", "real", "imaginary"))
    # Convolutions over the four pieces, then two, then one, each as one product.
    layer = _convolution(graph, layer, weights, 0, places=((-1, 0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4)))
    layer = _convolution(graph, layer, weights, 1, places=((-1, 0, 1), (1, 2, 3)))
    layer = _convolution(graph, layer, weights, 2, places=((-1, 0, 1),))
    layer = _convolution(graph, layer, weights, 3, places=((-1, 0, 1),))
    calls = graph.add("Slice", graph.add("Shape", "h"), graph.integers(1), graph.integers(3))
    layer = graph.add("Reshape", layer, graph.add("Concat", graph.integers(-1), calls, axis=0))
    recurrent = (weights["onnx::LSTM_209"], weights["onnx::LSTM_210"], weights["onnx::LSTM_211"])
    names = (graph.constant(value) for value in recurrent)
    layer = graph.add("LSTM", layer, *names, "", "h", "c", outputs=("y", "next_h", "next_c"), hidden_size=_HIDDEN)
    layer = graph.dense(graph.add("Relu", layer), weights["output.weight"][0], weights["output.bias"])
    shape = graph.add("Slice", graph.add("Shape", "frames"), graph.integers(0), graph.integers(2))
    graph.add("Reshape", graph.add("Sigmoid", layer), shape, outputs=("probabilities",))
    state: tuple[Any, ...] = (1, "calls", _HIDDEN)
    made = helper.make_graph(
        graph.nodes,
        "voice-activity",
        [_value("frames", ("n", "calls", samples)), _value("h", state), _value("c", state)],
        [_value("probabilities", ("n", "calls")), _value("next_h", state), _value("next_c", state)],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _convolution(
    graph: _Graph, layer: str, weights: dict[str, Any], number: int, *, places: tuple[tuple[int, int, int], ...]
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
    return graph.add("Relu", graph.dense(layer, products, weights[f"encoder.{number}.bias"]))


def _value(name: str, shape: Sequence[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _weights() -> dict[str, Any]:
    # Found, not imported: the package would bring torch with it, which neither the gate nor `--model off` needs.
    package = find_spec("silero_vad")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).with_name("data") / "silero_vad_16k_sequence.onnx"
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}

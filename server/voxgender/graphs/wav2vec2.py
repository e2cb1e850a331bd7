"""Write wav2vec2 for sequence classification as an ONNX graph, from a checkpoint's configuration and weights.

The arithmetic is that of transformers' ``Wav2Vec2ForSequenceClassification`` without an attention mask (Baevski et
al. 2020, https://arxiv.org/abs/2006.11477), and of its family: HuBERT (https://arxiv.org/abs/2106.07447), UniSpeech and
UniSpeech-SAT have the same layers, and WavLM (https://arxiv.org/abs/2110.13900) adds gated relative positions.

It is laid out for ONNX Runtime on a CPU: channels last from the first sample on, so that each strided convolution is
one matrix product over frames for the whole batch, and normalisation needs no transpose; fused attention; and the mean
over time before the projection, which commutes with it.
"""

from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from voxgender.graphs import filterbank
from voxgender.graphs.architecture import (
    CHECKPOINT,
    PRECISION,
    PROBABILITIES,
    WINDOWS,
    Activation,
    Architecture,
    Unconvertible,
    Weights,
)
from voxgender.graphs.builder import Graph
from voxgender.graphs.frames import unfold

_INT8_LIMIT = 63
"""Seven bits: on processors without VNNI two products of eight bits each overflow their sum of 16 bits."""
_CONV_EPSILON = 1e-5
_SPEECH_HEADS = ("gender", "classifier")
"""Names of a head of two layers: that of audEERING's age-and-gender models, and everybody else's."""


def build(
    architecture: Architecture,
    weights: Weights,
    *,
    normalise: bool,
    int8: bool = False,
    checkpoint: str = "",
    external: BinaryIO | None = None,
) -> ModelProto:
    """Build the graph.

    Args:
        architecture: the checkpoint's architecture.
        weights: by the names in the checkpoint's files.
        normalise: whether the graph brings each window to zero mean and unit variance first.
        int8: multiply by the encoder's linear layers in eight bits: weights symmetric, a scale each output; inputs
            asymmetric, a scale found for each call. Convolutions stay as they are.
        checkpoint: its fingerprint, kept in the model's metadata.
        external: a file called ``weights`` beside the model's that takes the large tensors; without it, they are in
            the model.

    Raises:
        Unconvertible: the weights do not fit the architecture.
    """
    metadata = {CHECKPOINT: checkpoint, PRECISION: "int8" if int8 else "fp32"}
    return _Network(architecture, weights, Graph(external), int8=int8).model(normalise, metadata)


class _Network:
    """The layers, in the order of the signal; each takes and gives the name of a ``(batch, time, channels)``."""

    def __init__(self, architecture: Architecture, weights: Weights, graph: Graph, *, int8: bool) -> None:
        self._is = architecture
        self._weights = weights
        self._graph = graph
        self._int8 = int8
        self._name = architecture.model_type.replace("-", "_")
        """Prefix of the weights' names."""
        self._bias_by_distance = ""

    def model(self, normalise: bool, metadata: dict[str, str]) -> ModelProto:
        graph = self._graph
        named = next((name for name in _SPEECH_HEADS if f"{name}.dense.weight" in self._weights), None)
        labels = self._shape(f"{named}.out_proj.bias" if named else "classifier.bias")[0]
        hidden = self._encoder(self._projection(self._feature_encoder(WINDOWS, normalise=normalise)))
        logits = self._speech_head(hidden, named, labels) if named else self._sequence_head(hidden, labels)
        return graph.model(
            self._name,
            inputs={WINDOWS: ("batch", "samples")},
            outputs={PROBABILITIES: (graph.add("Softmax", logits, axis=1), ("batch", labels))},
            metadata=metadata,
        )

    def _sequence_head(self, hidden: str, labels: int) -> str:
        """Add the head of transformers: a projection, its mean over time, a linear layer."""
        shape = self._is
        pooled = self._graph.add("ReduceMean", hidden, self._graph.integers(1), keepdims=0)
        projected = self._plain(pooled, *self._linear("projector", shape.hidden_size, shape.classifier_proj_size))
        return self._plain(projected, *self._linear("classifier", shape.classifier_proj_size, labels))

    def _speech_head(self, hidden: str, name: str, labels: int) -> str:
        """Add the head of two layers on pooled hidden states."""
        width = self._is.hidden_size
        pool = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax"}[self._is.pooling_mode or "mean"]
        pooled = self._graph.add(pool, hidden, self._graph.integers(1), keepdims=0)
        dense = self._graph.add("Tanh", self._plain(pooled, *self._linear(f"{name}.dense", width, width)))
        return self._plain(dense, *self._linear(f"{name}.out_proj", width, labels))

    def _feature_encoder(self, windows: str, *, normalise: bool) -> str:
        shape, graph = self._is, self._graph
        prefix = f"{self._name}.feature_extractor.conv_layers"
        variance = graph.constant(np.ones((1, 1), dtype=np.float32))
        if normalise:
            windows, variance = self._centred(windows)
        if bank := filterbank.find(shape, self._weights, prefix):
            first, channels, order = filterbank.LAYERS, bank.order.size, bank.order
            signal = bank.add_to(graph, windows, variance, _CONV_EPSILON)
        else:
            first, channels, order = 0, 1, np.arange(1)
            if normalise:
                windows = graph.add("Div", windows, graph.add("Sqrt", variance))
            signal = graph.add("Unsqueeze", windows, graph.integers(2))
        for index in range(first, len(shape.conv_dim)):
            name, width, kernel = f"{prefix}.{index}", shape.conv_dim[index], shape.conv_kernel[index]
            matrix = self._weight(f"{name}.conv.weight", width, channels, kernel)[:, order].transpose(2, 1, 0)
            bias = self._weight(f"{name}.conv.bias", width) if shape.conv_bias else None
            signal = unfold(graph, signal, channels, kernel, shape.conv_stride[index])
            signal = self._plain(signal, matrix.reshape(kernel * channels, width), bias)
            if shape.feat_extract_norm == "layer":
                signal = self._layer_norm(signal, f"{name}.layer_norm", width, _CONV_EPSILON)
            elif index == 0:
                signal = self._norm_over_time(signal, f"{name}.layer_norm", width)
            signal = self._activation(signal, shape.feat_extract_activation)
            channels, order = width, np.arange(width)
        return signal

    def _centred(self, windows: str) -> tuple[str, str]:
        """Add the windows without their mean, and their variance ``(batch, 1)``.

        ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` divides by the root of this variance.
        """
        add, samples = self._graph.add, self._graph.integers(1)
        centred = add("Sub", windows, add("ReduceMean", windows, samples))
        variance = add("ReduceMean", add("Mul", centred, centred), samples)
        return centred, add("Add", variance, self._graph.constant(1e-7))

    def _norm_over_time(self, signal: str, name: str, width: int) -> str:
        """Add a group norm with a group for each channel."""
        add = self._graph.add
        scale, bias = (self._graph.constant(self._weight(f"{name}.{part}", width)) for part in ("weight", "bias"))
        signal = add("Transpose", signal, perm=[0, 2, 1])
        signal = add("InstanceNormalization", signal, scale, bias, epsilon=_CONV_EPSILON)
        return add("Transpose", signal, perm=[0, 2, 1])

    def _projection(self, features: str) -> str:
        name, width = f"{self._name}.feature_projection", self._is.conv_dim[-1]
        if self._is.feat_proj_layer_norm:
            features = self._layer_norm(features, f"{name}.layer_norm", width)
        return self._multiply(features, *self._linear(f"{name}.projection", width, self._is.hidden_size))

    def _encoder(self, hidden: str) -> str:
        shape, add = self._is, self._graph.add
        name = f"{self._name}.encoder"
        hidden = add("Add", hidden, self._position(hidden, f"{name}.pos_conv_embed.conv"))
        layer = self._layer_norm_first if shape.do_stable_layer_norm else self._layer_norm_last
        if not shape.do_stable_layer_norm:
            hidden = self._layer_norm(hidden, f"{name}.layer_norm", shape.hidden_size)
        states = [hidden]
        for index in range(shape.num_hidden_layers):
            states.append(layer(states[-1], f"{name}.layers.{index}"))
        if not shape.use_weighted_layer_sum:
            if not shape.do_stable_layer_norm:
                return states[-1]
            return self._layer_norm(states[-1], f"{name}.layer_norm", shape.hidden_size)
        # transformers 5 sums up the last layer's output as it is, where transformers 4 normalised it.
        scores = np.exp(self._weight("layer_weights", len(states)))
        shares = scores / scores.sum()
        return add(
            "Sum", *(add("Mul", state, self._graph.constant(float(s))) for state, s in zip(states, shares, strict=True))
        )

    def _position(self, hidden: str, name: str) -> str:
        """Add the convolution that encodes a frame's position in the window."""
        shape, add = self._is, self._graph.add
        kernel, groups = shape.num_conv_pos_embeddings, shape.num_conv_pos_embedding_groups
        turned = add("Transpose", hidden, perm=[0, 2, 1])
        placed = add(
            "Conv",
            turned,
            self._graph.constant(self._position_weight(name, kernel, groups)),
            self._graph.constant(self._weight(f"{name}.bias", shape.hidden_size)),
            group=groups,
            # An even kernel would give one frame too many, so the last one is left out.
            pads=[kernel // 2, (kernel - 1) // 2],
        )
        return add("Transpose", self._activation(placed, shape.feat_extract_activation), perm=[0, 2, 1])

    def _position_weight(self, name: str, kernel: int, groups: int) -> npt.NDArray[np.float32]:
        """Return its weight, which is stored as norm and direction under the names of newer or older torch."""
        width = self._is.hidden_size
        full = (width, width // groups, kernel)
        for norm, direction in (
            (f"{name}.parametrizations.weight.original0", f"{name}.parametrizations.weight.original1"),
            (f"{name}.weight_g", f"{name}.weight_v"),
        ):
            if norm in self._weights:
                towards = self._weight(direction, *full)
                length = np.sqrt(np.square(towards).sum(axis=(0, 1), keepdims=True))
                merged: npt.NDArray[np.float32] = self._weight(norm, 1, 1, kernel) * (towards / length)
                return merged
        return self._weight(f"{name}.weight", *full)

    def _layer_norm_first(self, hidden: str, name: str) -> str:
        add, width = self._graph.add, self._is.hidden_size
        hidden = add("Add", hidden, self._attention(self._layer_norm(hidden, f"{name}.layer_norm", width), name))
        return add("Add", hidden, self._feed_forward(self._layer_norm(hidden, f"{name}.final_layer_norm", width), name))

    def _layer_norm_last(self, hidden: str, name: str) -> str:
        add, width = self._graph.add, self._is.hidden_size
        hidden = self._layer_norm(add("Add", hidden, self._attention(hidden, name)), f"{name}.layer_norm", width)
        return self._layer_norm(add("Add", hidden, self._feed_forward(hidden, name)), f"{name}.final_layer_norm", width)

    def _attention(self, hidden: str, layer: str) -> str:
        name, width = f"{layer}.attention", self._is.hidden_size
        matrices, biases = zip(*(self._linear(f"{name}.{part}_proj", width, width) for part in "qkv"), strict=True)
        together = self._multiply(hidden, np.concatenate(matrices, axis=1), np.concatenate(biases))
        parts = self._graph.add_many("Split", 3, together, axis=2, num_outputs=3)
        heads = self._is.num_attention_heads
        if self._is.model_type == "wavlm":
            # Fourth and fifth are a bias of the projections and a mask, which there are not.
            parts = [*parts, "", "", self._position_bias(hidden, name)]
        attended = self._graph.add("MultiHeadAttention", *parts, fused=True, num_heads=heads)
        return self._multiply(attended, *self._linear(f"{name}.out_proj", width, width))

    def _position_bias(self, hidden: str, name: str) -> str:
        """Add WavLM's bias of attention: by distance in frames, and gated by the frame that attends."""
        add, constant = self._graph.add, self._graph.constant
        heads = self._is.num_attention_heads
        width = self._is.hidden_size // heads
        if not self._bias_by_distance:
            self._bias_by_distance = self._distances(hidden, name, heads)
        # Each gate is the sum of four outputs of a linear layer, which is one output of summed weights.
        matrix, bias = self._linear(f"{name}.gru_rel_pos_linear", width, 8)
        gates = add("Reshape", hidden, self._graph.integers(0, 0, heads, width))
        gates = self._plain(gates, matrix.reshape(width, 2, 4).sum(axis=2), bias.reshape(2, 4).sum(axis=1))
        first, second = self._graph.add_many("Split", 2, add("Sigmoid", gates), axis=3, num_outputs=2)
        scale = self._weight(f"{name}.gru_rel_pos_const", 1, heads, 1, 1).reshape(1, 1, heads, 1)
        gate = add("Mul", first, add("Sub", add("Mul", second, constant(scale)), constant(1.0)))
        gate = add("Transpose", add("Add", gate, constant(2.0)), perm=[0, 2, 1, 3])
        return add("Mul", gate, self._bias_by_distance)

    def _distances(self, hidden: str, name: str, heads: int) -> str:
        """Add the bias of each head for each pair of frames, ``(heads, time, time)``, from a table by distance."""
        add, integers = self._graph.add, self._graph.integers
        most = self._is.max_bucket_distance
        embedding = self._weight(f"{name}.rel_attn_embed.weight", self._is.num_buckets, heads)
        table = embedding[_buckets(np.arange(-most, most + 1), self._is.num_buckets, most)].T
        time = add("Squeeze", add("Shape", hidden, start=1, end=2))
        frames = add("Range", self._graph.scalar(0), time, self._graph.scalar(1))
        distance = add("Sub", add("Unsqueeze", frames, integers(0)), add("Unsqueeze", frames, integers(1)))
        place = add("Add", add("Clip", distance, self._graph.scalar(-most), self._graph.scalar(most)), integers(most))
        return add("Gather", self._graph.constant(table), place, axis=1)

    def _feed_forward(self, hidden: str, layer: str) -> str:
        name, width, wide = f"{layer}.feed_forward", self._is.hidden_size, self._is.intermediate_size
        hidden = self._multiply(hidden, *self._linear(f"{name}.intermediate_dense", width, wide))
        hidden = self._activation(hidden, self._is.hidden_act)
        return self._multiply(hidden, *self._linear(f"{name}.output_dense", wide, width))

    def _layer_norm(self, hidden: str, name: str, width: int, epsilon: float | None = None) -> str:
        scale, bias = (self._graph.constant(self._weight(f"{name}.{part}", width)) for part in ("weight", "bias"))
        epsilon = self._is.layer_norm_eps if epsilon is None else epsilon
        return self._graph.add("LayerNormalization", hidden, scale, bias, axis=-1, epsilon=epsilon)

    def _activation(self, hidden: str, activation: Activation) -> str:
        return self._graph.add({"gelu": "Gelu", "relu": "Relu"}[activation], hidden)

    def _multiply(self, hidden: str, matrix: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> str:
        """Add a linear layer of the encoder; these layers hold nearly all weights, and take most of the time."""
        return self._quantised(hidden, matrix, bias) if self._int8 else self._plain(hidden, matrix, bias)

    def _plain(self, hidden: str, matrix: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None) -> str:
        product = self._graph.add("MatMul", hidden, self._graph.constant(matrix))
        return product if bias is None else self._graph.add("Add", product, self._graph.constant(bias))

    def _quantised(self, hidden: str, matrix: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> str:
        scales = np.maximum(np.abs(matrix).max(axis=0) / _INT8_LIMIT, np.finfo(np.float32).tiny)
        return self._graph.add(
            "DynamicQuantizeMatMul",
            hidden,
            self._graph.constant(np.rint(matrix / scales).astype(np.int8)),
            self._graph.constant(scales),
            "",
            self._graph.constant(bias),
            fused=True,
        )

    def _linear(self, name: str, inputs: int, outputs: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return matrix ``(inputs, outputs)`` and bias of a ``torch.nn.Linear``."""
        return self._weight(f"{name}.weight", outputs, inputs).T, self._weight(f"{name}.bias", outputs)

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self._weights:
            raise Unconvertible(f"it lacks {name}")
        return self._weights[name].shape

    def _weight(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        if name not in self._weights:
            raise Unconvertible(f"it lacks {name}")
        weight = self._weights[name]
        if weight.shape != shape:
            raise Unconvertible(f"its {name} has another shape than its configuration says")
        return weight


def _buckets(distances: npt.NDArray[np.int64], count: int, most: int) -> npt.NDArray[np.int64]:
    """Return the bucket of each distance, as T5 and WavLM have them: near ones singly, far ones by their logarithm."""
    half = count // 2
    exact = half // 2
    size = np.abs(distances)
    far = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact)) / np.float32(np.log(most / exact))
    grown = np.minimum(exact + (far * np.float32(half - exact)).astype(np.int64), half - 1)
    found: npt.NDArray[np.int64] = np.where(distances > 0, half, 0) + np.where(size < exact, size, grown)
    return found

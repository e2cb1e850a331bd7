"""Recognise first layers that are a bank of filters and its envelopes, as in the embedded model, to write them as such.

As convolutions, these two layers (:mod:`voxgender.training.network`) are half of a window's arithmetic. The first holds
each filter with both signs, the second multiplies by a matrix that is zero but for one band in each column. What
follows from that need not be computed:

- Of a filter's output ``y`` and of ``-y``, GELU makes ``y Φ(y) - y Φ(-y) = y erf(y / √2)``: half of the filters do.
- A filter that is the same backwards, or its own negative, takes the sum or the difference of a step's two halves.
- As filters of both signs cancel, layer normalisation has no mean to remove: it divides by a root mean square.
- The second layer is a sum over the filters of each band, and then a factor for each output.
- A factor of all filters' outputs, such as the window's loudness, acts on the norm's epsilon alone.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voxgender.graphs import frames
from voxgender.graphs.architecture import Architecture, Weights
from voxgender.graphs.builder import Graph

LAYERS = 2
"""Convolutions that a bank stands for, each with its layer norm and GELU."""

_Array = npt.NDArray[np.float32]
_ROUNDING = 1e-6
"""Relative difference of two numbers that are taken to be the same."""


class FilterBank(NamedTuple):
    """The arithmetic of the two layers.

    A step's input is ``a`` and ``b``, its first half and its second half backwards, of a window without its mean and of
    variance ``v``. With ``y = [(a + b) C, (a - b) S]``, it is ``u = y / √(p Σy² + ε v)``, then ``e = Σ u erf(u)`` over
    both filters of each band and some steps in a row, then ``GELU(e / √(Σe² + f ε) G + B)``.

    Attributes:
        even: ``C``, the first half of each band's symmetric filter, shape ``(kernel / 2, bands)``.
        odd: ``S``, that of its antisymmetric filter.
        power: ``p``.
        stride: samples from step to step.
        steps: steps in a row.
        floor: ``f``.
        gains: ``G``, shape ``(outputs of a band, bands)``.
        biases: ``B``, shape ``(outputs,)``, the first output of all bands first.
        order: number that each output has in the checkpoint, int64 ``(outputs,)``.
    """

    even: _Array
    odd: _Array
    power: float
    stride: int
    steps: int
    floor: float
    gains: _Array
    biases: _Array
    order: npt.NDArray[np.int64]

    def add_to(self, graph: Graph, windows: str, variance: str, epsilon: float) -> str:
        """Add the layers to a graph.

        Args:
            graph: takes the operations.
            windows: without their mean, ``(batch, samples)``.
            variance: that of each window, ``(batch, 1)``.
            epsilon: that of the layer norms.

        Returns:
            ``(batch, rows, outputs)``.
        """
        add, constant = graph.add, graph.constant
        filtered = self._filtered(graph, windows)
        power = add("Mul", _square_sum(graph, filtered), constant(self.power))
        least = add("Unsqueeze", add("Mul", variance, constant(epsilon)), graph.integers(2))
        filtered = add("Div", filtered, add("Sqrt", add("Add", power, least)))
        rectified = add("Mul", filtered, add("Erf", filtered))
        rows = add("Reshape", rectified, graph.integers(0, -1, 2 * self.steps, len(self.even.T)))
        envelopes = add("ReduceSum", rows, graph.integers(2), keepdims=0)
        level = add("Sqrt", add("Add", _square_sum(graph, envelopes), constant(self.floor * epsilon)))
        envelopes = add("Unsqueeze", add("Div", envelopes, level), graph.integers(2))
        outputs = add("Reshape", add("Mul", envelopes, constant(self.gains)), graph.integers(0, -1, self.gains.size))
        return add("Gelu", add("Add", outputs, constant(self.biases)))

    def _filtered(self, graph: Graph, windows: str) -> str:
        """Add the filters: ``(batch, steps, 2 * bands)``."""
        half = len(self.even)
        size = math.gcd(half, self.stride)
        blocks = frames.cut(graph, graph.add("Unsqueeze", windows, graph.integers(2)), 1, size)
        # To turn a block around as a slice would take longer than this product.
        backwards = graph.add("MatMul", blocks, graph.constant(np.eye(size, dtype=np.float32)[::-1]))
        steps, of_half = np.arange(self.steps) * self.stride // size, np.arange(half // size)
        first = frames.positions(graph, blocks, int(steps[-1]) + 2 * half // size, self.steps * self.stride // size)
        a = frames.gather(graph, blocks, first, np.add.outer(steps, of_half), half)
        b = frames.gather(graph, backwards, first, np.add.outer(steps, 2 * half // size - 1 - of_half), half)
        even = graph.add("MatMul", graph.add("Add", a, b), graph.constant(self.even))
        odd = graph.add("MatMul", graph.add("Sub", a, b), graph.constant(self.odd))
        return graph.add("Concat", even, odd, axis=2)


def find(architecture: Architecture, weights: Weights, prefix: str) -> FilterBank | None:
    """Return the bank that a network's convolutions begin with; None if they begin with anything else.

    Args:
        architecture: the checkpoint's architecture.
        weights: by the names in the checkpoint's files.
        prefix: name of the convolutions, before their number.
    """
    shape = architecture
    if (shape.feat_extract_norm, shape.feat_extract_activation) != ("layer", "gelu") or len(shape.conv_dim) <= LAYERS:
        return None
    first = _Layer.of(weights, f"{prefix}.0", (shape.conv_dim[0], 1, shape.conv_kernel[0]))
    second = _Layer.of(weights, f"{prefix}.1", (shape.conv_dim[1], shape.conv_dim[0], shape.conv_kernel[1]))
    if first is None or second is None or shape.conv_kernel[1] != shape.conv_stride[1]:
        return None
    filters, sums = first.weight[::2, 0], second.weight[:, ::2]
    of_both_signs = np.array_equal(filters, -first.weight[1::2, 0]) and np.array_equal(sums, second.weight[:, 1::2])
    scale = float(first.scale[0])
    if not of_both_signs or first.shift.any() or (first.scale != scale).any() or scale <= 0:
        return None
    # Each band has an even filter and an odd one, whose sum over all steps goes to outputs of its own.
    backwards = filters[:, ::-1]
    even, odd = (filters == backwards).all(axis=1), (filters == -backwards).all(axis=1)
    if filters.shape[1] % 2 or (even == odd).any() or (sums != sums[..., :1]).any():
        return None
    factors = sums[:, even, 0]
    outputs, bands_of = np.nonzero(factors)
    bands = factors.shape[1]
    if not (np.array_equal(factors, sums[:, odd, 0]) and np.array_equal(outputs, np.arange(shape.conv_dim[1]))):
        return None
    if np.ptp(np.bincount(bands_of, minlength=bands)):
        return None
    order = np.argsort(bands_of, kind="stable")
    order = order.reshape(bands, -1).T.reshape(-1)
    factors = factors[order, bands_of[order]].reshape(-1, bands).astype(np.float64)
    size = np.sqrt(np.square(factors).sum(axis=0) / len(outputs))
    mean = np.abs(factors.sum(axis=0)) / np.abs(factors).sum(axis=0)
    if mean.max() > _ROUNDING or np.ptp(size) > _ROUNDING * size[0]:
        return None
    half = filters.shape[1] // 2
    gains = factors / size * second.scale[order].reshape(factors.shape)
    return FilterBank(
        even=filters[even, :half].T * np.float32(scale / np.sqrt(2)),
        odd=filters[odd, :half].T * np.float32(scale / np.sqrt(2)),
        power=1 / (bands * scale**2),
        stride=shape.conv_stride[0],
        steps=shape.conv_stride[1],
        floor=1 / float(2 * size[0] ** 2),
        gains=gains.astype(np.float32),
        biases=second.shift[order],
        order=order,
    )


class _Layer(NamedTuple):
    """A convolution without a bias, and its layer norm."""

    weight: _Array
    scale: _Array
    shift: _Array

    @classmethod
    def of(cls, weights: Weights, name: str, shape: tuple[int, int, int]) -> "_Layer | None":
        """Return a layer; None if it has a bias or another shape, or is missing."""
        parts = ("conv.weight", "layer_norm.weight", "layer_norm.bias")
        found = [weights[f"{name}.{part}"] for part in parts if f"{name}.{part}" in weights]
        bias = weights.get(f"{name}.conv.bias")
        if [one.shape for one in found] != [shape, shape[:1], shape[:1]] or (bias is not None and bias.any()):
            return None
        return cls(*found)


def _square_sum(graph: Graph, signal: str) -> str:
    return graph.add("ReduceSum", graph.add("Mul", signal, signal), graph.integers(2))

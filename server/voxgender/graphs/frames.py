"""Unfold signals into the frames of a strided convolution, which then is one matrix product for a whole batch.

A signal is cut into blocks, the largest of which kernel and stride are multiples, and each frame gathers its own.
"""

import math

import numpy as np
import numpy.typing as npt

from voxgender.graphs.builder import Graph


def unfold(graph: Graph, signal: str, channels: int, kernel: int, stride: int) -> str:
    """Add a convolution's input at each step.

    Args:
        graph: takes the operations.
        signal: ``(batch, time, channels)``.
        channels: of the signal.
        kernel: samples of a frame.
        stride: samples from frame to frame.

    Returns:
        ``(batch, frames, kernel * channels)``.
    """
    size = math.gcd(kernel, stride)
    blocks = cut(graph, signal, channels, size)
    if size == kernel == stride:
        return blocks
    first = positions(graph, blocks, kernel // size, stride // size)
    return gather(graph, blocks, first, np.arange(kernel // size), kernel * channels)


def cut(graph: Graph, signal: str, channels: int, size: int) -> str:
    """Cut a signal ``(batch, time, channels)`` into blocks, and leave out its rest.

    Returns:
        ``(batch, blocks, size * channels)``.
    """
    if size == 1:
        return signal
    length = graph.add("Shape", signal, start=1, end=2)
    whole = graph.add("Sub", length, graph.add("Mod", length, graph.integers(size)))
    signal = graph.add("Slice", signal, graph.integers(0), whole, graph.integers(1))
    return graph.add("Reshape", signal, graph.integers(0, -1, size * channels))


def positions(graph: Graph, blocks: str, span: int, stride: int) -> str:
    """Add the first block of each frame that has all of its ``span`` blocks: int64 ``(frames, 1)``."""
    count = graph.add("Squeeze", graph.add("Shape", blocks, start=1, end=2))
    end = graph.add("Sub", count, graph.scalar(span - 1))
    first = graph.add("Range", graph.scalar(0), end, graph.scalar(stride))
    return graph.add("Unsqueeze", first, graph.integers(1))


def gather(graph: Graph, blocks: str, first: str, within: npt.NDArray[np.int64], width: int) -> str:
    """Put blocks side by side.

    Args:
        graph: takes the operations.
        blocks: ``(batch, blocks, size)``.
        first: position of each frame, ``(frames, 1)``.
        within: places of the blocks, counted from there, of any shape.
        width: samples of a row; those of a frame may fill several.

    Returns:
        ``(batch, rows, width)``.
    """
    places = graph.add("Add", first, graph.constant(within.reshape(1, -1)))
    return graph.add("Reshape", graph.add("Gather", blocks, places, axis=1), graph.integers(0, -1, width))

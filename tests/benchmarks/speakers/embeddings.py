"""Embed windows so that those of one speaker may lie together: by the shipped network, and by a speaker encoder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import Wav2Vec2ForSequenceClassification

from voxgender.audio.frames import Samples
from voxgender.inference.loading import EMBEDDED_DIRECTORY
from voxgender.training import encoder
from voxgender.training.network import normalised

Vectors = npt.NDArray[np.float32]
"""Shape ``(windows, size)``."""
Embed = Callable[[Sequence[Samples]], dict[str, Vectors]]

_BATCH = 32


def shipped() -> Embed:
    """Return what embeds windows by each layer of the shipped network.

    The names are ``input``, which is what the first layer of attention is given, ``layer 1`` and on, and ``projector``,
    which the labels are read from: means over the frames of a window. ``layers`` has the means and deviations of all.
    """
    _keep_to_one_thread()
    network: Any = Wav2Vec2ForSequenceClassification.from_pretrained(EMBEDDED_DIRECTORY, dtype=torch.float32)
    network.train(False)

    def embed(audio: Tensor) -> dict[str, Tensor]:
        hidden = network.wav2vec2(normalised(audio), output_hidden_states=True).hidden_states
        of_layers = {"input": hidden[0], **{f"layer {index}": one for index, one in enumerate(hidden[1:], 1)}}
        of_layers["projector"] = network.projector(hidden[-1])
        means = {name: frames.mean(dim=1) for name, frames in of_layers.items()}
        deviations = [frames.std(dim=1) for frames in of_layers.values()]
        return {**means, "layers": torch.cat([*means.values(), *deviations], dim=1)}

    return _batched(embed)


def resemblyzer() -> Embed:
    """Return what embeds windows by the pretrained speaker encoder that teaches the shipped network.

    Raises:
        SettingsError: its weights are not installed.
    """
    _keep_to_one_thread()
    network = encoder.pretrained()

    def embed(audio: Tensor) -> dict[str, Tensor]:
        level = audio.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-6)
        return {encoder.PACKAGE: network(audio * (10 ** (encoder.LEVEL_DB / 20) / level))}

    return _batched(embed)


def _keep_to_one_thread() -> None:
    """Networks as small as these lose by threads that wait for one another, most of all on a busy machine."""
    torch.set_num_threads(1)


def _batched(embed: Callable[[Tensor], dict[str, Tensor]]) -> Embed:
    @torch.inference_mode()
    def of_all(windows: Sequence[Samples]) -> dict[str, Vectors]:
        found: dict[str, Vectors] = {}
        for some in _of_one_size(windows):
            for name, vectors in embed(torch.from_numpy(np.stack([windows[index] for index in some]))).items():
                if name not in found:
                    found[name] = np.zeros((len(windows), vectors.shape[1]), np.float32)
                found[name][some] = vectors.numpy()
        return found

    return of_all


def _of_one_size(windows: Sequence[Samples]) -> Iterator[list[int]]:
    for size in {window.size for window in windows}:
        alike = [index for index, window in enumerate(windows) if window.size == size]
        for start in range(0, len(alike), _BATCH):
            yield alike[start : start + _BATCH]


class Projection:
    """A linear map by which cosines tell speakers apart, learnt from vectors of known speakers."""

    def __init__(self, mean: npt.NDArray[np.float64], matrix: npt.NDArray[np.float64]) -> None:
        """Take the point that becomes the origin, ``(size,)``, and the map, ``(size, to)``."""
        self._mean = mean
        self._matrix = matrix

    def __call__(self, vectors: Vectors) -> Vectors:
        """Project vectors ``(count, size)`` and scale them to length 1: ``(count, to)``."""
        return directions((vectors - self._mean) @ self._matrix)


def centring(vectors: Vectors) -> Projection:
    """Return the shift of the mean of ``vectors`` to the origin, as all cosines of hidden states are near 1."""
    return Projection(vectors.mean(axis=0), np.eye(vectors.shape[1]))


def discriminant(vectors: Vectors, speakers: Sequence[str], size: int) -> Projection:
    """Return the directions in which speakers differ most, as measured by how much each of them varies.

    This is linear discriminant analysis, scaled so that a speaker varies alike in all directions, as is usual where
    embeddings are compared by cosine (N. Dehak et al., Front-end factor analysis for speaker verification, 2011).

    Args:
        vectors: shape ``(count, …)``.
        speakers: who speaks in each.
        size: number of directions.
    """
    names, index, counts = np.unique(speakers, return_inverse=True, return_counts=True)
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    sums = np.zeros((len(names), vectors.shape[1]))
    np.add.at(sums, index, centred)
    of_speakers = sums / counts[:, None]
    within = centred - of_speakers[index]
    covariance = within.T @ within / max(1, len(vectors) - len(names))
    covariance += 0.01 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, axes = np.linalg.eigh(covariance)
    white = axes / np.sqrt(values)
    _, _, between = np.linalg.svd(of_speakers @ white, full_matrices=False)
    return Projection(mean, white @ between[:size].T)


def regression(vectors: Vectors, targets: Vectors) -> Projection:
    """Return the linear map from vectors to another network's embeddings of the same windows, by ridge regression."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    product = centred.T @ centred
    product += 0.01 * np.trace(product) / len(product) * np.eye(len(product))
    return Projection(mean, np.linalg.solve(product, centred.T @ (targets - targets.mean(axis=0))))


def directions(vectors: npt.NDArray[Any]) -> Vectors:
    """Scale vectors to length 1."""
    scaled: Vectors = (vectors / np.maximum(1e-9, np.linalg.norm(vectors, axis=-1, keepdims=True))).astype(np.float32)
    return scaled


def joined(of_parts: Sequence[Mapping[str, Vectors]]) -> dict[str, Vectors]:
    """Put the vectors of several recordings after one another."""
    return {name: np.concatenate([part[name] for part in of_parts]) for name in of_parts[0]}

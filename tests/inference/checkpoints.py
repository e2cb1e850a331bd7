"""Checkpoints with random weights, and what transformers makes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from voxgender.inference.classifier import Precision
from voxgender.inference.conversion import open_network
from voxgender.inference.runtime import OnnxNetwork

Make = Callable[..., Path]
Array = npt.NDArray[np.float32]

TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (400, 3),
    "conv_stride": (160, 2),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "vocab_size": 4,
}
LARGE_SHAPE: dict[str, Any] = {
    **TINY,
    "conv_dim": (8,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 128,
}
"""wav2vec2-large-xlsr-53 in everything but its widths."""
MANY_WEIGHTS: dict[str, Any] = {
    "hidden_size": 1_024,
    "num_hidden_layers": 1,
    "intermediate_size": 3_072,
    "num_conv_pos_embedding_groups": 16,
}
"""The smallest change to ``TINY`` that makes a network large: ten million weights in the encoder."""


def network(labels: tuple[str, ...] = ("female", "male"), **config: Any) -> Wav2Vec2ForSequenceClassification:
    """Random weights that leave no bias and no scale as it usually starts, and give :func:`voices` mixed verdicts."""
    torch.manual_seed(7)
    names = dict(enumerate(labels))
    shape = {**TINY, **config, "id2label": names, "label2id": {name: index for index, name in names.items()}}
    made = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**shape))
    made.eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
        torch.nn.init.normal_(made.classifier.weight)
        heard = torch.from_numpy(voices())
        logits = made((heard - heard.mean(1, keepdim=True)) / heard.std(1, keepdim=True)).logits
        scale = 1 / logits.std(dim=0).mean()
        made.classifier.bias.copy_((made.classifier.bias - logits.mean(dim=0)) * scale)
        made.classifier.weight.mul_(scale)
    return made


def weights_of(network: torch.nn.Module) -> dict[str, Array]:
    """Return a network's weights by name; they share its memory."""
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def converted(
    reference: Wav2Vec2ForSequenceClassification, *, precision: Precision = "auto", threads: int = 1
) -> OnnxNetwork:
    """The network as a graph, kept nowhere."""
    return open_network(
        reference.config.to_dict(), lambda: weights_of(reference), normalise=True, precision=precision, threads=threads
    )


def voices(samples: int = 16_000) -> Array:
    """Three windows that no network takes for the same."""
    random, at = np.random.default_rng(3), np.arange(samples) / 16_000
    hum = np.sin(2 * np.pi * np.outer((110, 400, 1_500), at)) * (1 + np.sin(2 * np.pi * np.outer((3, 5, 11), at)))
    return np.asarray(0.1 + 0.1 * hum + random.normal(0, 0.02, (3, samples)), dtype=np.float32)


def by_transformers(directory: Path, windows: Array) -> Array:
    """Probabilities in the order of the checkpoint, by the library's own preprocessing, one window at a time."""
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(directory)
    loaded = Wav2Vec2ForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = [
            loaded(**extractor(window, sampling_rate=16_000, return_tensors="pt")).logits[0] for window in windows
        ]
    found: Array = torch.stack(logits).softmax(dim=1).numpy()
    return found


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

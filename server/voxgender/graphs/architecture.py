"""Describe the wav2vec2 family and its graphs, for the code that writes graphs and the code that runs them."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

WINDOWS = "windows"
"""Input: float32, shape ``(batch, samples)``."""
PROBABILITIES = "probabilities"
"""Output: float32, shape ``(batch, labels)``, in the checkpoint's order."""
CHECKPOINT, PRECISION = "voxgender.checkpoint", "voxgender.precision"
"""Keys of the model's metadata: the fingerprint of the checkpoint it was made from, and ``fp32`` or ``int8``."""

Weights = Mapping[str, npt.NDArray[np.float32]]
"""A checkpoint's tensors, by the names that transformers gives them."""

Activation = Literal["gelu", "relu"]
Family = Literal["wav2vec2", "hubert", "unispeech", "unispeech-sat", "wavlm"]
Pooling = Literal["mean", "sum", "max"]

_LARGE = 10_000_000
"""Encoder weights; wav2vec2-base has 85 million."""


class Unconvertible(Exception):
    """A checkpoint cannot be written as a graph; the message says why."""


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a ``Wav2Vec2Config``, and those of its family, that shape the arithmetic, with their defaults."""

    model_type: Family = "wav2vec2"
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Activation = "gelu"
    layer_norm_eps: float = 1e-5
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: Activation = "gelu"
    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False
    use_weighted_layer_sum: bool = False
    classifier_proj_size: int = 256
    add_adapter: bool = False
    adapter_attn_dim: int | None = None
    pooling_mode: Pooling | None = None
    """Pooling before a head of two layers; None for the mean."""
    feat_proj_layer_norm: bool = True
    """HuBERT: whether features are normalised before their projection."""
    conv_pos_batch_norm: bool = False
    """HuBERT: whether positions are normalised over batches."""
    num_buckets: int = 320
    """WavLM: number of relative positions that attention tells apart."""
    max_bucket_distance: int = 800
    """WavLM: distance in frames from which all positions are one."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Architecture":
        """Read a ``config.json``.

        Raises:
            Unconvertible: it is of another architecture than the graph knows.
        """
        try:
            found = msgspec.convert(config, cls)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise Unconvertible(f"unusual configuration: {error}") from None
        if found.add_adapter or found.adapter_attn_dim is not None:
            raise Unconvertible("it has adapters")
        if found.conv_pos_batch_norm:
            raise Unconvertible("it normalises positions over batches")
        if not len(found.conv_dim) == len(found.conv_kernel) == len(found.conv_stride) > 0:
            raise Unconvertible("its convolutions are not told in full")
        return found

    @property
    def encoder_weights(self) -> int:
        """Count the weights of the encoder's linear layers, which are nearly all weights of all but small networks."""
        return self.num_hidden_layers * self.hidden_size * (4 * self.hidden_size + 2 * self.intermediate_size)

    @property
    def large(self) -> bool:
        """True if eight bits and several threads pay off."""
        return self.encoder_weights >= _LARGE

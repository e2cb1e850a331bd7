"""Build the compact wav2vec2 that is trained from scratch, with first layers that are filters and stay so."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from voxgender.training.manifest import KINDS

SAMPLE_RATE_HZ = 16_000
BANDS = 64
ROW = 320
"""Samples between two rows of envelopes."""

_PHASES = 4
_KERNEL = 512
_KERNELS, _STRIDES = (_KERNEL, 2, 3), (160, 2, 2)
_STEEPNESS = (1.0, 4.0, 16.0, 64.0, 256.0)
_KNEE = 1.5
_SIGNS = (float(len(_STEEPNESS)), *(-1.0 for _ in _STEEPNESS))

_FAINT = 1e-4
"""Scale of the input of layer normalisation, which divides by sqrt(variance + 1e-5): input this faint is multiplied by
a constant instead of being normalised."""
_LOUDER = 1e-5**0.5 / _FAINT
_RECTIFYING = 500.0
"""Factor by which GELU becomes a rectifier for bands down to 50 dB below the window's loudness."""


def build(*, hidden: int = 160, layers: int = 3) -> Wav2Vec2ForSequenceClassification:
    """Build a fresh network with ``KINDS`` as its labels and with fixed first layers that work a little like an ear.

    A few hundred speakers are not enough to learn the first two layers from raw waveforms, so these stay as they are
    made here. Their normalisation would make all frames equally loud, and so raise the noise in pauses to the level of
    the voice. Their input is so faint that it does not: the layers are linear but for GELU.

    - The first layer is a bank of band-pass filters (:func:`filter_bank`), each with both signs, which GELU rectifies.
    - The second adds up a band's phases to its envelope ``e``, relative to the window's loudness, and gives
      ``GELU(2 e)`` and ``GELU(1.5 - g e)`` for rising slopes ``g``, each of which bends at a lower level. Together they
      resolve 60 dB, much as the logarithm of ``e`` does. The first is fed in five times as strong and with the other
      sign, so that the normalisation has nothing to centre.
    """
    config = Wav2Vec2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=3 * hidden,
        conv_dim=(BANDS * _PHASES, BANDS * len(_SIGNS), hidden),
        conv_kernel=_KERNELS,
        conv_stride=_STRIDES,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=17,
        num_conv_pos_embedding_groups=8,
        classifier_proj_size=hidden,
        # The voices are augmented anew in each crop: so small a network cannot learn them by heart.
        apply_spec_augment=False,
        layerdrop=0.0,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        vocab_size=4,
        id2label={index: str(kind) for index, kind in enumerate(KINDS)},
        label2id={str(kind): index for index, kind in enumerate(KINDS)},
    )
    network = Wav2Vec2ForSequenceClassification(config)
    convolutions: Any = network.wav2vec2.feature_extractor.conv_layers
    first, second = convolutions[0], convolutions[1]
    signs = torch.tensor(_SIGNS)
    with torch.no_grad():
        first.conv.weight.copy_(_FAINT * torch.from_numpy(filter_bank())[:, None, :])
        first.conv.bias.zero_()
        first.layer_norm.weight.fill_(_RECTIFYING * _LOUDER)
        first.layer_norm.bias.zero_()
        envelopes = torch.zeros(BANDS, signs.numel(), BANDS, _PHASES, _KERNELS[1])
        for band in range(BANDS):
            envelopes[band, :, band] = signs[:, None, None]
        second.conv.weight.copy_(envelopes.view_as(second.conv.weight) * _FAINT / _RECTIFYING / _KERNELS[1])
        second.conv.bias.zero_()
        second.layer_norm.weight.copy_((_gains() / signs * _LOUDER).repeat(BANDS))
        second.layer_norm.bias.copy_(_biases().repeat(BANDS))
    for layer in (first, second):
        layer.requires_grad_(False)
    # Otherwise transformers makes the input require gradients.
    network.wav2vec2.feature_extractor._requires_grad = False  # noqa: SLF001
    return network


def _gains() -> Tensor:
    return torch.tensor((2.0, *(-steepness for steepness in _STEEPNESS)))


def _biases() -> Tensor:
    return torch.tensor((0.0, *(_KNEE for _ in _STEEPNESS)))


def feature_extractor() -> Wav2Vec2FeatureExtractor:
    """Return the feature extractor that scales samples to zero mean and unit variance."""
    return Wav2Vec2FeatureExtractor(
        sampling_rate=SAMPLE_RATE_HZ, do_normalize=True, return_attention_mask=False, padding_value=0.0
    )


def filter_bank() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return Hann-windowed cosines and sines with both signs, which GELU rectifies into each band's envelope.

    Up to 1 kHz the bands are 31 Hz apart, so that single harmonics and with them the pitch are resolved; above, they
    widen as the ear's do. Highs are raised, because speech has little power there.

    Returns:
        float32, shape ``(BANDS * 4, 512)``; cos, -cos, sin, -sin of the first band, then of the next.
    """
    centres, widths = bands()
    at = np.arange(_KERNEL) - (_KERNEL - 1) / 2
    filters = []
    for hz, width in zip(centres, widths, strict=True):
        length = min(_KERNEL, 2 * SAMPLE_RATE_HZ / width)
        window = np.where(np.abs(at) < length / 2, 0.5 + 0.5 * np.cos(2 * np.pi * at / length), 0)
        window *= 0.1 * max(1.0, hz / 500) ** 0.8 / np.sqrt(np.sum(window**2))
        phase = 2 * np.pi * hz * at / SAMPLE_RATE_HZ
        filters += [window * np.cos(phase), -window * np.cos(phase), window * np.sin(phase), -window * np.sin(phase)]
    return np.stack(filters).astype(np.float32)


def bands() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the middles and widths of the bands, in Hz, float64 ``(BANDS,)`` each."""
    low = np.arange(62.5, 1000, 31.25)
    centres = np.concatenate([low, np.geomspace(1000, 7400, BANDS - low.size)])
    return centres, np.gradient(centres)


class Student(nn.Module):
    """The layers that learn; their input is the output of the fixed ones."""

    def __init__(self, network: Wav2Vec2ForSequenceClassification) -> None:
        super().__init__()
        self.network = network

    def forward(self, envelopes: Tensor) -> tuple[Tensor, Tensor]:
        """Classify windows, given as envelopes ``(batch, rows, BANDS)`` relative to the window's loudness.

        Returns:
            Logits ``(batch, labels)``, and the pooled features that they are made from, ``(batch, hidden)``.
        """
        convolutions: Any = self.network.wav2vec2.feature_extractor.conv_layers
        gains, biases = _gains().to(envelopes), _biases().to(envelopes)
        steps = nn.functional.gelu(envelopes[..., None] * gains + biases)
        features = convolutions[2](steps.flatten(2).transpose(1, 2))
        projected, _ = self.network.wav2vec2.feature_projection(features.transpose(1, 2))
        hidden = self.network.wav2vec2.encoder(projected).last_hidden_state
        pooled: Tensor = self.network.projector(hidden).mean(dim=1)
        return self.network.classifier(pooled), pooled


@torch.no_grad()
def envelopes(audio: Tensor) -> Tensor:
    """Return the envelopes, float32 ``(batch, rows_in(samples), BANDS)``, of audio ``(batch, samples)``."""
    rectified = (audio.unfold(1, _KERNEL, _STRIDES[0]) @ _quadratures(audio.device)).abs()
    rows = rectified.shape[1] // _KERNELS[1]
    together = rectified[:, : rows * _KERNELS[1]].reshape(len(audio), rows, _KERNELS[1], BANDS, 2)
    return together.sum(dim=4).mean(dim=2)


@cache
def _quadratures(device: torch.device) -> Tensor:
    return torch.from_numpy(filter_bank()[::2]).T.contiguous().to(device)


def filtered(envelopes: Tensor, gains_db: Tensor) -> Tensor:
    """Filter windows, given as envelopes ``(batch, rows, BANDS)``, and keep their loudness.

    Args:
        envelopes: relative to the loudness of each window.
        gains_db: gain of each band, shape ``(batch, BANDS)``.
    """
    louder = envelopes * 10 ** (gains_db[:, None] / 20)
    before, after = ((one.square() * _power_weights()).sum(dim=(1, 2), keepdim=True) for one in (envelopes, louder))
    return louder * (before / after.clamp_min(1e-12)).sqrt()


@cache
def _power_weights() -> Tensor:
    """Return the power, but for a constant factor, of a squared envelope of 1 in each band, ``(BANDS,)``."""
    centres, widths = bands()
    return torch.from_numpy((widths / np.maximum(1.0, centres / 500) ** 1.6).astype(np.float32))


def rows_in(samples: int) -> int:
    """Return the number of rows of envelopes of so many samples."""
    return ((samples - _KERNEL) // _STRIDES[0] + 1) // _KERNELS[1]


def normalised(audio: Tensor) -> Tensor:
    """Scale each row to zero mean and unit variance, as ``Wav2Vec2FeatureExtractor`` does."""
    centred = audio - audio.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-7).sqrt()

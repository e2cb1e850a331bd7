"""The compact wav2vec2 that is trained from scratch, and the extra heads that teach it what a voice is made of."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from voxgender.training.manifest import KINDS
from voxgender.training.resynthesis import ENVELOPE_BANDS, FRAME, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Sequence

BANDS = 64
_PHASES = 4
_KERNEL = 512
_STRIDES = (160, 2, 2)
_KERNELS = (_KERNEL, 2, 3)
_STEEPNESS = (1.0, 4.0, 16.0, 64.0)

_PITCH_BINS = 48
_PITCH_LOW_HZ, _PITCH_HIGH_HZ = 60.0, 600.0
_UNVOICED = _PITCH_BINS
_ENVELOPE_SPREAD = 2.5
"""Standard deviation of a band's log power, roughly."""


def build(*, hidden: int = 128, layers: int = 3) -> Wav2Vec2ForSequenceClassification:
    """A fresh network with ``KINDS`` as its labels, that hears a little like an ear before it has learned anything.

    From raw waveforms a few hundred speakers do not teach the first layers what ears do, so they start there:

    - The first layer is a bank of band-pass filters (:func:`filter_bank`). Its layer normalisation has nothing to
      centre, as every filter comes with both signs; it only evens out loudness, and lets what is 25 dB below the
      window's loudness fade. Steep after that, GELU rectifies weak bands as well as strong ones.
    - The second layer adds up a band's phases to its envelope ``e``, and gives it as ``4 e`` once and as ``-e``
      four times, so that again nothing is centred. With a bias and steeper and steeper, ``GELU(c - g e)`` bends
      at a lower and lower level: together they tell of an envelope over 40 dB, much as its logarithm does.
    """
    width = 128
    config = Wav2Vec2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=3 * hidden,
        conv_dim=(BANDS * _PHASES, BANDS * (1 + len(_STEEPNESS)), width),
        conv_kernel=_KERNELS,
        conv_stride=_STRIDES,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=17,
        num_conv_pos_embedding_groups=8,
        classifier_proj_size=hidden,
        # Augmented anew in every crop, the voices are more than so small a network ever learns by heart.
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
    steepness = torch.tensor((1.0, *_STEEPNESS))
    signs = torch.full((steepness.numel(),), -1.0)
    signs[0] = len(_STEEPNESS)
    with torch.no_grad():
        first.conv.weight.copy_(torch.from_numpy(filter_bank())[:, None, :])
        first.conv.bias.zero_()
        first.layer_norm.weight.fill_(30.0)
        envelopes = torch.zeros(BANDS, signs.numel(), BANDS, _PHASES, _KERNELS[1])
        for band in range(BANDS):
            envelopes[band, :, band] = signs[:, None, None]
        second.conv.weight.copy_(envelopes.view_as(second.conv.weight) / (_PHASES * _KERNELS[1]))
        second.conv.bias.zero_()
        second.layer_norm.weight.copy_(steepness.repeat(BANDS))
        second.layer_norm.bias.copy_((signs < 0).float().repeat(BANDS) * 1.5)
    return network


def feature_extractor() -> Wav2Vec2FeatureExtractor:
    """What turns samples into the network's input: zero mean, unit variance."""
    return Wav2Vec2FeatureExtractor(  # type: ignore[no-untyped-call]
        sampling_rate=SAMPLE_RATE_HZ, do_normalize=True, return_attention_mask=False, padding_value=0.0
    )


def filter_bank() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Hann-windowed cosines and sines with both signs, which GELU rectifies into each band's envelope.

    Up to 1 kHz the bands are 31 Hz apart, so that harmonics and with them the pitch are seen one by one; above they
    widen like the ear's. Highs are raised, as speech has little power there.

    Returns:
        float32, shape ``(BANDS * 4, 512)``; cos, -cos, sin, -sin of the first band, then of the next.
    """
    low = np.arange(62.5, 1000, 31.25)
    high = np.geomspace(1000, 7400, BANDS - low.size)
    centres = np.concatenate([low, high])
    widths = np.gradient(centres)
    at = np.arange(_KERNEL) - (_KERNEL - 1) / 2
    filters = []
    for hz, width in zip(centres, widths, strict=True):
        length = min(_KERNEL, 2 * SAMPLE_RATE_HZ / width)
        window = np.where(np.abs(at) < length / 2, 0.5 + 0.5 * np.cos(2 * np.pi * at / length), 0)
        window *= 0.1 * max(1.0, hz / 500) ** 0.8 / np.sqrt(np.sum(window**2))
        phase = 2 * np.pi * hz * at / SAMPLE_RATE_HZ
        filters += [window * np.cos(phase), -window * np.cos(phase), window * np.sin(phase), -window * np.sin(phase)]
    return np.stack(filters).astype(np.float32)


class Pupil(nn.Module):
    """The network, and heads that name the pitch and the spectral envelope of every frame.

    They need no label of a listener, are told even of voices that WORLD made up, and are left behind on export.
    """

    def __init__(self, network: Wav2Vec2ForSequenceClassification) -> None:
        super().__init__()
        self.network = network
        hidden = network.config.hidden_size
        self.pitch = nn.Linear(hidden, _PITCH_BINS + 1)
        self.envelope = nn.Linear(hidden, ENVELOPE_BANDS)
        self._rows = _Rows(network.config.conv_kernel, network.config.conv_stride)

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Audio ``(batch, samples)`` -> logits ``(batch, labels)`` and hidden states ``(batch, frames, hidden)``."""
        hidden = self.network.wav2vec2(normalised(audio)).last_hidden_state
        return self.network.classifier(self.network.projector(hidden).mean(dim=1)), hidden

    def traits_loss(self, hidden: Tensor, traits: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the pitch, mean squared error of the envelope of voiced frames.

        Args:
            hidden: from :meth:`forward`.
            traits: ``(batch, samples // FRAME, TRAITS)``, of the same audio.
        """
        rows = self._rows(hidden.shape[1], traits.shape[1])
        told = traits[:, rows]
        hz = told[..., 0]
        span = math.log(_PITCH_HIGH_HZ / _PITCH_LOW_HZ)
        bins = ((hz.clamp(min=1) / _PITCH_LOW_HZ).log() / span * _PITCH_BINS).long().clamp(0, _PITCH_BINS - 1)
        voiced = hz > 0
        bins = torch.where(voiced, bins, torch.full_like(bins, _UNVOICED))
        pitch = nn.functional.cross_entropy(self.pitch(hidden).flatten(0, 1), bins.flatten())
        error = (self.envelope(hidden) - told[..., 1:] / _ENVELOPE_SPREAD).square().mean(dim=-1)
        envelope = (error * voiced).sum() / voiced.sum().clamp(min=1)
        return pitch, envelope


class _Rows:
    """Which row of traits lies in the middle of each of the network's frames."""

    def __init__(self, kernels: "Sequence[int]", strides: "Sequence[int]") -> None:
        field, stride = 1, 1
        for kernel, step in zip(kernels, strides, strict=True):
            field += (kernel - 1) * stride
            stride *= step
        self._field, self._stride = field, stride

    def __call__(self, frames: int, rows: int) -> Tensor:
        middle = torch.arange(frames) * self._stride + self._field // 2
        return (middle // FRAME).clamp(max=rows - 1)


def normalised(audio: Tensor) -> Tensor:
    """Zero mean and unit variance in each row, as ``Wav2Vec2FeatureExtractor`` makes it."""
    centred = audio - audio.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-7).sqrt()

"""First layers that are a bank of filters are written as one, and say what they say as convolutions."""

import copy
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2ForSequenceClassification

from tests.inference.checkpoints import converted, voices, weights_of
from voxgender.graphs import filterbank
from voxgender.graphs.architecture import Architecture
from voxgender.graphs.wav2vec2 import build
from voxgender.inference.checkpoint import read
from voxgender.inference.conversion import open_network
from voxgender.inference.eager import EagerNetwork
from voxgender.inference.loading import EMBEDDED_DIRECTORY
from voxgender.training import network as training

PREFIX = "wav2vec2.feature_extractor.conv_layers"


@cache
def fresh() -> Wav2Vec2ForSequenceClassification:
    """Make a small network as training begins with, whose verdicts are mixed."""
    torch.manual_seed(1)
    made = training.build(hidden=32, layers=1)
    made.eval()
    with torch.no_grad():
        torch.nn.init.normal_(made.classifier.weight, std=8.0)
    return made


def found(reference: Wav2Vec2ForSequenceClassification) -> filterbank.FilterBank | None:
    return filterbank.find(Architecture.of(reference.config.to_dict()), weights_of(reference), PREFIX)


def test_the_embedded_model_begins_with_a_bank() -> None:
    """Half of a window's time depends on it: a change of training that it does not know must not pass unseen."""
    embedded = read(str(EMBEDDED_DIRECTORY))
    bank = filterbank.find(Architecture.of(embedded.config), embedded.weights(), PREFIX)
    assert bank is not None
    assert bank.even.shape == bank.odd.shape == (256, training.BANDS)
    assert found(fresh()) is not None


@pytest.mark.parametrize("samples", [8_000, 12_345, 16_000, 16_159, 37_777])
def test_a_bank_says_what_transformers_says_for_windows_of_any_length(samples: int) -> None:
    windows = voices(samples)
    expected = EagerNetwork(fresh(), normalise=True)(windows)
    np.testing.assert_allclose(converted(fresh())(windows), expected, atol=1e-4)
    assert np.ptp(expected, axis=0).max() > 0.05


@pytest.mark.parametrize("gain", [1e-4, 1.0])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_neither_loudness_nor_an_offset_of_the_microphone_spoils_it(gain: float, offset: float) -> None:
    windows = np.asarray(gain * (voices() - 0.1 + offset), dtype=np.float32)
    np.testing.assert_allclose(converted(fresh())(windows), EagerNetwork(fresh(), normalise=True)(windows), atol=1e-3)


def test_silence_has_probabilities() -> None:
    assert np.isfinite(converted(fresh())(np.zeros((2, 16_000), dtype=np.float32))).all()


def test_a_bank_takes_windows_that_are_not_normalised() -> None:
    config = fresh().config.to_dict()
    graph = open_network(config, lambda: weights_of(fresh()), normalise=False)
    np.testing.assert_allclose(graph(voices()), EagerNetwork(fresh(), normalise=False)(voices()), atol=1e-4)


def test_a_bank_multiplies_by_no_filter_twice() -> None:
    model = build(Architecture.of(fresh().config.to_dict()), weights_of(fresh()), normalise=True)
    shapes = [tuple(tensor.dims) for tensor in model.graph.initializer]
    assert shapes.count((256, training.BANDS)) == 2
    assert (512, 4 * training.BANDS) not in shapes


def _of(name: str, change: Callable[[torch.Tensor], object]) -> Callable[[Wav2Vec2ForSequenceClassification], object]:
    return lambda network: change(network.get_parameter(f"{PREFIX}.{name}"))


OTHERS: dict[str, Callable[[Wav2Vec2ForSequenceClassification], object]] = {
    "a filter of one sign": _of("0.conv.weight", lambda weight: weight[3].mul_(1.1)),
    "a cosine that is not even": _of("0.conv.weight", lambda weight: weight[:2, :, :200].mul_(0.5)),
    "a sine that is not odd": _of("0.conv.weight", lambda weight: weight[2:4, :, :200].mul_(0.5)),
    "a filter of nothing": _of("0.conv.weight", lambda weight: weight[2:4].zero_()),
    "a band of two cosines": _of("0.conv.weight", lambda weight: weight[2:4].copy_(weight[:2])),
    "a bias of the filters": _of("0.conv.bias", lambda bias: bias[0].add_(1e-5)),
    "filters of different gain": _of("0.layer_norm.weight", lambda gain: gain[:2].mul_(2)),
    "a shift of the filters": _of("0.layer_norm.bias", lambda shift: shift[0].add_(1)),
    "steps of different weight": _of("1.conv.weight", lambda weight: weight[..., 1].mul_(2)),
    "phases of different weight": _of("1.conv.weight", lambda weight: weight[:, 2:4].mul_(2)),
    "bands that mix": _of("1.conv.weight", lambda weight: weight[0].add_(weight[8])),
    "outputs with a mean": _of("1.conv.weight", lambda weight: weight[0].mul_(2)),
    "bands of different weight": _of("1.conv.weight", lambda weight: weight[:6].mul_(2)),
    "a band without outputs": _of("1.conv.weight", lambda weight: weight[:6].copy_(weight[:6].roll(4, 1))),
    "an output of nothing": _of("1.conv.weight", lambda weight: weight[0].zero_()),
    "a bias of the outputs": _of("1.conv.bias", lambda bias: bias[0].add_(1e-3)),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_what_is_no_bank_is_written_as_convolutions(
    change: Callable[[Wav2Vec2ForSequenceClassification], object],
) -> None:
    reference = copy.deepcopy(fresh())
    with torch.no_grad():
        change(reference)
    assert found(reference) is None
    expected = EagerNetwork(reference, normalise=True)(voices())
    np.testing.assert_allclose(converted(reference)(voices()), expected, atol=1e-3)


def test_a_bank_may_have_gains_of_its_own() -> None:
    """The second layer's norm scales and shifts each output, in whatever way training left them."""
    reference = copy.deepcopy(fresh())
    with torch.no_grad():
        gains, biases = (reference.get_parameter(f"{PREFIX}.1.layer_norm.{part}") for part in ("weight", "bias"))
        gains.mul_(torch.linspace(0.5, 2.0, gains.numel()))
        biases.add_(torch.linspace(-1.0, 1.0, biases.numel()))
    assert found(reference) is not None
    expected = EagerNetwork(reference, normalise=True)(voices())
    np.testing.assert_allclose(converted(reference)(voices()), expected, atol=1e-4)

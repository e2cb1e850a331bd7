from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.inference import tiny
from tests.inference.checkpoints import LARGE_SHAPE, network, voices
from voxgender.errors import ModelError, first_line
from voxgender.inference import eager
from voxgender.inference.benchmark import jobs
from voxgender.inference.checkpoint import read
from voxgender.inference.classifier import Device, Precision
from voxgender.inference.eager import EagerNetwork, read_extractor, read_network
from voxgender.inference.loading import load
from voxgender.inference.probe import trial


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_says_nearly_the_same(precision: Precision) -> None:
    """Compute on the CPU as a GPU would."""
    exact, half = (
        EagerNetwork(network(**LARGE_SHAPE), normalise=True),
        EagerNetwork(network(**LARGE_SHAPE), normalise=True, precision=precision),
    )
    difference = np.abs(exact(voices()) - half(voices()))
    # The numbers of bf16 have eight bits.
    assert 0 < difference.max() < (0.1 if precision == "fp16" else 0.4)
    assert half(voices()).dtype == np.float32


@pytest.mark.parametrize("architecture", tiny.HEADS)
def test_each_head_runs_in_half_precision(architecture: str, tmp_path: Path) -> None:
    """Under torch's autocast, Whisper failed in bf16; and weights in float32 took twice the memory of a GPU."""
    found = read(str(tiny.save(architecture, tmp_path / "checkpoint")))
    extractor = read_extractor("m", found.preprocessing)
    formats: tuple[Precision, ...] = ("fp16", "bf16")
    for precision in formats:
        made = read_network("m", found.directory, architecture, list(found.weights()))
        half = EagerNetwork(made, normalise=found.normalise, precision=precision, extractor=extractor)
        assert {tensor.dtype for tensor in made.parameters()} <= {torch.float16, torch.bfloat16}
        rows = half(voices())
        assert rows.shape == (3, 2)
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("together", [1, 2, 7])
def test_windows_of_many_calls_in_a_batch_are_told_as_each_alone(together: int) -> None:
    one = EagerNetwork(network(**LARGE_SHAPE), normalise=True)
    windows = np.resize(voices(), (together, 16_000))
    alone = np.concatenate([one(window[np.newaxis]) for window in windows])
    np.testing.assert_allclose(one(windows), alone, atol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_before_anything_is_measured() -> None:
    with pytest.raises(ModelError, match="torch finds no CUDA device"):
        jobs("embedded", trial(1_000), device="cuda")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the CPU in the place of a GPU."""

    class Here(EagerNetwork):
        def __init__(self, *arguments: Any, device: Device, **options: Any) -> None:
            assert device == "cuda"
            super().__init__(*arguments, **options)

    monkeypatch.setattr(eager, "EagerNetwork", Here)
    monkeypatch.setattr(eager, "prepare", lambda device, threads: None)


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_computes_in_bf16_if_it_can(
    gpu: None, monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    served = load("embedded", device="cuda").network
    assert isinstance(served, EagerNetwork)
    assert served.dtype == dtype
    np.testing.assert_allclose(served(trial(1_000)), load("embedded").network(trial(1_000)), atol=0.05)


def test_a_format_that_spoils_a_model_is_refused_with_the_remedy(gpu: None) -> None:
    """Tell the shipped model's fault in fp16, which was the format on GPUs.

    Its first layer's values are about 0.00002, below the least normal number of fp16, and a norm makes what is left of
    them large again: 11 % of the labels were others, and nothing was NaN.
    """
    with pytest.raises(ModelError, match="embedded: says something else in fp16 than in fp32; use --precision bf16"):
        load("embedded", device="cuda", precision="fp16")


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_each_format_serves_a_model_that_it_does_not_spoil(gpu: None, tmp_path: Path, precision: Precision) -> None:
    directory = tiny.save("WavLMForSequenceClassification", tmp_path / "checkpoint")
    rows = load(str(directory), device="cuda", precision=precision)(voices())
    np.testing.assert_allclose(rows, load(str(directory))(voices()), atol=0.1)


def test_a_validator_s_types_are_told_without_python_s_marks() -> None:
    """A configuration with an object for a number was refused with ``<class 'float'>``."""
    error = TypeError("Field 'a' with value None doesn't match any type in (<class 'float'>, <class 'NoneType'>).")
    assert first_line(error) == "Field 'a' with value None doesn't match any type in (float, null)"

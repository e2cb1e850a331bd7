from pathlib import Path

import numpy as np
import pytest
import torch

from tests.inference import tiny
from tests.inference.checkpoints import LARGE_SHAPE, network, voices
from voxgender.errors import ModelError
from voxgender.inference.benchmark import jobs
from voxgender.inference.checkpoint import read
from voxgender.inference.classifier import Precision
from voxgender.inference.eager import EagerNetwork, read_extractor, read_network
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

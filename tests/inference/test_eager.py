import numpy as np
import pytest

from tests.inference.checkpoints import LARGE_SHAPE, network, voices
from voxgender.inference.classifier import Precision
from voxgender.inference.eager import EagerNetwork


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

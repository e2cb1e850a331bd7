"""Checkpoints whose files are well formed, and whose numbers are not."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.inference.checkpoints import Make
from voxgender.errors import ModelError
from voxgender.inference.loading import load


@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_refused_at_load(make: Make, damage: float) -> None:
    """One NaN weight: the server said ready, and heard no speech in any voice."""
    directory = make()
    file = directory / "model.safetensors"
    weights = load_file(file)
    weights["classifier.weight"][0, 0] = damage
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="holds NaN or infinity"):
        load(str(directory))

from pathlib import Path
from typing import Any

import pytest
from transformers import Wav2Vec2FeatureExtractor

from tests.inference.checkpoints import Array, Make, network, voices


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A checkpoint with random weights, in a directory."""

    def save(
        labels: tuple[str, ...] = ("female", "male"), *, normalise: bool = True, rate: int = 16_000, **config: Any
    ) -> Path:
        directory = tmp_path / "checkpoint"
        network(labels, **config).save_pretrained(directory)
        Wav2Vec2FeatureExtractor(do_normalize=normalise, sampling_rate=rate).save_pretrained(directory)
        return directory

    return save


@pytest.fixture
def windows() -> Array:
    return voices()

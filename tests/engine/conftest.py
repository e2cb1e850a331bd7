"""Fixtures of the engine's tests."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.support import Samples, silence
from voxgender.engine import Engine
from voxgender.inference.classifier import Classifier
from voxgender.peer.voices import MAN, speak


@pytest.fixture(scope="module")
def man() -> Samples:
    return np.concatenate([silence(0.5), speak(MAN, 4.0), silence(1.0)]).astype(np.float32)


@pytest.fixture
def make() -> Iterator[Callable[[Classifier | None], Engine]]:
    """Make engines that are closed at the end."""
    made: list[Engine] = []

    def engine(classifier: Classifier | None) -> Engine:
        made.append(Engine(classifier))
        return made[-1]

    yield engine
    for one in made:
        one.close()

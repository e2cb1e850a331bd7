"""Fixtures of the engine's tests."""

from collections.abc import Callable, Iterator

import pytest

from voxgender.engine import Engine
from voxgender.inference.classifier import Classifier


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

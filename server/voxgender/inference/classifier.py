"""Define the interface of a model: it takes a batch of windows of one size and returns probabilities by label."""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
"""Rate of every window that a classifier is given."""

ClassLabel = Literal["male", "female", "other"]
"""``other`` stands for a checkpoint's classes that are no voice: noise, music, silence."""

Precision = Literal["auto", "fp32", "int8"]
"""Number format of the encoder's matrix products. ``auto`` is int8 for large networks; small ones gain little by it."""

Device = Literal["cpu", "cuda"]

Windows = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]


class Classifier(Protocol):
    """A loaded model. It is called from one thread at a time, never on the event loop."""

    name: str
    """Shown to clients in ``hello``."""

    labels: tuple[ClassLabel, ...]
    """Column order of the probabilities; holds ``male`` and ``female``, ``other`` at most once."""

    min_window_ms: int
    """Shortest window that can be classified."""

    def __call__(self, windows: Windows) -> Probabilities:
        """Classify windows.

        Args:
            windows: float32, shape ``(batch, samples)``, mono, 16 kHz, full scale ±1.

        Returns:
            float32, shape ``(batch, len(self.labels))``; each row adds up to 1.
        """
        ...

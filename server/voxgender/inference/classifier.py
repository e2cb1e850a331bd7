"""Define the interface of a model: it takes a batch of windows of one size and returns probabilities by label."""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
"""Rate of every window that a classifier is given."""

Precision = Literal["auto", "fp32", "int8", "fp16", "bf16"]
"""Number format of the encoder's matrix products.

``auto`` is int8 for large networks on the CPU, where small ones gain little by it, and fp16 on a GPU. int8 is for the
CPU alone, fp16 and bf16 are for GPUs alone.
"""

Device = Literal["cpu", "cuda"]

Windows = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]


class Classifier(Protocol):
    """A loaded model. It is called from one thread at a time, never on the event loop."""

    name: str
    """Shown to clients in ``hello``."""

    labels: tuple[str, ...]
    """Column order of the probabilities: two labels at least, each once, and ``other`` for what is no voice."""

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

"""Define the interface of a model: it takes a batch of windows of one size and returns probabilities by label."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from voxgender.errors import ModelError

if TYPE_CHECKING:
    from concurrent.futures import Future

SAMPLE_RATE_HZ = 16_000
"""Rate of every window that a classifier is given."""

Precision = Literal["auto", "fp32", "int8", "fp16", "bf16"]
"""Number format of the encoder's matrix products.

``auto`` is int8 for large networks on the CPU, where small ones gain little by it, and bf16 on a GPU. int8 is for the
CPU alone, fp16 and bf16 are for GPUs alone.
"""

Device = Literal["cpu", "cuda"]

Windows = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]
Window = npt.NDArray[np.float32]
"""One row of windows."""
Row = npt.NDArray[np.float32]
"""One row of probabilities."""


class Classifier(Protocol):
    """A loaded model. It is called from one thread at a time, never on the event loop."""

    @property
    def name(self) -> str:
        """Shown to clients in ``hello``."""
        ...

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


class Unclassified(ModelError):
    """A window was not classified: the pool refused it, lost it, or took too long; the message says which."""


class RemoteClassifier(ABC):
    """A model in other processes. Windows are sent and answered while other work goes on.

    All methods may be called from any thread, but on no event loop.
    """

    labels: tuple[str, ...]
    min_window_ms: int

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the model, which may be another one after a while."""

    @property
    @abstractmethod
    def is_up(self) -> bool:
        """True while windows are answered at all."""

    @property
    @abstractmethod
    def free_capacity(self) -> int:
        """Windows that may be sent now and are likely to be answered in time."""

    @abstractmethod
    def submit(self, windows: Sequence[Window], *, patient: bool = False) -> "list[Future[Row]]":
        """Send windows.

        Args:
            windows: each float32, shape ``(samples,)``, mono, 16 kHz; their sizes may differ.
            patient: whether there is time: for audio that waits for its results.

        Returns:
            For each window its probabilities, float32 of shape ``(len(self.labels),)``, or ``Unclassified``.
        """

    @abstractmethod
    def close(self) -> None:
        """Give up all windows that are on their way, and stop."""

    def __call__(self, windows: Windows) -> Probabilities:
        """Classify windows, and wait for them. See :class:`Classifier`.

        Raises:
            Unclassified: a window was not classified.
        """
        return np.stack([row.result() for row in self.submit(list(windows), patient=True)])

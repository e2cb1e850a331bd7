"""Classifiers whose verdict is known."""

import threading
from collections.abc import Callable

import numpy as np

from tests.waits import PATIENCE_S
from voxgender.inference.classifier import Probabilities, Windows


class Pitch:
    """Tells the project's synthesised man (115 Hz) from its woman (212 Hz) by autocorrelation."""

    name = "pitch"
    labels: tuple[str, ...] = ("male", "female")
    min_window_ms = 500

    def __init__(self) -> None:
        self.heard: list[Windows] = []
        """All batches, as they came."""

    def __call__(self, windows: Windows) -> Probabilities:
        self.heard.append(windows)
        power = np.abs(np.fft.rfft(windows, 2 * windows.shape[1])) ** 2
        correlation = np.fft.irfft(power)
        men, women = (
            correlation[:, 16_000 // high : 16_000 // low].max(axis=1) for low, high in ((85, 150), (170, 300))
        )
        # A woman's second period lies where a man's first does: it has to be the stronger by far to be his.
        female = np.where(women > 0.85 * men, 0.95, 0.05)
        return np.stack([1 - female, female], axis=1).astype(np.float32)

    @property
    def windows(self) -> list[Windows]:
        return [window for batch in self.heard for window in batch]


class Held(Pitch):
    """A classifier that works only when it is allowed to."""

    name = "held"

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Semaphore(0)
        self.may_go_on = threading.Event()

    def __call__(self, windows: Windows) -> Probabilities:
        self.started.release()
        assert self.may_go_on.wait(PATIENCE_S)
        return super().__call__(windows)


class Fixed:
    """Says the same of every window, or what a function of the window says."""

    name = "fixed"
    min_window_ms = 500

    def __init__(
        self, labels: tuple[str, ...], say: tuple[float, ...] | Callable[[Windows], tuple[float, ...]]
    ) -> None:
        self.labels = labels
        self._say = say

    def __call__(self, windows: Windows) -> Probabilities:
        said = [self._say(window) if callable(self._say) else self._say for window in windows]
        return np.array(said, dtype=np.float32)

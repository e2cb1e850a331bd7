"""Keep the last seconds of a call in a ring buffer."""

import numpy as np

from voxgender.audio.frames import Samples


class Ring:
    """Keeps the newest ``capacity`` samples. They are the largest part of a call's memory."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._buffer = np.zeros(capacity, dtype=np.float32)
        self._end = 0

    def append(self, samples: Samples) -> None:
        """Add float32 samples, shape ``(n,)``; of more than ``capacity`` samples keep the last."""
        samples = samples[-self.capacity :]
        before_the_seam = min(samples.size, self.capacity - self._end)
        self._buffer[self._end : self._end + before_the_seam] = samples[:before_the_seam]
        self._buffer[: samples.size - before_the_seam] = samples[before_the_seam:]
        self._end = (self._end + samples.size) % self.capacity

    def latest(self, count: int) -> Samples:
        """Return a copy of the newest ``count`` samples, shape ``(count,)``; silence stands before the first.

        Raises:
            ValueError: ``count`` is more than the capacity.
        """
        if count > self.capacity:
            raise ValueError(f"the ring holds {self.capacity} samples, not {count}")
        start = self._end - count
        if start >= 0:
            return self._buffer[start : self._end].copy()
        return np.concatenate((self._buffer[start:], self._buffer[: self._end]))

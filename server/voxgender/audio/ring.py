"""The last seconds of a call, and no more."""

import numpy as np

from voxgender.audio.frames import Samples


class Ring:
    """Keeps the newest ``capacity`` samples.

    They lie in one array of twice that size, so that the newest are always one contiguous slice.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._buffer = np.zeros(2 * capacity, dtype=np.float32)
        self._end = capacity

    def append(self, samples: Samples) -> None:
        """Add float32 samples, shape ``(n,)``; of more than ``capacity`` the last count."""
        samples = samples[-self.capacity :]
        if self._end + samples.size > self._buffer.size:
            self._buffer[: self.capacity] = self._buffer[self._end - self.capacity : self._end]
            self._end = self.capacity
        self._buffer[self._end : self._end + samples.size] = samples
        self._end += samples.size

    def latest(self, count: int) -> Samples:
        """A copy of the newest ``count`` samples, shape ``(count,)``; silence before the first.

        Raises:
            ValueError: ``count`` is more than the capacity.
        """
        if count > self.capacity:
            raise ValueError(f"the ring holds {self.capacity} samples, not {count}")
        return self._buffer[self._end - count : self._end].copy()

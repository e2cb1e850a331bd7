"""Limit the windows in flight to a pool, to spare a slow one: TCP's congestion control (RFC 5681)."""

START = 64.0
"""Limit at first, in windows."""
MOST = 4_096.0
"""Highest limit, in windows."""


class InFlight:
    """Counts windows in flight, and learns how many a pool answers in time.

    The limit grows with every answer in time, by half of what is out as long as it is below the last limit that was
    good, and by one a round trip above it. A window that is not answered in time halves it, at most once in ``hold_s``,
    because the others that were sent with it tell the same.

    Args:
        hold_s: the time that windows are given.
    """

    def __init__(self, hold_s: float) -> None:
        self.taken = 0
        self._hold_s = hold_s
        self._limit = START
        self._threshold = MOST
        self._shrunk_at = float("-inf")

    @property
    def free(self) -> int:
        """Windows that may be sent now."""
        return max(0, int(self._limit) - self.taken)

    def grow(self, windows: int) -> None:
        """Note windows that were answered in time, while they still count as taken."""
        # A limit that nothing comes near is not known to be good (RFC 7661).
        if 2 * self.taken >= self._limit:
            more = windows / 2 if self._limit < self._threshold else windows / self._limit
            self._limit = min(MOST, self._limit + more)

    def shrink(self, now: float) -> None:
        """Note, while it still counts as taken, a window that was refused or not answered in time."""
        if now - self._shrunk_at >= self._hold_s:
            self._shrunk_at = now
            self._limit = self._threshold = max(1.0, min(self._limit, self.taken) / 2)

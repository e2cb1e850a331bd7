"""Limit how often something may happen: a token bucket."""


class RateLimit:
    """Let so much happen in a second on average, and so much at once after a pause.

    Args:
        per_s: the rate in the long run.
        burst: the most at once; so much is there at first.
    """

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at: float | None = None

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take from what is left, and tell whether there was enough; else nothing is taken.

        Args:
            now: seconds of any clock that runs on. Going back counts as no time.
            amount: how much happens.
        """
        if self.left(now) < amount:
            return False
        self._left -= amount
        return True

    def spend(self, amount: float) -> None:
        """Take what was used already, even if it is more than was left."""
        self._left -= amount

    def left(self, now: float) -> float:
        """Tell how much may happen now; below zero after :meth:`spend` took more than there was."""
        if self._at is None:
            self._at = now
        elif now > self._at:
            self._left = min(self._burst, self._left + self._per_s * (now - self._at))
            self._at = now
        return self._left

    def wait_s(self, now: float, amount: float = 1.0) -> float:
        """Tell how long until so much is left."""
        return max(0.0, (amount - self.left(now)) / self._per_s)

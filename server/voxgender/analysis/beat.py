"""When the hops of many calls end: those of sixteen together.

A core that wakes from sleep runs at a third of its speed until its caches are warm again. So it pays to do all at once:
what is done for one call is then done for fifteen more, and the networks judge them in one run.
"""

from math import ceil

from voxgender.audio.activity import FRAME_S

SLOT_S = 0.064
"""From one slot to the next. With hops of 192 ms they are at its multiples by ``time.monotonic``, as ticks are."""
CALLS = 16
"""Calls whose hops end together: what the speech gate takes in one run. The last of more would wait for too long."""
LEAD_S = 0.032
"""How long before its slot a hop should be there, at least: its last packet may end so much later than the hop does."""
SLACK_S = 0.032
"""Clocks of callers drift; a hop may end so much sooner before its slot until something is done."""


class Beat:
    """Gives each call its slot: sixteen the first one, then sixteen the next, and round again.

    Args:
        hop_s: how often each call's hops end.
    """

    def __init__(self, hop_s: float) -> None:
        self.hop_s = hop_s
        self._calls = [0] * max(1, round(hop_s / SLOT_S))

    def join(self) -> "Slot":
        """Give a call its slot, until it leaves it."""
        number = min(range(len(self._calls)), key=lambda number: (self._calls[number] // CALLS, number))
        self._calls[number] += 1
        return Slot(self, number)

    def leave(self, number: int) -> None:
        self._calls[number] -= 1


class Slot:
    """When one call's hops end. Made by :meth:`Beat.join`."""

    def __init__(self, beat: Beat, number: int) -> None:
        self.number = number
        self._beat = beat

    def leave(self) -> None:
        """The call is over. Once."""
        self._beat.leave(self.number)

    def frames_too_late(self, due: float, *, slack_s: float = 0.0) -> int:
        """By how many frames of the speech gate a hop should end sooner than it would.

        Args:
            due: when its last sample would arrive, seconds of ``time.monotonic``.
            slack_s: how much sooner than need be is still fine.
        """
        hop_s = self._beat.hop_s
        lead_s = (self.number * SLOT_S - due - LEAD_S) % hop_s
        if lead_s < FRAME_S + slack_s:
            return 0
        # What ends too soon for this slot can only be made to end before the one before.
        return ceil((hop_s - lead_s) / FRAME_S)

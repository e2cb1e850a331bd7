"""Choose the windows that a model classifies in a turn, if it cannot keep up with all: of each call the same share."""

import math
from collections.abc import Mapping, Sequence

from voxgender.engine.call_state import CallState, Hop

MAX_BEHIND = 2
"""Windows of one call that are classified in one turn; with more waiting, only the newest is."""
RECOVERED_S = 10.0
"""Time without a window left out after which the model is taken to keep up again."""

_LASTING = 1.1
"""Growth of a window's cost from turn to turn, at most: a stall of the machine is not the model's doing."""
_NEW_SHARE = 0.2
"""Weight of the last turn in the share of windows that are classified."""


class Pace:
    """Keeps a model's part of a turn to the length of a hop, or to one window if that takes longer.

    Turns stay short then, whatever the model costs: calls are answered in time, and none waits behind another. The
    newest window of the call that has waited longest comes first.

    Args:
        hop_s: time between two windows of a call.
    """

    def __init__(self, hop_s: float) -> None:
        self._hop_s = hop_s
        self._cost_s = 0.0
        """Seconds that a window takes; 0 before the first."""
        self._share = 1.0
        self._short_at = -math.inf
        self._count = 0

    def restart(self) -> None:
        """Forget what the model took so far: another one has its place."""
        self._cost_s, self._share, self._short_at = 0.0, 1.0, -math.inf

    def choose(self, waiting: Mapping[CallState, Sequence[Hop]], now: float) -> list[Hop]:
        """Return the hops whose windows there is time for, note their share, and mark the others as skipped.

        Args:
            waiting: of each call the hops that have a window, oldest first.
            now: seconds of the engine's clock.
        """
        most = max(1, int(self._hop_s / self._cost_s)) if self._cost_s else None
        chosen = self.select(waiting, most)
        self.note(len(chosen), sum(map(len, waiting.values())), now)
        return chosen

    def select(self, waiting: Mapping[CallState, Sequence[Hop]], most: int | None) -> list[Hop]:
        """Return the hops whose windows are classified, ``most`` of them, and mark the others as skipped.

        Args:
            waiting: of each call the hops that have a window, oldest first.
            most: None for all that are new enough.
        """
        states = sorted(waiting, key=lambda state: state.classified)
        # The newest window of every call comes before the second of any.
        rounds = [
            (state, waiting[state][-1 - behind])
            for behind in range(MAX_BEHIND)
            for state in states
            if behind < len(waiting[state]) and (not behind or len(waiting[state]) <= MAX_BEHIND)
        ]
        chosen = rounds[:most]
        for state, _ in chosen:
            self._count += 1
            state.classified = self._count
        hops = {id(hop) for _, hop in chosen}
        all_hops = [hop for of_call in waiting.values() for hop in of_call]
        for hop in all_hops:
            hop.skipped = id(hop) not in hops
        return [hop for hop in all_hops if not hop.skipped]

    def took(self, windows: int, seconds: float) -> None:
        """Note how long the model took for some windows."""
        if windows:
            cost_s = seconds / windows
            self._cost_s = min(cost_s, self._cost_s * _LASTING) if self._cost_s else cost_s

    def is_short(self, now: float) -> bool:
        """Return whether windows were left out lately."""
        return now - self._short_at < RECOVERED_S

    def windows_per_s(self, now: float) -> float:
        """Return how many windows of a call are classified in a second of its speech."""
        return (self._share if self.is_short(now) else 1.0) / self._hop_s

    def note(self, classified: int, windows: int, now: float) -> None:
        """Note how many of some windows were classified.

        Args:
            now: seconds of the engine's clock.
        """
        if not windows:
            return
        share = classified / windows
        if not self.is_short(now):
            self._share = 1.0
        if share < 1:
            self._short_at = now
        self._share += _NEW_SHARE * (share - self._share)

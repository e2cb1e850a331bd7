"""Bound how much audio a call takes from its sender: in the long run twice real time."""

from collections.abc import Mapping
from typing import Literal

PACE = 2.0
"""Rate at which audio is accepted in the long run, in times real time."""
BURST_S = 4.0
"""Audio that may come at once, as much as may wait for the engine: a network holds packets back and then lets them go,
and so does a computer that stood still."""
MAX_LEAP_S = 1.0
"""Seconds by which the gap between two packets' timestamps may exceed the time between their arrivals."""

Excess = Literal["several_streams", "too_fast", "too_many_packets", "too_many_streams"]
EXCESSES: Mapping[Excess, str] = {
    "several_streams": (
        "Several streams come on one audio line at once, and only the latest is heard: give each a line of its own."
    ),
    "too_fast": f"Audio comes more than {PACE:g} times as fast as real time: what is more is left out.",
    "too_many_packets": "More packets come than a call may send: some are left out.",
    "too_many_streams": "The sender changes its SSRC too often: new streams are not heard.",
}
"""Texts of the warnings that tell a sender why its audio is dropped, by their codes."""

_SHORTEST_S = 0.0025
"""Least duration that a packet counts for: Opus has no shorter one (RFC 6716 section 2.1.4)."""


class AudioBudget:
    """Decides how much of a call's audio is taken, by when it arrives."""

    def __init__(self) -> None:
        self._left_s = BURST_S
        self._arrived_at: float | None = None

    def take(self, gap_s: float, duration_s: float, arrived_at: float) -> float | None:
        """Take a packet and the gap before it.

        Args:
            gap_s: between the packet before it and this one, by their timestamps.
            duration_s: of the packet.
            arrived_at: seconds of ``time.monotonic``.

        Returns:
            How much of the gap is taken, in seconds; None where the packet is not taken either.
        """
        pause_s = 0.0 if self._arrived_at is None else max(0.0, arrived_at - self._arrived_at)
        self._arrived_at = arrived_at if self._arrived_at is None else max(arrived_at, self._arrived_at)
        # Unused time counts up to the burst, but a pause may be followed by a gap of its length.
        self._left_s = min(BURST_S, self._left_s) + PACE * pause_s
        cost_s = max(duration_s, _SHORTEST_S)
        if cost_s > self._left_s:
            return None
        taken_s = min(gap_s, pause_s + MAX_LEAP_S, self._left_s - cost_s)
        self._left_s -= cost_s + taken_s
        return taken_s

"""Which stretch of the newest audio is worth a verdict."""

from typing import NamedTuple

from voxgender.audio.activity import FRAME
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.audio.gate import LEAVE_FRAMES, Gate

MIN_UTTERANCE_S = 0.2
"""A shorter utterance is a click or a breath, and gets no verdict."""

FIRST_SHARE = 0.7
"""Share of the first window that has to be speech: the gate opens a little late, and waiting is delay."""


class Window(NamedTuple):
    """A stretch of audio, in samples counted back from the newest frame that the gate has judged."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.start - self.end


class Picker:
    """Picks windows of one call.

    A model hears ``full`` samples, or ``short`` while the utterance is younger than that: the first verdict comes
    early, and no window holds the voice before the pause. An utterance too short even for that gets its one window
    when it ends. There are just two sizes, so that windows of many calls fit one batch.

    Args:
        full: samples.
        short: samples.
        hop: samples that the gate is given at once.
    """

    def __init__(self, *, full: int, short: int, hop: int) -> None:
        self.full = full
        self.short = short
        self.reach = max(full, short + LEAVE_FRAMES * FRAME + hop) + FRAME
        """How far before the newest sample a window may begin: an utterance is known to have ended when it was
        quiet for a while, at the latest one hop after that, and the gate may have yet to judge part of a frame."""
        self._judged = False

    def pick(self, gate: Gate) -> Window | None:
        """The window to judge now, if any; ask once after each push to the gate."""
        spoken = gate.utterance - gate.quiet
        if gate.speaking:
            size = self.full if gate.utterance >= self.full else self.short
            self._judged = spoken >= FIRST_SHARE * self.short
            return Window(size, 0) if self._judged else None
        judged, self._judged = self._judged, False
        if judged or not gate.ended or spoken < MIN_UTTERANCE_S * SAMPLE_RATE_HZ:
            return None
        return Window(gate.quiet + self.short, gate.quiet)

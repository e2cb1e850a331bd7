"""Select the window of the newest audio that the model is to classify."""

from typing import NamedTuple

from voxgender.audio.activity import FRAME
from voxgender.audio.frames import SAMPLE_RATE_HZ
from voxgender.audio.gate import LEAVE_FRAMES, Gate

MIN_UTTERANCE_S = 0.2
"""A shorter utterance is a click or a breath, and is not classified."""

FIRST_SHARE = 0.4
"""Share of an utterance's first window that has to be speech: 0.2 s, as in an utterance that has ended."""


class WindowSelection(NamedTuple):
    """A window of audio, in samples counted back from the newest frame that the gate has processed."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.start - self.end


class WindowSelector:
    """Selects windows of one call.

    A window has ``full`` samples, or ``short`` while the utterance is younger than ``full``: the first label comes
    early, and no window holds the voice before a pause. An utterance that is too short even for that gets its one
    window when it ends. There are only two sizes, so that windows of many calls fit into one batch.

    Args:
        full: samples of a full window.
        short: samples of a short window.
        hop: samples of a hop.
    """

    def __init__(self, *, full: int, short: int, hop: int) -> None:
        self.full = full
        self.short = short
        self.reach = max(full, short + LEAVE_FRAMES * FRAME + hop) + FRAME
        """Samples by which a window may begin before the newest sample. The gate finds an utterance's end after
        ``LEAVE_FRAMES`` quiet frames, at the latest one hop after that; part of a frame may still wait."""
        self._selected = False

    def select(self, gate: Gate) -> WindowSelection | None:
        """Select the window to classify now, or None. Call it once after each update of the gate."""
        spoken = gate.utterance - gate.quiet
        if gate.speaking:
            size = self.full if gate.utterance >= self.full else self.short
            self._selected = spoken >= FIRST_SHARE * self.short
            return WindowSelection(size, 0) if self._selected else None
        selected, self._selected = self._selected, False
        if selected or not gate.ended or spoken < MIN_UTTERANCE_S * SAMPLE_RATE_HZ:
            return None
        return WindowSelection(gate.quiet + self.short, gate.quiet)

"""Keep one call's state on the engine's thread: its clock, newest audio, speech gate and decisions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from voxgender.audio.activity import FRAME, SpeechProbabilities
from voxgender.audio.frames import SAMPLE_RATE_HZ, Frame, Samples
from voxgender.audio.gate import Gate
from voxgender.audio.quietvoice import QuietVoice
from voxgender.audio.ring import Ring
from voxgender.audio.timeline import TimedSamples, Timeline
from voxgender.audio.windows import WindowSelector
from voxgender.decisions import Decider, Decision, Observation, Span
from voxgender.protocol import Change, Label, Scores, Segment, Summary

if TYPE_CHECKING:
    from concurrent.futures import Future

    from voxgender.inference.classifier import Row


@dataclass(slots=True, eq=False)
class Hop:
    """One hop of one call. Each step of the engine adds its result.

    Attributes:
        start_s, end_s: seconds of the call's audio.
        samples: the hop's audio; empty for the end of a call.
        last: True for the end of the call.
        finalizes: True where a client asks for all that can be said so far; the hop is empty.
        silence_s: time without packets that it stands for; 0 if it holds received audio.
        speech: spans of speech, in samples from the start of the hop.
        window: the audio for the model, if any.
        row: the model's answer to that window, while a pool has it.
        scores: the model's probabilities for that window.
        p_voice: probability that the window holds a voice at all.
        skipped: True if there was no time to classify the window.
        too_quiet: True if there is a voice that is too quiet to be heard well.
        decision: label and events.
        closing: the last segment and, at the end of a call, the summary.
    """

    start_s: float
    end_s: float
    samples: Samples
    last: bool = False
    finalizes: bool = False
    silence_s: float = 0.0
    speech: Sequence[tuple[int, int]] = ()
    window: Samples | None = None
    row: "Future[Row] | None" = None
    scores: Scores | None = None
    p_voice: float = 1.0
    skipped: bool = False
    too_quiet: bool = False
    decision: Decision | None = None
    closing: tuple[Change | Segment | Summary, ...] = ()

    @property
    def observation(self) -> Observation:
        """The decisions' input."""
        speech = tuple(
            Span(max(self.start_s, self.start_s + start / SAMPLE_RATE_HZ), self.start_s + end / SAMPLE_RATE_HZ)
            for start, end in self.speech
        )
        return Observation(self.start_s, self.end_s, speech, self.scores, self.p_voice)


class CallState:
    """State of one call. The steps of a hop are called in order, from one thread at a time.

    Args:
        window: samples of a full window.
        short: samples of a window while an utterance is younger than a full one.
        hop_frames: length of a hop in frames of the speech gate.
        is_classified: whether there is a model; without one no audio is kept for it.

    Attributes:
        is_whole: True if each window is classified, however many wait.
    """

    def __init__(self, *, window: int, short: int, hop_frames: int, is_classified: bool = True) -> None:
        self.gate = Gate()
        self.is_whole = False
        self.quiet = QuietVoice()
        self._timeline = Timeline()
        self._selector = WindowSelector(full=window, short=short, hop=(hop_frames + 1) * FRAME)
        self._ring = Ring(self._selector.reach) if is_classified else None
        self._decider = Decider(window_s=window / SAMPLE_RATE_HZ)
        self._hop_frames = hop_frames
        self._pieces: list[Samples] = []
        self._size = 0
        self._cut_at = 0
        """Samples cut so far, modulo a frame: hops end with frames of the gate."""
        self._position_s = 0.0
        self._padding = 0
        self.classified = 0
        """Number of its last window that was classified, among all of the engine's."""

    @property
    def waiting_s(self) -> float:
        """Audio on the call's clock that is in no hop yet."""
        return self._size / SAMPLE_RATE_HZ

    def place(self, frames: Sequence[Frame], silence_s: float = 0.0) -> list[Hop]:
        """Put decoded frames, or time without packets, on the call's clock.

        Returns:
            Hops that were cut short by a gap that is too long to be filled.
        """
        hops: list[Hop] = []
        for chunk in self._timeline.place(frames):
            hops += self._append(chunk)
        if silence_s:
            hops += self._append(self._timeline.pause(silence_s))
        return hops

    def cut(self, *, exact: bool = False, silence_s: float = 0.0) -> Iterator[Hop]:
        """Cut the waiting audio into hops of whole frames.

        Args:
            exact: leave audio that fills no hop, as for a file. Otherwise it becomes a shorter hop, and a hop is a
                frame longer if the call's clock runs fast, so that at most one frame waits for the next turn.
            silence_s: time without packets, noted in each hop.
        """
        hop = self._hop_frames
        frames = (self._cut_at + self._size) // FRAME
        if not exact and 0 < frames < hop:
            yield self._cut_hop(frames * FRAME - self._cut_at, silence_s)
            return
        while frames >= hop:
            taken = hop + (not exact and frames > hop + 1)
            yield self._cut_hop(taken * FRAME - self._cut_at, silence_s)
            frames -= taken

    def finalize(self) -> Iterator[Hop]:
        """Cut the whole frames of the waiting audio into hops, and add the hop that ends the present segment."""
        yield from self.cut(exact=True)
        yield from self.cut()
        yield Hop(self._position_s, self._position_s, np.zeros(0, dtype=np.float32), finalizes=True)

    def finish(self) -> Iterator[Hop]:
        """Cut the rest of the audio into hops, and add the hop that ends the call."""
        yield from self._append(self._timeline.flush())
        yield from self.cut(exact=True)
        yield from self._rest()
        yield Hop(self._position_s, self._position_s, np.zeros(0, dtype=np.float32), last=True)

    def frames(self, hop: Hop) -> Samples:
        """Return the frames of a hop for the speech gate's network; :meth:`find_speech` comes next."""
        if hop.last:
            self._padding = -self.gate.pending % FRAME
            return self.gate.last_frames()
        if self._ring is not None:
            self._ring.append(hop.samples)
        return self.gate.frames(hop.samples)

    def find_speech(self, hop: Hop, probabilities: SpeechProbabilities) -> None:
        """Find the hop's speech, and the window for the model."""
        hop.speech = self.gate.update(probabilities)
        hop.too_quiet = self.quiet.found
        if hop.last:
            self.gate.end()
        if self._ring is None or hop.finalizes:
            return
        window = self._selector.select(self.gate)
        if window is not None:
            # The gate is ``pending`` samples behind the ring and, at the end of a call, ``padding`` ahead.
            behind = self.gate.pending - self._padding
            audio = self._ring.latest(window.start + behind)
            end = window.start - window.end
            hop.window = audio[:end] if audio.size >= end else np.pad(audio, (0, end - audio.size))

    def decide(self, hop: Hop) -> None:
        """Decide the label at the end of the hop, and the events in it."""
        hop.decision = self._decider.observe(hop.observation)
        if hop.last:
            hop.closing = self._decider.finish(hop.end_s)
        elif hop.finalizes:
            hop.closing = self._decider.finalize()

    def overall(self) -> tuple[Label, float] | None:
        """Return label and confidence of the whole call; None if there was no speech."""
        return self._decider.overall()

    def _append(self, chunk: TimedSamples) -> Iterator[Hop]:
        if chunk.samples.size:
            self._pieces.append(chunk.samples)
            self._size += chunk.samples.size
        if chunk.skipped_s:
            yield from self.cut(exact=True)
            yield from self._rest()
            self._position_s += chunk.skipped_s

    def _rest(self) -> Iterator[Hop]:
        if self._size:
            yield self._cut_hop(self._size, 0.0)

    def _cut_hop(self, size: int, silence_s: float) -> Hop:
        audio = self._pieces[0] if len(self._pieces) == 1 else np.concatenate(self._pieces)
        samples, rest = audio[:size], audio[size:]
        self._pieces, self._size = [rest] if rest.size else [], rest.size
        self._cut_at = (self._cut_at + size) % FRAME
        start_s, self._position_s = self._position_s, self._position_s + size / SAMPLE_RATE_HZ
        return Hop(start_s, self._position_s, samples, silence_s=silence_s)

"""The speech gate: where in the audio somebody speaks. Silence and noise go no further."""

import numpy as np

from voxgender.audio.activity import CONTEXT, FRAME, Judgement, State, VoiceActivity
from voxgender.audio.frames import Samples

ENTER = 0.5
"""Probability at which speech may begin."""
STAY = 0.35
"""Probability above which it goes on."""
ENTER_FRAMES = 2
"""Frames in a row that it takes to begin: a click is one."""
LEAVE_FRAMES = 8
"""Frames in a row below ``STAY`` that end an utterance (256 ms): pauses between words are shorter."""


class Gate:
    """One call's gate: probabilities with hysteresis -> who is silent, who speaks, and since when.

    Audio goes in by :meth:`frames`, what the network says of it by :meth:`judge`: the network judges many calls at
    once. All positions are in samples, counted back from the newest frame that was judged.
    """

    def __init__(self) -> None:
        self.state = State.initial()
        """The network's memory of this call."""
        self._offset = 0
        self._rest: Samples = np.zeros(CONTEXT, dtype=np.float32)
        self._loud = 0
        self._quiet = 0
        self.speaking = False
        """True from an utterance's second frame until ``LEAVE_FRAMES`` quiet ones."""
        self.utterance = 0
        """Samples since the utterance began; while nobody speaks, since the last one began."""
        self.quiet = 0
        """Samples since the last frame with speech in it."""
        self.ended = False
        """True when an utterance ended within the last push."""

    @property
    def pending(self) -> int:
        """Samples received that do not fill a frame yet."""
        return self._rest.size - CONTEXT

    def frames(self, samples: Samples) -> Samples:
        """Take in the next samples, float32 of shape ``(n,)``; returns what :meth:`judge` has to be told of.

        Returns:
            float32, shape ``(frames, 64 + 512)``: each whole frame with the samples before it; often none.
        """
        self._offset = -self.pending
        audio = np.concatenate((self._rest, samples))
        count = (audio.size - CONTEXT) // FRAME
        self._rest = audio[count * FRAME :]
        before = audio[: count * FRAME].reshape(count, FRAME)[:, :CONTEXT]
        frames = audio[CONTEXT : CONTEXT + count * FRAME].reshape(count, FRAME)
        return np.concatenate((before, frames), axis=1)

    def judge(self, judgement: Judgement) -> list[tuple[int, int]]:
        """Hear what the network says of the last :meth:`frames`.

        Returns:
            Stretches of speech as ``(start, end)`` in samples relative to the first new sample; a start may be
            negative where the samples before left less than a frame over.
        """
        self.ended = False
        self.state = judgement.state
        stretches: list[tuple[int, int]] = []
        for index, probability in enumerate(judgement.probabilities.tolist()):
            if self._judge(probability):
                start = self._offset + index * FRAME
                if stretches and stretches[-1][1] == start:
                    start = stretches.pop()[0]
                stretches.append((start, self._offset + (index + 1) * FRAME))
        return stretches

    def push(self, samples: Samples, activity: VoiceActivity) -> list[tuple[int, int]]:
        """:meth:`frames` and :meth:`judge` in one, for a call by itself."""
        (judgement,) = activity([self.frames(samples)], [self.state])
        return self.judge(judgement)

    def last_frames(self) -> Samples:
        """As :meth:`frames`, for what is left at the end of a call, filled up with silence."""
        return self.frames(np.zeros(-self.pending % FRAME, dtype=np.float32))

    def end(self) -> None:
        """The call is over, and with it the utterance."""
        self.ended = self.speaking or self.ended
        self.speaking = False

    def _judge(self, probability: float) -> bool:
        """Take one frame in; True when there is speech in it."""
        self.utterance += FRAME
        self.quiet += FRAME
        if self.speaking:
            if probability >= STAY:
                self._quiet = self.quiet = 0
                return True
            self._quiet += 1
            if self._quiet >= LEAVE_FRAMES:
                self.speaking, self.ended = False, True
                self._loud = 0
            return False
        self._loud = self._loud + 1 if probability >= ENTER else 0
        if self._loud < ENTER_FRAMES:
            return False
        self.speaking = True
        self._quiet = self.quiet = 0
        self.utterance = self._loud * FRAME
        return True

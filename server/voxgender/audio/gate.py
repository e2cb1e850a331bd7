"""Find speech in a call's audio (voice activity detection), so that silence and noise do not reach the model."""

import numpy as np

from voxgender.audio.activity import CONTEXT, FRAME, SpeechProbabilities, State, VoiceActivity
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
    """Decides for one call, with hysteresis, whether somebody speaks, and since when.

    :meth:`frames` prepares audio for the network, which runs for many calls at once; :meth:`update` takes the
    network's probabilities. All positions are in samples, counted back from the newest frame that was updated.
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
        """Add the next samples, float32 of shape ``(n,)``, and return the frames that the network has to process next.

        Returns:
            float32, shape ``(frames, 64 + 512)``: each whole frame with the samples before it; often none.
        """
        self._offset = -self.pending
        audio = np.concatenate((self._rest, samples))
        count = (audio.size - CONTEXT) // FRAME
        self._rest = audio[count * FRAME :]
        # A view in which the end of each frame is the beginning of the next one.
        step, sample = FRAME * audio.itemsize, audio.itemsize
        return np.ndarray((count, CONTEXT + FRAME), audio.dtype, audio, strides=(step, sample))

    def update(self, speech: SpeechProbabilities) -> list[tuple[int, int]]:
        """Update the gate by the network's probabilities for the last :meth:`frames`.

        Returns:
            Spans of speech as ``(start, end)`` in samples relative to the first new sample; a start may be
            negative where samples before the first new one did not fill a frame.
        """
        self.ended = False
        self.state = speech.state
        spans: list[tuple[int, int]] = []
        for index, probability in enumerate(speech.probabilities.tolist()):
            if self._is_speech(probability):
                start = self._offset + index * FRAME
                if spans and spans[-1][1] == start:
                    start = spans.pop()[0]
                spans.append((start, self._offset + (index + 1) * FRAME))
        return spans

    def push(self, samples: Samples, activity: VoiceActivity) -> list[tuple[int, int]]:
        """Run the network for this call alone: :meth:`frames` and :meth:`update` in one."""
        (speech,) = activity([self.frames(samples)], [self.state])
        return self.update(speech)

    def last_frames(self) -> Samples:
        """Return the last frame at the end of a call, filled up with silence. See :meth:`frames`."""
        return self.frames(np.zeros(-self.pending % FRAME, dtype=np.float32))

    def end(self) -> None:
        """End the utterance, because the call is over."""
        self.ended = self.speaking or self.ended
        self.speaking = False

    def _is_speech(self, probability: float) -> bool:
        """Add one frame; return whether there is speech in it."""
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

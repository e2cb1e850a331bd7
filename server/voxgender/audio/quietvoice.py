"""Notice a voice that is too quiet: below some -60 dB of full scale the speech gate takes a voice for silence.

A quiet room has that level, too, and so has a muted headset's noise. So quiet sound is amplified and given to the
speech gate's network once more, some of the time, to find out whether there is speech in it.
"""

import math

import numpy as np

from voxgender.audio.activity import FRAME, SpeechProbabilities, State
from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples
from voxgender.audio.gate import Gate

QUIET_DB = -50.0
"""RMS of the loudest 32 ms, in dB of full scale, below which voices are heard less well."""
SILENT_DB = -85.0
"""RMS below which nothing is left of a voice in 16 bits."""
_AMPLIFIED_DB = -25.0
_FORGET_DB_PER_S = 2.0
"""Decay of the loudest level: a pause of a speaker is no quiet voice, nor is somebody else far away meanwhile."""
_LISTEN = 2 * SAMPLE_RATE_HZ
"""Samples that are listened to in turn, amplified."""
_EVERY = 8 * SAMPLE_RATE_HZ
"""Samples from one such time to the next."""
_SPEECH = SAMPLE_RATE_HZ // 2
"""Speech within one time that makes a voice."""


class QuietVoice:
    """Tells whether one call's sound has a voice in it that is too quiet.

    :meth:`frames` takes the audio and gives what the network has to run on, often nothing; :meth:`update` takes the
    network's probabilities.
    """

    def __init__(self) -> None:
        self.found = False
        """True while there is such a voice."""
        self._loudest_db = -math.inf
        self._gate = Gate()
        self._position = 0
        self._speech = 0

    @property
    def state(self) -> State:
        """The network's memory of the amplified sound."""
        return self._gate.state

    def frames(self, samples: Samples) -> Samples | None:
        """Add the next samples; return frames for the network as :meth:`Gate.frames` does; None if not needed."""
        if not samples.size:
            return None
        self._loudest_db = max(_level_db(samples), self._loudest_db - _FORGET_DB_PER_S * samples.size / SAMPLE_RATE_HZ)
        if not SILENT_DB <= self._loudest_db < QUIET_DB:
            self._begin()
            self.found = False
            return None
        if self._position >= _EVERY:
            self._begin()
        elif self._position >= _LISTEN:
            self._position += samples.size
            # Only now, because a voice rises: its first sound is quieter than the rest.
            self.found = self._speech >= _SPEECH
            return None
        self._position += samples.size
        return self._gate.frames(samples * np.float32(10 ** ((_AMPLIFIED_DB - self._loudest_db) / 20)))

    def update(self, speech: SpeechProbabilities) -> None:
        """Take the network's probabilities for the last :meth:`frames`."""
        self._speech += sum(end - start for start, end in self._gate.update(speech))

    def _begin(self) -> None:
        if self._position:
            self._gate, self._position, self._speech = Gate(), 0, 0


def _level_db(samples: Samples) -> float:
    """Return the RMS of the loudest frame, in dB of full scale."""
    count = max(1, samples.size // FRAME)
    frames = samples[: count * FRAME].reshape(count, -1)
    return 10 * math.log10(max(np.vecdot(frames, frames).tolist()) / frames.shape[1] + 1e-12)

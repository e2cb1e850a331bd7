"""The speech gate: where in the audio somebody speaks. Silence and noise go no further.

Silero VAD (https://github.com/snakers4/silero-vad) in ONNX Runtime: its 16 kHz sequence variant takes a hop's
frames in one call, about 0.07 ms a frame of 32 ms on one thread.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from voxgender.audio.resampler import SAMPLE_RATE_HZ, Samples

FRAME = 512
"""Samples that one probability stands for: 32 ms."""
FRAME_S = FRAME / SAMPLE_RATE_HZ

_CONTEXT = 64

ENTER = 0.5
"""Probability at which speech may begin."""
STAY = 0.35
"""Probability above which it goes on."""
ENTER_FRAMES = 2
"""Frames in a row that it takes to begin: a click is one."""
LEAVE_FRAMES = 8
"""Frames in a row below ``STAY`` that end an utterance (256 ms): pauses between words are shorter."""


class VoiceActivity:
    """The network itself; one for all calls, used from one thread at a time."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(_weights(), options, providers=["CPUExecutionProvider"])

    def __call__(self, frames: Samples, state: "State") -> tuple[npt.NDArray[np.float32], "State"]:
        """Speech probabilities of frames that follow one another.

        Args:
            frames: float32, shape ``(n, 64 + 512)``: each frame with the 64 samples before it.
            state: what the last call returned, or ``State.initial()``.

        Returns:
            float32 probabilities, shape ``(n,)``, and the next state.
        """
        probabilities, h, c = self._session.run(None, {"input": frames, "h": state.h, "c": state.c})
        return probabilities, State(h, c)


def _weights() -> Path:
    # Found, not imported: the package would bring torch with it, which neither the gate nor `--model off` needs.
    package = find_spec("silero_vad")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).with_name("data") / "silero_vad_16k_sequence.onnx"


class State(NamedTuple):
    """The network's memory of one call, each float32 of shape ``(1, 1, 128)``."""

    h: npt.NDArray[np.float32]
    c: npt.NDArray[np.float32]

    @classmethod
    def initial(cls) -> "State":
        return cls(np.zeros((1, 1, 128), dtype=np.float32), np.zeros((1, 1, 128), dtype=np.float32))


class Gate:
    """One call's gate: probabilities with hysteresis -> who is silent, who speaks, and since when.

    All positions are in samples, counted back from the newest frame that was judged.
    """

    def __init__(self, activity: VoiceActivity) -> None:
        self._activity = activity
        self._state = State.initial()
        self._rest: Samples = np.zeros(_CONTEXT, dtype=np.float32)
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
        return self._rest.size - _CONTEXT

    def push(self, samples: Samples) -> list[tuple[int, int]]:
        """Judge the next samples, float32 of shape ``(n,)``.

        Returns:
            Stretches of speech as ``(start, end)`` in samples relative to the first new sample; a start may be
            negative where the last push left less than a frame over.
        """
        offset = -self.pending
        audio = np.concatenate((self._rest, samples))
        count = (audio.size - _CONTEXT) // FRAME
        self._rest = audio[count * FRAME :]
        self.ended = False
        if not count:
            return []
        before = audio[: count * FRAME].reshape(count, FRAME)[:, :_CONTEXT]
        frames = audio[_CONTEXT : _CONTEXT + count * FRAME].reshape(count, FRAME)
        probabilities, self._state = self._activity(np.concatenate((before, frames), axis=1), self._state)
        stretches: list[tuple[int, int]] = []
        for index, probability in enumerate(probabilities.tolist()):
            if self._judge(probability):
                start = offset + index * FRAME
                if stretches and stretches[-1][1] == start:
                    start = stretches.pop()[0]
                stretches.append((start, offset + (index + 1) * FRAME))
        return stretches

    def flush(self) -> list[tuple[int, int]]:
        """Judge what is left at the end of a call, filled up with silence, and end the utterance."""
        stretches = self.push(np.zeros(-self.pending % FRAME, dtype=np.float32))
        self.ended = self.speaking or self.ended
        self.speaking = False
        return stretches

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

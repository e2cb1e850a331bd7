"""Run the speech gate's network, Silero VAD (https://github.com/snakers4/silero-vad), for many calls at once.

The file was written by :mod:`voxgender.graphs.silero`; ``silero/README.md`` says how, and under which licence.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples
from voxgender.onnxsession import open_session

NETWORK = Path(__file__).with_name("silero") / "voice_activity.onnx"
"""The network for frames of shape ``(n, calls, 576)`` and states of shape ``(1, calls, 128)``."""

FRAME = 512
"""Samples that one probability stands for: 32 ms."""
FRAME_S = FRAME / SAMPLE_RATE_HZ
CONTEXT = 64
"""Samples before a frame that the network is given with it."""

CALLS_A_RUN = 32
"""Most calls in one run of the network; more do not make a call cheaper."""
_HIDDEN = 128


class State(NamedTuple):
    """The network's memory of one call, each float32 of shape ``(128,)``."""

    h: npt.NDArray[np.float32]
    c: npt.NDArray[np.float32]

    @classmethod
    def initial(cls) -> "State":
        return cls(np.zeros(_HIDDEN, dtype=np.float32), np.zeros(_HIDDEN, dtype=np.float32))


class SpeechProbabilities(NamedTuple):
    """Speech probabilities of one call's frames, float32 of shape ``(n,)``, and the state after them."""

    probabilities: npt.NDArray[np.float32]
    state: State


class VoiceActivity:
    """Runs the network for all calls, from one thread at a time."""

    def __init__(self) -> None:
        self._session = open_session(NETWORK)

    def __call__(self, frames: Sequence[Samples], states: Sequence[State]) -> list[SpeechProbabilities]:
        """Compute the probability of speech in frames of many calls.

        Args:
            frames: the next frames of each call, float32, shape ``(n, 64 + 512)``: each frame with the 64 samples
                before it. ``n`` may differ between calls and may be zero.
            states: each call's state after its last run, or ``State.initial()``.
        """
        found = [SpeechProbabilities(np.zeros(0, dtype=np.float32), state) for state in states]
        by_count: dict[int, list[int]] = {}
        for index, one in enumerate(frames):
            if one.shape[0]:
                by_count.setdefault(one.shape[0], []).append(index)
        for indices in by_count.values():
            for start in range(0, len(indices), CALLS_A_RUN):
                some = indices[start : start + CALLS_A_RUN]
                probabilities, h, c = self._session.run(
                    None,
                    {
                        "frames": np.stack([frames[index] for index in some], axis=1),
                        "h": np.stack([states[index].h for index in some])[np.newaxis],
                        "c": np.stack([states[index].c for index in some])[np.newaxis],
                    },
                )
                for place, index in enumerate(some):
                    found[index] = SpeechProbabilities(probabilities[:, place], State(h[0, place], c[0, place]))
        return found

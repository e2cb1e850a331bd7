"""A gate with a network of its own, real or told what to say."""

from collections.abc import Sequence

from tests.support import Samples
from voxgender.audio.activity import SpeechProbabilities, State, VoiceActivity
from voxgender.audio.gate import Gate


class SoloGate(Gate):
    def __init__(self, activity: VoiceActivity) -> None:
        super().__init__()
        self._activity = activity

    def hear(self, samples: Samples) -> list[tuple[int, int]]:
        return self.push(samples, self._activity)

    def finish(self) -> list[tuple[int, int]]:
        (speech,) = self._activity([self.last_frames()], [self.state])
        spans = self.update(speech)
        self.end()
        return spans


class Scripted(VoiceActivity):
    """Judges one call's frames by ``say``, without a network."""

    def __init__(self) -> None: ...

    def say(self, frames: Samples) -> Samples:
        raise NotImplementedError

    def __call__(self, frames: Sequence[Samples], states: Sequence[State]) -> list[SpeechProbabilities]:
        return [SpeechProbabilities(self.say(one), state) for one, state in zip(frames, states, strict=True)]

import numpy as np
import pytest

from tests.audio.gates import Scripted, SoloGate
from tests.support import Samples, noise, silence, sine
from voxgender.audio.activity import FRAME, VoiceActivity
from voxgender.audio.gate import ENTER_FRAMES, LEAVE_FRAMES, Gate
from voxgender.peer.vocaltract import Speaker
from voxgender.peer.voices import MAN, WOMAN, speak

HOP = 6 * FRAME
Spans = list[tuple[int, int]]


@pytest.fixture(scope="module")
def activity() -> VoiceActivity:
    return VoiceActivity()


class Told(Scripted):
    """Says what it is told to."""

    def __init__(self, *probabilities: float) -> None:
        self.probabilities = list(probabilities)

    def say(self, frames: Samples) -> Samples:
        said, self.probabilities = self.probabilities[: len(frames)], self.probabilities[len(frames) :]
        return np.array(said, dtype=np.float32)


def told(*probabilities: float) -> tuple[Gate, Spans]:
    """A gate that was given a frame for each probability, all at once, and what it found."""
    gate = SoloGate(Told(*probabilities))
    return gate, gate.hear(silence(len(probabilities) * FRAME / 16_000))


def listen(activity: VoiceActivity, audio: Samples, chunk: int = HOP) -> Spans:
    """Speech in samples from the start of the call, touching spans joined."""
    gate = SoloGate(activity)
    found: Spans = []

    def add(spans: Spans, position: int) -> None:
        for start, end in spans:
            if found and found[-1][1] == position + start:
                found[-1] = (found[-1][0], position + end)
            else:
                found.append((position + start, position + end))

    for start in range(0, audio.size, chunk):
        add(gate.hear(audio[start : start + chunk]), start)
    add(gate.finish(), audio.size)
    return found


def share(spans: Spans, audio: Samples) -> float:
    return sum(end - start for start, end in spans) / audio.size


def pink(seconds: float) -> Samples:
    spectrum = np.fft.rfft(noise(seconds, seed=5))
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.size), 1))
    shaped = np.fft.irfft(spectrum)
    return np.asarray(0.1 * shaped / shaped.std(), dtype=np.float32)


def hum(seconds: float) -> Samples:
    return np.asarray(sum(sine(seconds, hz=50.0 * n, level=0.1 / n) for n in (1, 2, 3, 5)), dtype=np.float32)


@pytest.mark.parametrize(
    "audio",
    [silence(5), noise(5, level=0.0003), noise(5, level=0.2), pink(5), hum(5), sine(5, hz=1_000)],
    ids=["digital silence", "a quiet room", "white noise", "pink noise", "mains hum", "a tone"],
)
def test_what_is_no_voice_is_no_speech(activity: VoiceActivity, audio: Samples) -> None:
    assert listen(activity, audio) == []


@pytest.mark.parametrize("voice", [MAN, WOMAN])
@pytest.mark.parametrize("gain", [0.1, 1.0, 5.0])
def test_a_voice_is_speech_however_loud(activity: VoiceActivity, voice: Speaker, gain: float) -> None:
    audio = np.concatenate([noise(1.0, level=0.0003), np.clip(gain * speak(voice, 4.0), -1, 1), silence(1.0)])
    found = listen(activity, audio.astype(np.float32))
    assert share(found, audio) > 0.5
    assert found[0][0] == pytest.approx(16_000, abs=0.25 * 16_000)
    assert found[-1][1] <= 5.2 * 16_000


def test_a_click_is_no_speech(activity: VoiceActivity) -> None:
    clicks = noise(4.0, level=0.0003)
    clicks[8_000::16_000] = 0.9
    assert listen(activity, clicks) == []


@pytest.mark.parametrize("chunk", [1, 100, 512, 1_600, 5_000, 1_000_000])
def test_speech_does_not_depend_on_how_the_audio_is_cut(activity: VoiceActivity, chunk: int) -> None:
    audio = np.concatenate([silence(0.3), speak(WOMAN, 1.0), silence(0.5)])[: 15_000 if chunk == 1 else None]
    assert listen(activity, audio, chunk) == listen(activity, audio)


def test_calls_do_not_hear_each_other(activity: VoiceActivity) -> None:
    voice = speak(MAN, 2.0)
    alone = listen(activity, voice)
    first, second = SoloGate(activity), SoloGate(activity)
    heard: Spans = []
    for start in range(0, voice.size, HOP):
        heard += [(start + a, start + b) for a, b in first.hear(voice[start : start + HOP])]
        assert second.hear(noise(HOP / 16_000, seed=start)) == []
    heard += [(voice.size + a, voice.size + b) for a, b in first.finish()]
    assert sum(b - a for a, b in heard) == sum(b - a for a, b in alone)


def test_one_loud_frame_opens_nothing() -> None:
    assert told(*[0.9, 0.1] * 10)[1] == []


def test_speech_begins_with_enough_loud_frames() -> None:
    gate, spans = told(0.1, 0.9, 0.9, 0.9)
    assert ENTER_FRAMES == 2
    assert spans == [(2 * FRAME, 4 * FRAME)]
    assert gate.speaking
    assert gate.utterance == 3 * FRAME


def test_speech_goes_on_at_a_probability_that_would_not_begin_it() -> None:
    assert told(0.4, 0.4, 0.4)[1] == []
    assert told(0.9, 0.9, 0.4, 0.4)[1] == [(FRAME, 4 * FRAME)]


def test_a_pause_between_words_ends_no_utterance_but_is_no_speech() -> None:
    gate, spans = told(0.9, 0.9, *[0.1] * (LEAVE_FRAMES - 1), 0.9)
    assert spans == [(FRAME, 2 * FRAME), ((LEAVE_FRAMES + 1) * FRAME, (LEAVE_FRAMES + 2) * FRAME)]
    assert gate.speaking
    assert not gate.ended
    assert gate.utterance == (LEAVE_FRAMES + 2) * FRAME
    assert gate.quiet == 0


def test_a_longer_pause_ends_it() -> None:
    gate, _ = told(0.9, 0.9, *[0.1] * LEAVE_FRAMES, 0.1)
    assert gate.ended
    assert not gate.speaking
    assert gate.quiet == (LEAVE_FRAMES + 1) * FRAME
    assert gate.utterance - gate.quiet == 2 * FRAME


def test_an_end_is_told_once() -> None:
    gate = SoloGate(Told(0.9, 0.9, *[0.1] * 20))
    ends = []
    for _ in range(11):
        gate.hear(silence(2 * FRAME / 16_000))
        ends.append(gate.ended)
    assert sum(ends) == 1


def test_a_start_before_the_new_samples_is_negative() -> None:
    gate = SoloGate(Told(0.9, 0.9))
    assert gate.hear(silence(900 / 16_000)) == []
    assert gate.pending == 900 - FRAME
    assert gate.hear(silence(200 / 16_000)) == [(FRAME - 900, 2 * FRAME - 900)]


def test_flush_judges_the_last_part_of_a_frame_and_ends_the_utterance() -> None:
    gate = SoloGate(Told(0.9, 0.9, 0.9))
    gate.hear(silence((2 * FRAME + 100) / 16_000))
    assert gate.finish() == [(-100, FRAME - 100)]
    assert gate.ended
    assert not gate.speaking
    assert gate.pending == 0


def test_flush_of_silence_ends_nothing(activity: VoiceActivity) -> None:
    gate = SoloGate(activity)
    gate.hear(silence(0.1))
    assert gate.finish() == []
    assert not gate.ended


def test_samples_that_are_no_numbers_do_not_deafen_it(activity: VoiceActivity) -> None:
    gate = SoloGate(activity)
    gate.hear(np.full(HOP, np.nan, dtype=np.float32))
    voice = speak(MAN, 2.0)
    assert sum(end - start for start, end in gate.hear(voice)) > 16_000

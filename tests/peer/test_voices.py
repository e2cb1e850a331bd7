from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import silero_vad

from voxgender.peer.vocaltract import SAMPLE_RATE_HZ, Samples, Speaker
from voxgender.peer.voices import MAN, WOMAN, Dialogue, dialogue, speak

CHUNK = 512
CONTEXT = 64


@pytest.fixture(scope="module")
def talk() -> Dialogue:
    return dialogue()


def speech_probability(samples: Samples) -> np.ndarray:
    """Silero's judgement of every 32 ms."""
    model = Path(silero_vad.__file__).parent / "data" / "silero_vad_16k_op15.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options)
    state = np.zeros((2, 1, 128), dtype=np.float32)
    heard = np.concatenate([np.zeros(CONTEXT, dtype=np.float32), samples])
    probabilities = []
    for start in range(0, samples.size - CHUNK + 1, CHUNK):
        chunk = heard[None, start : start + CONTEXT + CHUNK]
        probability, state = session.run(None, {"input": chunk, "state": state, "sr": np.array(SAMPLE_RATE_HZ)})
        probabilities.append(probability.item())
    return np.array(probabilities)


def pitch_hz(samples: Samples) -> np.ndarray:
    """Pitch of the clearly periodic frames, by autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::320]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(1024), 4096)) ** 2
    correlation = np.fft.irfft(spectrum)[:, : SAMPLE_RATE_HZ // 70]
    shortest = SAMPLE_RATE_HZ // 350
    best = correlation[:, shortest:].argmax(axis=1) + shortest
    strength = correlation[np.arange(len(best)), best] / correlation[:, 0]
    loud = correlation[:, 0] > np.median(correlation[:, 0])
    return np.asarray(SAMPLE_RATE_HZ / best[(strength > 0.5) & loud])


def envelope_db(samples: Samples) -> np.ndarray:
    """Long-term spectral envelope from 300 to 6000 Hz, 100 steps an octave."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::256] * np.hanning(1024)
    power_db = 10 * np.log10(np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0))
    smooth = np.convolve(power_db, np.hanning(19) / np.hanning(19).sum(), mode="same")
    frequencies_hz = 300 * 2 ** (np.arange(432) / 100)
    return np.interp(frequencies_hz, np.fft.rfftfreq(1024, 1 / SAMPLE_RATE_HZ), smooth)


@pytest.mark.parametrize(("voice", "low_hz", "high_hz"), [(MAN, 105, 125), (WOMAN, 195, 225)], ids=["man", "woman"])
def test_the_pitch_is_the_speaker_s_and_moves_like_speech(voice: Speaker, low_hz: float, high_hz: float) -> None:
    pitch = pitch_hz(speak(voice, 6.0, seed=7))

    assert pitch.size > 50
    assert low_hz < np.median(pitch) < high_hz
    melody = 12 * np.log2(np.percentile(pitch, 95) / np.percentile(pitch, 5))
    assert 2.0 < melody < 9.0, "semitones"


def test_a_shorter_tract_moves_every_formant_up_by_its_scale() -> None:
    long = envelope_db(speak(MAN, 8.0, seed=3))
    short = envelope_db(speak(replace(MAN, formant_scale=1.17), 8.0, seed=3))

    def likeness(shift: int) -> float:
        a, b = long[: long.size - shift], short[shift:]
        return float(np.corrcoef(np.diff(a), np.diff(b))[0, 1])

    scale = 2 ** (max(range(50), key=likeness) / 100)
    assert scale == pytest.approx(1.17, abs=0.04)


def test_a_speech_detector_hears_both_speakers_and_nothing_in_the_pause(talk: Dialogue) -> None:
    heard = speech_probability(talk.samples) > 0.5
    at = (np.arange(heard.size) + 0.5) * CHUNK / SAMPLE_RATE_HZ
    man, woman = talk.turns

    for turn in (man, woman):
        assert heard[(at > turn.start) & (at < turn.end)].mean() > 0.9, turn.label
    # The detector lets go of a voice about a third of a second after its end.
    assert not heard[(at > man.end + 0.35) & (at < woman.start)].any()
    assert not heard[at < man.start].any()


def test_a_seed_gives_the_same_samples_and_another_seed_others() -> None:
    first, again, other = (speak(WOMAN, 1.0, seed=seed) for seed in (5, 5, 6))

    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.345, 5.0])
def test_speech_has_the_length_asked_for_and_a_sound_level(seconds: float) -> None:
    samples = speak(MAN, seconds, seed=1)

    assert samples.dtype == np.float32
    assert samples.size == pytest.approx(seconds * SAMPLE_RATE_HZ, abs=80)
    assert np.isfinite(samples).all()
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.08, rel=0.02)
    assert np.abs(samples).max() < 1.0


def test_the_dialogue_says_who_speaks_when(talk: Dialogue) -> None:
    man, woman = talk.turns

    assert (man.label, woman.label) == ("male", "female")

    def level(start_s: float, end_s: float) -> float:
        inside = slice(round((start_s + 0.03) * SAMPLE_RATE_HZ), round((end_s - 0.03) * SAMPLE_RATE_HZ))
        return float(np.sqrt(np.mean(talk.samples[inside] ** 2)))

    for turn in (man, woman):
        assert level(turn.start, turn.end) > 0.03, turn.label
    for start_s, end_s in [(0.0, man.start), (man.end, woman.start)]:
        assert level(start_s, end_s) < 0.001

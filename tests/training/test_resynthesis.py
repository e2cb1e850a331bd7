from typing import Literal

import numpy as np
import pytest

from voxgender.audio.frames import Samples
from voxgender.peer.vocaltract import Speaker
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.training.resynthesis import resynthesised


def median_hz(audio: Samples) -> float:
    """Measure the pitch by the autocorrelation of the loud half of frames of 64 ms."""
    frames = audio[: audio.size // 1024 * 1024].reshape(-1, 1024)
    power = np.mean(frames**2, axis=1)
    spectra = np.abs(np.fft.rfft(frames[power >= np.median(power)] * np.hanning(1024), 4096)) ** 2
    alike = np.fft.irfft(spectra)[:, 16_000 // 600 : 16_000 // 60]
    return float(np.median(16_000 / (16_000 // 600 + alike.argmax(axis=1))))


@pytest.mark.parametrize(("kind", "voice", "low", "high"), [("male", MAN, 0.7, 2.8), ("female", WOMAN, 0.55, 1.9)])
def test_a_voice_is_heard_again_at_other_pitches(
    kind: Literal["male", "female"], voice: Speaker, low: float, high: float
) -> None:
    audio = speak(voice, 2.0, seed=1)
    ratios = [median_hz(take) / median_hz(audio) for take in resynthesised(audio, kind, 3, np.random.default_rng(0))]
    assert len(ratios) == 3
    assert all(low * 0.9 < ratio < high * 1.1 for ratio in ratios)
    assert np.ptp(ratios) > 0.05


def test_takes_are_sound_and_within_full_scale() -> None:
    for take in resynthesised(speak(WOMAN, 2.0, seed=1), "female", 2, np.random.default_rng(0)):
        assert take.dtype == np.float32
        assert take.size > 16_000
        assert 0.01 < np.abs(take).max() <= 1


def envelope(audio: Samples) -> Samples:
    """Log power in bands of 250 Hz, less its straight trend."""
    power = np.abs(np.fft.rfft(audio[: audio.size // 512 * 512].reshape(-1, 512), axis=1)) ** 2
    curve = np.log(power.mean(axis=0)[:128].reshape(-1, 8).mean(axis=1))
    at = np.arange(curve.size)
    return np.asarray(curve - np.polyval(np.polyfit(at, curve, 1), at), dtype=np.float32)


def test_the_vocal_tract_stays_while_the_pitch_moves() -> None:
    audio = speak(MAN, 2.0, seed=1)
    (other,) = resynthesised(audio, "male", 1, np.random.default_rng(3))
    assert np.corrcoef(envelope(audio), envelope(other))[0, 1] > 0.8


def test_a_rumbling_microphone_hides_no_pitch() -> None:
    rumble = 0.05 * np.sin(np.arange(32_000) * 2 * np.pi * 20 / 16_000).astype(np.float32)
    (take,) = resynthesised(speak(MAN, 2.0, seed=1) + rumble, "male", 1, np.random.default_rng(0))
    assert 0.7 * 0.9 < median_hz(take) / MAN.f0_hz < 2.8 * 1.1


def test_the_same_seed_makes_the_same_voices() -> None:
    audio = speak(MAN, 1.0, seed=1)
    first, second = (resynthesised(audio, "male", 1, np.random.default_rng(5))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_where_no_pitch_is_found_there_are_no_takes() -> None:
    assert resynthesised(np.zeros(16_000, np.float32), "male", 3, np.random.default_rng(0)) == []

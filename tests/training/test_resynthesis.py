import numpy as np
import numpy.typing as npt
import pytest

from voxgender import protocol
from voxgender.peer.vocaltract import Voice
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.training.resynthesis import FRAME, rough_pitch, takes


def median_hz(pitch: npt.NDArray[np.float32]) -> float:
    return float(np.median(pitch[pitch > 0]))


@pytest.mark.parametrize(("kind", "voice", "low", "high"), [("male", MAN, 0.7, 2.8), ("female", WOMAN, 0.55, 1.9)])
def test_a_voice_is_heard_again_at_other_pitches(kind: protocol.Voice, voice: Voice, low: float, high: float) -> None:
    audio = speak(voice, 2.0, seed=1)
    original, *others = takes(audio, kind, 3, np.random.default_rng(0))
    assert original.audio is audio
    assert len(others) == 3
    assert median_hz(original.pitch) == pytest.approx(voice.f0_hz, rel=0.2)
    ratios = [median_hz(take.pitch) / median_hz(original.pitch) for take in others]
    assert all(low * 0.9 < ratio < high * 1.1 for ratio in ratios)
    assert np.ptp(ratios) > 0.05


def test_the_pitch_goes_along_with_the_audio() -> None:
    for take in takes(speak(WOMAN, 2.0, seed=1), "female", 2, np.random.default_rng(0)):
        assert take.pitch.shape == (take.audio.size // FRAME,)
        assert take.audio.dtype == take.pitch.dtype == np.float32
        assert np.abs(take.audio).max() <= 1
        assert np.isfinite(take.pitch).all()


def envelope(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Log power in bands of 250 Hz, less its straight trend."""
    power = np.abs(np.fft.rfft(audio[: audio.size // 512 * 512].reshape(-1, 512), axis=1)) ** 2
    curve = np.log(power.mean(axis=0)[:128].reshape(-1, 8).mean(axis=1))
    at = np.arange(curve.size)
    return np.asarray(curve - np.polyval(np.polyfit(at, curve, 1), at), dtype=np.float32)


def test_the_vocal_tract_stays_while_the_pitch_moves() -> None:
    original, other = takes(speak(MAN, 2.0, seed=1), "male", 1, np.random.default_rng(3))
    assert np.corrcoef(envelope(original.audio), envelope(other.audio))[0, 1] > 0.8


def test_the_rough_pitch_is_right_where_it_tells_one() -> None:
    rumble = 0.05 * np.sin(np.arange(32_000) * 2 * np.pi * 20 / 16_000).astype(np.float32)
    pitch = rough_pitch(speak(MAN, 2.0, seed=1) + rumble)
    assert pitch.shape == (100,)
    assert (pitch > 0).mean() > 0.2
    assert median_hz(pitch) == pytest.approx(MAN.f0_hz, rel=0.2)


def test_the_same_seed_makes_the_same_voices() -> None:
    audio = speak(MAN, 1.0, seed=1)
    first, second = (takes(audio, "male", 1, np.random.default_rng(5))[1] for _ in range(2))
    np.testing.assert_array_equal(first.audio, second.audio)


def test_what_has_no_pitch_is_left_as_it_is() -> None:
    silence = np.zeros(16_000, np.float32)
    (take,) = takes(silence, "male", 3, np.random.default_rng(0))
    assert not take.pitch.any()

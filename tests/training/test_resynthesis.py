import numpy as np
import numpy.typing as npt
import pytest

from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.training.resynthesis import FRAME, TRAITS, takes


def median_hz(traits: npt.NDArray[np.float32]) -> float:
    return float(np.median(traits[traits[:, 0] > 0, 0]))


@pytest.mark.parametrize(("kind", "voice", "low", "high"), [("male", MAN, 0.85, 2.0), ("female", WOMAN, 0.7, 1.5)])
def test_a_voice_is_heard_again_at_other_pitches(kind, voice, low, high) -> None:  # type: ignore[no-untyped-def]
    audio = speak(voice, 2.0, seed=1)
    original, *others = takes(audio, kind, 3, np.random.default_rng(0))
    assert original.audio is audio
    assert len(others) == 3
    assert median_hz(original.traits) == pytest.approx(voice.f0_hz, rel=0.2)
    ratios = [median_hz(take.traits) / median_hz(original.traits) for take in others]
    assert all(low * 0.9 < ratio < high * 1.1 for ratio in ratios)
    assert np.ptp(ratios) > 0.05


def test_traits_go_along_with_the_audio() -> None:
    for take in takes(speak(WOMAN, 2.0, seed=1), "female", 2, np.random.default_rng(0)):
        assert take.traits.shape == (take.audio.size // FRAME, TRAITS)
        assert take.audio.dtype == take.traits.dtype == np.float32
        assert np.abs(take.audio).max() <= 1
        assert np.isfinite(take.traits).all()


def test_the_vocal_tract_stays_while_the_pitch_moves() -> None:
    audio = speak(MAN, 2.0, seed=1)
    original, other = takes(audio, "male", 1, np.random.default_rng(3))
    both = [take.traits[take.traits[:, 0] > 0, 1:].mean(axis=0) for take in (original, other)]
    # Tilt may differ, what stands out of it may not.
    straight = [
        curve - np.polyval(np.polyfit(np.arange(curve.size), curve, 1), np.arange(curve.size)) for curve in both
    ]
    assert np.corrcoef(*straight)[0, 1] > 0.8


def test_the_same_seed_makes_the_same_voices() -> None:
    audio = speak(MAN, 1.0, seed=1)
    first, second = (takes(audio, "male", 1, np.random.default_rng(5))[1] for _ in range(2))
    np.testing.assert_array_equal(first.audio, second.audio)


def test_what_has_no_pitch_is_left_as_it_is() -> None:
    silence = np.zeros(16_000, np.float32)
    (take,) = takes(silence, "male", 3, np.random.default_rng(0))
    assert not take.traits[:, 0].any()

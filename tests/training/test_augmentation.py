from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from voxgender.peer.voices import MAN, speak
from voxgender.training import augmentation

Samples = npt.NDArray[np.float32]

WAYS: dict[str, Callable[[Samples, np.random.Generator], Samples]] = {
    "room": augmentation.reverberated,
    "filtered": lambda audio, rng: augmentation.filtered(audio, rng, roughness_db=8),
    "band": augmentation.band_limited,
    "clipped": augmentation.clipped,
    "g711": augmentation.through_g711,
    "denoised": augmentation.denoised,
    "levelled": augmentation.levelled,
    "opus": lambda audio, rng: augmentation.through_opus(audio, bit_rate=12_000),
    "any": lambda audio, rng: augmentation.augment(audio, rng, noises=[audio[::-1]], voices=[audio[::2]]),
}


@pytest.fixture(scope="module")
def voice() -> Samples:
    return speak(MAN, 1.0, seed=2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("silent_from", [0, 6_000, 16_000])
def test_length_and_type_stay(way: str, silent_from: int, voice: Samples) -> None:
    audio = voice.copy()
    audio[silent_from:] = 0
    for seed in range(8):
        heard = WAYS[way](audio[: 15_000 + seed], np.random.default_rng(seed))
        assert heard.shape == (15_000 + seed,)
        assert heard.dtype == np.float32
        assert np.isfinite(heard).all()


@pytest.mark.parametrize("way", ["filtered", "band", "clipped", "denoised", "levelled", "g711", "opus"])
def test_the_voice_is_still_there_at_its_time_and_level(way: str, voice: Samples) -> None:
    for seed in range(4):
        heard = WAYS[way](voice, np.random.default_rng(seed))
        lags = range(-60, 61)
        alike = [np.dot(voice[100:-100], np.roll(heard, -lag)[100:-100]) for lag in lags]
        assert abs(lags[int(np.argmax(alike))]) < 40, "moved in time"
        assert 0.1 < np.std(heard) / np.std(voice) < 3


def test_the_ratio_is_the_one_asked_for(voice: Samples) -> None:
    noise = augmentation.coloured_noise(voice.size, np.random.default_rng(0))
    added = augmentation.mixed(voice, noise, 6.0) - voice
    assert 10 * np.log10(np.mean(voice**2) / np.mean(added**2)) == pytest.approx(6.0, abs=0.01)


def test_noise_suppression_takes_more_from_noise_than_from_a_voice(voice: Samples) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    for seed in range(4):
        left = augmentation.denoised(hiss, np.random.default_rng(seed)).std() / hiss.std()
        kept = augmentation.denoised(voice, np.random.default_rng(seed)).std() / voice.std()
        assert left < 0.9 * kept


def test_gain_control_brings_up_what_is_faint() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    audio[16_000:] *= 0.05
    evened = augmentation.levelled(audio, np.random.default_rng(1))
    assert evened[16_000:].std() / evened[:16_000].std() > 0.1


def test_g711_leaves_no_highs(voice: Samples) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    power = np.abs(np.fft.rfft(augmentation.through_g711(hiss, np.random.default_rng(0)))) ** 2
    assert power[5000:].mean() < power[500:3000].mean() / 100


def test_a_room_lasts_longer_than_the_voice_in_it() -> None:
    click = np.zeros(16_000, np.float32)
    click[0] = 1
    heard = augmentation.reverberated(click, np.random.default_rng(0))
    assert heard[0] == pytest.approx(1, abs=1e-3)
    assert np.abs(heard[400:1600]).max() > 1e-4


def test_the_seed_decides_everything(voice: Samples) -> None:
    one, same = (augmentation.augment(voice, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, augmentation.augment(voice, np.random.default_rng(5)))


def test_an_excerpt_of_something_short_repeats_it() -> None:
    short = np.arange(10, dtype=np.float32)
    assert augmentation.excerpt(short, 35, np.random.default_rng(0)).shape == (35,)

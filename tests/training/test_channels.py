from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.training import augmentation, channels
from voxgender.training.channels import Chance, augmented

SIZE = 32_000
SAMPLE_RATE_HZ = 16_000


@pytest.fixture
def chance() -> Chance:
    return Chance((1, 2), "cpu")


@pytest.fixture(scope="module")
def voices() -> Tensor:
    said = [speak(voice, 2.0, seed=seed)[:SIZE] for seed, voice in enumerate((MAN, WOMAN, MAN, WOMAN))]
    return torch.from_numpy(np.stack(said))


def ratio_db(audio: Tensor, other: Tensor) -> Tensor:
    return 10 * (audio.square().mean(dim=1) / (other - audio).square().mean(dim=1)).log10()


def band_power(audio: Tensor, low_hz: float, high_hz: float) -> Tensor:
    power = torch.fft.rfft(audio).abs().square()
    hz = torch.fft.rfftfreq(audio.shape[1], 1 / SAMPLE_RATE_HZ)
    within: Tensor = power[:, (hz >= low_hz) & (hz < high_hz)].sum(dim=1)
    return within


@pytest.mark.parametrize(
    "way",
    [
        channels.reverberated,
        lambda audio, chance: channels.through_microphones(audio, chance, roughness_db=8),
        channels.band_limited,
        lambda audio, chance: channels.band_limited(audio, chance, telephone=True),
        channels.clipped,
        channels.denoised,
        channels.levelled,
        channels.through_g711,
    ],
)
def test_each_way_gives_audio_of_the_same_length_which_is_still_that_voice(
    way: Callable[[Tensor, Chance], Tensor], voices: Tensor, chance: Chance
) -> None:
    heard = way(voices.clone(), chance)
    assert heard.shape == voices.shape
    assert heard.dtype == torch.float32
    assert heard.isfinite().all()
    envelopes = [one.abs().unfold(1, 1600, 1600).mean(dim=2) for one in (voices, heard)]
    for before, after in zip(*envelopes, strict=True):
        assert np.corrcoef(before, after)[0, 1] > 0.4


@pytest.mark.parametrize("silent", [channels.clipped, channels.denoised, channels.levelled, channels.through_g711])
def test_silence_stays_silence(silent: Callable[[Tensor, Chance], Tensor], chance: Chance) -> None:
    heard = silent(torch.zeros(2, SIZE), chance)
    assert heard.isfinite().all()
    assert heard.abs().max() < 1e-3


def test_noise_lies_as_far_below_a_voice_as_it_is_told_to(voices: Tensor) -> None:
    told = torch.tensor([[3.0], [10.0], [20.0], [30.0]])
    heard = channels.mixed(voices, torch.randn(4, SIZE), told)
    torch.testing.assert_close(ratio_db(voices, heard), told[:, 0], atol=0.1, rtol=0)
    torch.testing.assert_close(channels.mixed(voices, torch.zeros(4, SIZE), told), voices)


def test_a_telephone_takes_the_lows_and_the_highs(voices: Tensor, chance: Chance) -> None:
    noise = chance.normal(4, SIZE)
    heard = channels.band_limited(noise, chance, telephone=True)
    for low_hz, high_hz in ((0, 150), (5000, 8000)):
        assert (band_power(heard, low_hz, high_hz) < 0.2 * band_power(noise, low_hz, high_hz)).all()
    assert (band_power(heard, 800, 2500) > 0.6 * band_power(noise, 800, 2500)).all()


def test_g711_leaves_noise_some_thirty_decibels_below_the_voice_and_nothing_above_4_khz(chance: Chance) -> None:
    low = augmentation.band_limited(speak(MAN, 2.0, seed=3)[:SIZE], np.random.default_rng(0), telephone=True)
    audio = torch.from_numpy(low)[None]
    heard = channels.through_g711(audio, chance)
    assert 20 < float(ratio_db(audio, heard)) < 45
    assert float(band_power(heard, 4050, 8000) / band_power(heard, 0, 4000)) < 1e-6


def test_coloured_noise_and_tones_are_steady_and_pitched(chance: Chance) -> None:
    noise, tones = channels.coloured_noise(16, SIZE, chance), channels.tones(16, SIZE, chance)
    for sound in (noise, tones):
        assert sound.shape == (16, SIZE)
        assert sound.isfinite().all()
        assert (sound.square().mean(dim=1) > 0).all()
    powers = [torch.fft.rfft(sound).abs().square() for sound in (noise, tones)]
    of_noise, of_tones = (power.topk(400).values.sum(dim=1) / power.sum(dim=1) for power in powers)
    assert of_tones.median() > of_noise.median()


def test_the_same_seed_takes_the_same_ways_and_another_one_takes_others(voices: Tensor) -> None:
    def heard(*seed: int) -> Tensor:
        chance = Chance(seed, "cpu")
        many = voices.repeat(8, 1)
        return augmented(many, chance, noises=None, voices=lambda count: many[:count])

    torch.testing.assert_close(heard(0, 1), heard(0, 1), rtol=0, atol=0)
    assert not torch.equal(heard(0, 1), heard(0, 2))
    assert heard(3).isfinite().all()

"""Augment batches of audio on the processor that trains: the ways of :mod:`voxgender.training.augmentation` but Opus.

Every function takes and returns float32 tensors, shape ``(batch, samples)``, 16 kHz. How many rows of a batch take
each way is fixed; which ones, and all else, is chance. So all steps have the same shapes, and no step waits for the
device.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from voxgender.training.augmentation import SAMPLE_RATE_HZ

Rows = npt.NDArray[np.int64]

_LONGEST_TAIL = int(0.9 * SAMPLE_RATE_HZ)
_KNOTS = 9
"""Points of a microphone's frequency response, an octave apart from 60 Hz."""
_OVERTONES = (1.0, 1.26, 1.5, 2.0, 3.0, 4.0)


class Chance:
    """Source of a batch's random numbers: the same seed gives the same numbers on the same device.

    Attributes:
        host: generator of what the host has to know, such as which rows take a way.
    """

    def __init__(self, seed: tuple[int, ...], device: str) -> None:
        self.host = np.random.default_rng(seed)
        self.device = device
        self._generator = torch.Generator(device).manual_seed(int(self.host.integers(2**62)))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw numbers between ``low`` and ``high``, float32."""
        return low + (high - low) * torch.rand(shape, generator=self._generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """Draw numbers of mean zero and variance one, float32."""
        return torch.randn(shape, generator=self._generator, device=self.device)

    def below(self, count: int, *shape: int) -> Tensor:
        """Draw integers from 0 to ``count - 1``, int64."""
        return torch.randint(count, shape, generator=self._generator, device=self.device)

    def some(self, rows: Rows, share: float) -> Rows:
        """Choose a share of the rows."""
        return self.host.permutation(rows)[: round(share * rows.size)]

    def moved(self, array: npt.NDArray[np.generic]) -> Tensor:
        """Copy an array to the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, non_blocking=True)


Source = Callable[[int], Tensor]
"""Returns so many rows of other audio."""


def augmented(audio: Tensor, chance: Chance, *, noises: Source | None, voices: Source | None) -> Tensor:
    """Return the audio as it may reach a server, each row on a way of its own.

    Args:
        audio: voices, or any other sounds; it is changed in place.
        chance: source of all chance.
        noises: recordings that may be mixed in; coloured noise is mixed in without any.
        voices: other people, who may be mixed in as if they were far away.
    """
    size = audio.shape[1]

    def apply(rows: Rows, way: Callable[[Tensor], Tensor]) -> None:
        if rows.size:
            chosen = chance.moved(rows)
            audio[chosen] = way(audio[chosen])

    def with_coloured(low_db: float, high_db: float) -> Callable[[Tensor], Tensor]:
        return lambda some: mixed(
            some, coloured_noise(len(some), size, chance), chance.uniform(low_db, high_db, len(some), 1)
        )

    everything = chance.host.permutation(len(audio))
    # A good microphone in a quiet room, as most recordings are made.
    clean, rest = np.split(everything, [round(0.4 * everything.size)])
    apply(clean, with_coloured(20, 60))
    apply(clean, lambda some: through_microphones(some, chance, roughness_db=4))
    if voices is not None:
        apply(
            chance.some(rest, 0.09), lambda some: mixed(some, voices(len(some)), chance.uniform(12, 25, len(some), 1))
        )
    apply(chance.some(rest, 0.4), lambda some: reverberated(some, chance))
    noisy = chance.some(rest, 0.6)
    recorded, coloured = np.split(noisy, [round(0.6 * noisy.size) if noises else 0])
    music, recorded = np.split(recorded, [round(0.15 * recorded.size)])
    apply(coloured, with_coloured(2, 30))
    apply(music, lambda some: mixed(some, tones(len(some), size, chance), chance.uniform(2, 30, len(some), 1)))
    if noises is not None:
        apply(recorded, lambda some: mixed(some, noises(len(some)), chance.uniform(2, 30, len(some), 1)))
    apply(chance.some(rest, 0.6), lambda some: through_microphones(some, chance, roughness_db=8))
    apply(chance.some(rest, 0.1), lambda some: clipped(some, chance))
    apply(chance.some(rest, 0.1), lambda some: denoised(some, chance))
    apply(chance.some(rest, 0.1), lambda some: levelled(some, chance))
    phoned, limited, _ = np.split(chance.host.permutation(rest), [round(0.25 * rest.size), round(0.5 * rest.size)])
    narrow, other = np.split(phoned, [round(0.7 * phoned.size)])
    apply(narrow, lambda some: band_limited(some, chance, telephone=True))
    apply(np.concatenate([other, limited]), lambda some: band_limited(some, chance))
    apply(phoned, lambda some: through_g711(some, chance))
    apply(chance.some(phoned, 0.5), with_coloured(8, 35))  # hum and hiss of the line
    return audio


def mixed(audio: Tensor, behind: Tensor, ratio_db: Tensor) -> Tensor:
    """Add ``behind`` at a level ``ratio_db``, ``(batch, 1)``, below that of ``audio``."""
    power, other = (one.square().mean(dim=1, keepdim=True) for one in (audio, behind))
    return audio + behind * (power / other.clamp_min(1e-12) * 10 ** (-ratio_db / 10)).sqrt()


def coloured_noise(count: int, size: int, chance: Chance) -> Tensor:
    """Make steady noise with 1/f^a power, from white to brown, sometimes with the hum of the mains."""
    slope = chance.uniform(0, 2, count, 1)
    spectrum = torch.fft.rfft(chance.normal(count, size)) * _hz(size, chance.device).clamp_min(20) ** (-slope / 2)
    noise: Tensor = torch.fft.irfft(spectrum, size)
    noise = noise / noise.std(dim=1, keepdim=True)
    mains_hz = (50 + 10 * chance.below(2, count, 1)) * (1 + chance.below(3, count, 1))
    level = chance.uniform(0.2, 2, count, 1) * (chance.uniform(0, 1, count, 1) < 0.2)
    return noise + level * torch.sin(2 * math.pi * mains_hz * _seconds(size, chance.device))


def tones(count: int, size: int, chance: Chance) -> Tensor:
    """Make beeps, chords and sirens: pitch without a voice."""
    time = _seconds(size, chance.device)
    partials = chance.moved(np.array(_OVERTONES, np.float32))[chance.below(len(_OVERTONES), count, 4)]
    levels = chance.uniform(0.2, 1, count, 4) * (torch.arange(4, device=time.device) <= chance.below(4, count, 1))
    root = chance.uniform(70, 1500, count, 1)
    glide = chance.uniform(-1, 1, count, 1) * chance.below(2, count, 1)
    # The phase is the integral of the frequency, which rises or falls by half of ``glide`` a second.
    cycles = root * (time + glide * time.square() / 4)
    sound = (levels[..., None] * torch.sin(2 * math.pi * partials[..., None] * cycles[:, None])).sum(dim=1)
    rhythm = chance.uniform(0.5, 8, count, 1)
    beat = torch.sin(2 * math.pi * rhythm * time + chance.uniform(0, 6, count, 1))
    return sound * (torch.sigmoid((beat - chance.uniform(-1.2, 0.5, count, 1)) * 40) + 1e-4)


def reverberated(audio: Tensor, chance: Chance) -> Tensor:
    """Add a room: some echoes off walls and a tail that decays by 60 dB in 0.1 to 0.9 s."""
    count, size = audio.shape
    length = chance.uniform(0.1, 0.9, count, 1) * SAMPLE_RATE_HZ
    at = torch.arange(_LONGEST_TAIL, device=audio.device)
    tail = chance.normal(count, _LONGEST_TAIL) * 10 ** (-3 * at / length)
    tail *= (at < length) & (at >= chance.uniform(0.001, 0.005, count, 1) * SAMPLE_RATE_HZ)
    tail *= 10 ** (-chance.uniform(-3, 15, count, 1) / 20) / tail.square().sum(dim=1, keepdim=True).sqrt()
    tail[:, 0] = 1
    echoes = 1 + chance.below(5, count, 1)
    for echo in range(5):
        place = 16 + (chance.uniform(0, 1, count, 1) * (length.clamp_max(800) - 16)).long()
        tail.scatter_add_(1, place, chance.uniform(-0.6, 0.6, count, 1) * (echo < echoes))
    together = 3 * 2**14
    assert size + _LONGEST_TAIL <= together
    wet: Tensor = torch.fft.irfft(torch.fft.rfft(audio, together) * torch.fft.rfft(tail, together), together)
    return wet[:, :size]


def through_microphones(audio: Tensor, chance: Chance, *, roughness_db: float) -> Tensor:
    """Apply a microphone's frequency response: a smooth random curve over octave bands, and a tilt."""
    curve = chance.uniform(-roughness_db / 2, roughness_db / 2, len(audio), _KNOTS)
    curve += chance.uniform(-2, 2, len(audio), 1) * (torch.arange(_KNOTS, device=audio.device) - 4)
    return _shaped(audio, 10 ** (curve @ _octaves(audio.shape[1], chance.device) / 20))


def band_limited(audio: Tensor, chance: Chance, *, telephone: bool = False) -> Tensor:
    """Limit the band as a telephone, a cheap microphone without lows or a codec without highs does.

    Args:
        audio: the audio.
        chance: source of all chance.
        telephone: limit it as a telephone does, and in no other way.
    """
    count = len(audio)
    way = 0 * chance.below(3, count, 1) if telephone else chance.below(3, count, 1)
    low = torch.where(way == 0, chance.uniform(200, 400, count, 1), chance.uniform(60, 300, count, 1))
    low = torch.where(way == 2, 20.0, low)
    high = torch.where(way == 0, chance.uniform(3200, 3600, count, 1), chance.uniform(3400, 7000, count, 1))
    high = torch.where(way == 1, 8000.0, high)
    slope = chance.uniform(3, 16, count, 1)
    hz = _hz(audio.shape[1], chance.device)
    return _shaped(audio, 1 / ((1 + (low / hz.clamp_min(1)) ** slope) * (1 + (hz / high) ** (2 * slope))).sqrt())


def clipped(audio: Tensor, chance: Chance) -> Tensor:
    """Clip the peaks, hard or soft, as a converter does if the audio is too loud."""
    limit = _quantile(audio.abs(), chance.uniform(0.9, 0.995, len(audio), 1)).clamp_min(1e-6)
    hard = audio.clamp(-limit, limit)
    return torch.where(chance.below(2, len(audio), 1) == 0, hard, limit * torch.tanh(audio / limit))


def denoised(audio: Tensor, chance: Chance) -> Tensor:
    """Suppress noise as a microphone's software does: spectral subtraction, see ``augmentation.denoised``."""
    window = torch.hann_window(512, device=audio.device)
    spectrum = torch.stft(audio, 512, 256, window=window, pad_mode="constant", return_complex=True)
    power = spectrum.abs().square()
    share = chance.uniform(0.1, 0.4, len(audio), 1, 1)
    floor = _quantile(power, share) * chance.uniform(1, 6, len(audio), 1, 1)
    least = chance.uniform(0.03, 0.3, len(audio), 1, 1).square()
    gain = torch.maximum(1 - floor / power.clamp_min(1e-12), least).sqrt()
    return torch.istft(spectrum * gain, 512, 256, window=window, length=audio.shape[1])


def levelled(audio: Tensor, chance: Chance) -> Tensor:
    """Apply automatic gain control: raise the level of faint parts."""
    count, size = audio.shape
    half = (chance.uniform(0.01, 0.15, count, 1) * SAMPLE_RATE_HZ).long()
    until = nn.functional.pad(audio.double().square().cumsum(dim=1), (1, 0))
    at = torch.arange(size, device=audio.device)
    first, last = (at - half).clamp_min(0), (at + half).clamp_max(size)
    level = ((until.gather(1, last) - until.gather(1, first)).clamp_min(0) / (last - first)).sqrt().float() + 1e-9
    least = 10 ** (-chance.uniform(10, 30, count, 1) / 20)
    return audio * torch.maximum(level / level.amax(dim=1, keepdim=True), least) ** -chance.uniform(0.3, 0.8, count, 1)


def through_g711(audio: Tensor, chance: Chance) -> Tensor:
    """Encode and decode as the telephone network does: 8 kHz and G.711's mu-law, 8 bits a sample."""
    size = audio.shape[1]
    level = audio.abs().amax(dim=1, keepdim=True).clamp_min(1e-6) / chance.uniform(0.1, 1, len(audio), 1)
    # A spectrum without its upper half is audio at half the rate, and half as strong.
    narrow = torch.fft.irfft(torch.fft.rfft(audio / level)[:, : size // 4 + 1], size // 2) / 2
    narrow = narrow.clamp(-1, 1)
    compressed = (narrow.sign() * torch.log1p(255 * narrow.abs()) / math.log(256) * 127).round() / 127
    decoded = compressed.sign() * torch.expm1(compressed.abs() * math.log(256)) / 255
    wide: Tensor = torch.fft.irfft(2 * torch.fft.rfft(decoded), size)
    return wide * level


def _shaped(audio: Tensor, gain: Tensor) -> Tensor:
    shaped: Tensor = torch.fft.irfft(torch.fft.rfft(audio) * gain, audio.shape[1])
    return shaped


def _quantile(values: Tensor, share: Tensor) -> Tensor:
    """Return a quantile of the last dimension, another one for each row."""
    ordered = values.sort(dim=-1).values
    at = (share * (values.shape[-1] - 1)).round().long()
    return ordered.gather(-1, at.expand(*values.shape[:-1], 1))


@cache
def _hz(size: int, device: str) -> Tensor:
    hz: Tensor = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ, device=device)
    return hz


@cache
def _seconds(size: int, device: str) -> Tensor:
    return torch.arange(size, device=device) / SAMPLE_RATE_HZ


@cache
def _octaves(size: int, device: str) -> Tensor:
    """Return the weights, ``(_KNOTS, frequencies)``, by which a curve over octaves is interpolated."""
    octave = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ), 60) / 60)
    knots = np.arange(_KNOTS)
    weights = np.maximum(0, 1 - np.abs(octave - knots[:, None]))
    return torch.from_numpy(weights.astype(np.float32)).to(device)

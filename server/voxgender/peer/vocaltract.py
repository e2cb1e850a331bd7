"""Synthesise speech from articulation by a source–filter model.

After Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67 (1980), and for the glottal pulse
Klatt and Klatt, JASA 87 (1990). Pulses and breath noise pass a cascade of formant resonators; fricatives and
bursts are noise through one resonance of their own. The filters are applied to overlapping frames in the
frequency domain: every parameter may move every 5 ms, at the cost of a few numpy calls.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
FRAME_S = 0.005
"""Step of every articulation track."""

Samples = npt.NDArray[np.float32]
Track = npt.NDArray[np.float64]
Spectra = npt.NDArray[np.complex128]

_HOP = round(FRAME_S * SAMPLE_RATE_HZ)
_WINDOW = 4 * _HOP
_FFT = 2048  # A window and the ringing of its narrowest formant.
_FREQUENCIES_HZ = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)


@dataclass(frozen=True, slots=True)
class Speaker:
    """A speaker's anatomy and manner of speaking."""

    f0_hz: float
    """Mean fundamental frequency."""
    formant_scale: float
    """Factor of all formants, relative to an average man's."""
    open_quotient: float
    """Share of a glottal cycle with the glottis open; more is softer."""
    tilt_db: float
    """Loss at 3 kHz from folds that close gradually."""
    breath: float
    """Breath noise against voicing."""
    jitter: float = 0.006
    """Deviation of a cycle's length, as a share."""
    shimmer: float = 0.04
    """Deviation of a cycle's strength, as a share."""


class Articulation(NamedTuple):
    """A speaker's articulation, one row each :data:`FRAME_S`; amplitudes relative to full voicing."""

    f0_hz: Track
    formants_hz: Track
    """Shape ``(frames, 3)``, for an average man."""
    voicing: Track
    aspiration: Track
    frication: Track
    friction_hz: Track
    friction_width_hz: Track
    nasality: Track


def render(speaker: Speaker, articulation: Articulation, random: np.random.Generator) -> Samples:
    """Synthesise an articulation with a speaker.

    Returns:
        float32, shape ``(frames * 80,)``, mono, 16 kHz; the level is arbitrary.
    """
    frames = articulation.f0_hz.size
    at = np.arange(frames * _HOP) / _HOP

    def fine(track: Track) -> Track:
        return np.interp(at, np.arange(frames), track)

    voicing = fine(articulation.voicing)
    pulses, opening = _glottis(speaker, fine(articulation.f0_hz), random)
    breath = (fine(articulation.aspiration) + speaker.breath * voicing) * opening
    source = voicing * pulses + breath * random.normal(size=at.size)
    friction = fine(articulation.frication) * random.normal(size=at.size)
    output = _filter(source, _tract(speaker, articulation)) + _filter(friction, _constriction(articulation))
    return output.astype(np.float32)


def _glottis(speaker: Speaker, f0_hz: Track, random: np.random.Generator) -> tuple[Track, Track]:
    """Return the flow derivative, of unit power and with no aliasing, and how far the glottis is open."""
    cycles = np.cumsum(f0_hz) / SAMPLE_RATE_HZ
    marks = np.arange(np.ceil(cycles[-1]) + 2)
    phase = cycles + np.interp(cycles, marks, random.normal(0.0, speaker.jitter, marks.size).cumsum() * 0.5)
    strength = np.interp(cycles, marks, random.normal(1.0, speaker.shimmer, marks.size))
    harmonics = np.fft.rfft(_pulse(speaker.open_quotient))
    flow = np.zeros_like(phase)
    for number in range(1, int(0.48 * SAMPLE_RATE_HZ / f0_hz.min())):
        frequency = number * f0_hz
        audible = frequency < 0.48 * SAMPLE_RATE_HZ
        tilt = 10 ** (-speaker.tilt_db / 20 * np.minimum(frequency / 3000, 1.5))
        turn = 2 * np.pi * (number * phase % 1.0) + np.angle(harmonics[number])
        flow += audible * tilt * abs(harmonics[number]) * np.cos(turn)
    opening = np.where(phase % 1.0 < speaker.open_quotient, 1.0, 0.3)
    return strength * flow / np.sqrt(np.mean(flow**2)), opening


def _pulse(open_quotient: float) -> Track:
    """Return one cycle of KLGLOTT88: the derivative of a flow ``t**2 - t**3`` while the glottis is open."""
    t = np.arange(1024) / 1024 / open_quotient
    return np.where(t < 1.0, 2 * t - 3 * t**2, 0.0)


def _tract(speaker: Speaker, articulation: Articulation) -> Spectra:
    frames = articulation.f0_hz.size
    # A tract resonates about every 1000 Hz, up to the end of the band.
    higher_hz = np.arange(3500.0, SAMPLE_RATE_HZ / 2 / speaker.formant_scale, 1000.0)
    higher = np.broadcast_to(higher_hz, (frames, higher_hz.size))
    formants_hz = np.hstack([articulation.formants_hz, higher]) * speaker.formant_scale
    # Bandwidths after Klatt's table for vowels; a nose coupled in damps the mouth.
    widths_hz = 40.0 + 0.04 * formants_hz
    widths_hz[:, 1:3] *= 1 + articulation.nasality[:, None]
    response: Spectra = np.ones((frames, _FREQUENCIES_HZ.size), dtype=np.complex128)
    for centre_hz, width_hz in zip(formants_hz.T, widths_hz.T, strict=True):
        response *= _resonance(centre_hz, width_hz)
    # An open vowel is not ten times as strong as a closed one: the speaker's effort evens it out in part.
    gain = np.sqrt(np.mean(abs(response[:, _FREQUENCIES_HZ < 1000]) ** 2, axis=1, keepdims=True))
    response /= gain**0.7
    return response


def _constriction(articulation: Articulation) -> Spectra:
    response: Spectra = _resonance(articulation.friction_hz, articulation.friction_width_hz)
    # Sound from the front of the mouth has hardly any lows.
    response *= np.minimum(_FREQUENCIES_HZ / articulation.friction_hz[:, None], 1.0) ** 2
    power = np.mean(abs(response) ** 2, axis=1, keepdims=True)
    response /= np.sqrt(power)
    return response


def _resonance(centre_hz: Track, width_hz: Track) -> Spectra:
    """Return the response of Klatt's digital resonator, 1 at zero frequency: shape ``(frames, bins)``."""
    radius = np.exp(-np.pi * width_hz / SAMPLE_RATE_HZ)
    b = 2 * radius * np.cos(2 * np.pi * centre_hz / SAMPLE_RATE_HZ)
    c = -(radius**2)
    z = np.exp(-2j * np.pi * _FREQUENCIES_HZ / SAMPLE_RATE_HZ)
    resonance: Spectra = (1 - b - c)[:, None] / (1 - b[:, None] * z - c[:, None] * z**2)
    return resonance


def _filter(source: Track, response: Spectra) -> Track:
    """Apply a response that changes from frame to frame, by overlap and add."""
    frames = len(response)
    padded = np.pad(source, (_WINDOW // 2, _WINDOW))
    starts = np.arange(frames) * _HOP
    window = np.hanning(_WINDOW + 1)[:-1] / (_WINDOW / _HOP / 2)
    pieces = padded[starts[:, None] + np.arange(_WINDOW)] * window
    sounds = np.fft.irfft(np.fft.rfft(pieces, _FFT) * response, _FFT)
    output = np.zeros(frames * _HOP + _FFT)
    for start, sound in zip(starts, sounds, strict=True):
        output[start : start + _FFT] += sound
    return output[_WINDOW // 2 : _WINDOW // 2 + source.size]

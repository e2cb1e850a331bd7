"""Make new takes of a recorded voice: analyse it with WORLD, and synthesise it at another pitch and effort.

A network that learns from people who read calmly learns that a high voice is a woman's. So speakers are resynthesised
from a murmur to a shout. In half of the takes, pitch and effort rise together, as they do in people: a raised voice has
a higher pitch, a higher first formant, more power at high frequencies and, because the larynx rises, a slightly shorter
vocal tract (men up to 2.4 times their pitch, women down to 0.65 times theirs). In the other half the pitch moves by
itself, as in fear, play or song. Otherwise the vocal tract stays within its natural spread: it tells the sexes apart at
any pitch. Needs pyworld; used in training only.

M. Morise, F. Yokomori, K. Ozawa: WORLD: a vocoder-based high-quality speech synthesis system for real-time
applications, IEICE Transactions E99-D(7), 2016. J.-S. Lienard, M.-G. Di Benedetto: Effect of vocal effort on spectral
properties of vowels, Journal of the Acoustical Society of America 106(1), 1999: pitch and first formant rise together.
"""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, sosfilt

from voxgender.training.manifest import Kind

SAMPLE_RATE_HZ = 16_000
_PERIOD_MS = 5.0
_FLOOR_HZ, _CEILING_HZ = 60.0, 700.0
_PITCH_FACTORS: dict[Kind, tuple[float, float]] = {"male": (0.8, 2.4), "female": (0.65, 2.2)}
"""Factors of pitch at the least and the greatest effort."""
_MIN_VOICED_SHARE = 0.3
"""Share of a recording in which pitch must be found; with less, the pitch is unreliable."""
_RUMBLE = butter(2, 70, "high", fs=SAMPLE_RATE_HZ, output="sos")
_COUPLED_SHARE = 0.5
"""Share of takes whose pitch and effort rise together."""

Floats = npt.NDArray[np.floating[Any]]


def resynthesised(
    audio: npt.NDArray[np.float32], kind: Kind, count: int, rng: np.random.Generator
) -> list[npt.NDArray[np.float32]]:
    """Make ``count`` new takes of a recording, or none if hardly any pitch is found.

    Args:
        audio: float32, shape ``(samples,)``, 16 kHz.
        kind: sex of the speaker, which limits the pitch.
        count: number of takes.
        rng: source of all chance.
    """
    with warnings.catch_warnings():  # pyworld asks the old pkg_resources for its own version
        warnings.simplefilter("ignore")
        import pyworld

    samples = np.ascontiguousarray(audio, dtype=np.float64)
    # DIO loses the pitch in a microphone's rumble, so that is filtered out; Harvest does not, at ten times the cost.
    quiet = sosfilt(_RUMBLE, samples)
    pitch, times = pyworld.dio(
        quiet, SAMPLE_RATE_HZ, f0_floor=_FLOOR_HZ, f0_ceil=_CEILING_HZ, frame_period=_PERIOD_MS, allowed_range=0.2
    )
    pitch = pyworld.stonemask(quiet, pitch, times, SAMPLE_RATE_HZ)
    if np.mean(pitch > 0) < _MIN_VOICED_SHARE:
        return []
    envelope = pyworld.cheaptrick(samples, pitch, times, SAMPLE_RATE_HZ)
    breath = pyworld.d4c(samples, pitch, times, SAMPLE_RATE_HZ)
    found = []
    for _ in range(count):
        effort = rng.uniform(-1, 1)
        drive = effort if rng.random() < _COUPLED_SHARE else rng.uniform(-1, 1)
        other_pitch = _repitched(pitch, kind, drive, rng)
        tract_scale = 1 + 0.03 * drive + rng.uniform(-0.04, 0.04)
        tract = _tilted(_warped(envelope, tract_scale, effort), effort, rng)
        pace = _PERIOD_MS * rng.uniform(0.85, 1.15)
        voice = pyworld.synthesize(other_pitch, tract, _warped(breath, tract_scale, effort), SAMPLE_RATE_HZ, pace)
        found.append(voice.astype(np.float32) / max(1.0, float(np.abs(voice).max())))
    return found


def _repitched(pitch: Floats, kind: Kind, drive: float, rng: np.random.Generator) -> Floats:
    """Move the melody by ``drive``, -1 to 1 of the possible way, and widen or flatten it about its median."""
    lowest, highest = _PITCH_FACTORS[kind]
    shift = float(np.interp(drive, (-1, 0, 1), (np.log(lowest), 0, np.log(highest)))) + rng.uniform(-0.15, 0.15)
    # The pitch of a raised voice moves more: an excited man's spans an octave and a half.
    liveliness = rng.uniform(0.7, 1.3) + max(0.0, shift) * rng.uniform(0.0, 0.8)
    voiced = pitch > 0
    melody = np.log(pitch[voiced])
    middle = np.median(melody)
    moved = np.zeros_like(pitch)
    moved[voiced] = np.exp(middle + shift + (melody - middle) * liveliness)
    moved[voiced] = np.clip(moved[voiced], _FLOOR_HZ, _CEILING_HZ)
    return moved


def _warped(spectra: Floats, tract_scale: float, effort: float) -> Floats:
    """Scale the frequency axis as a shorter vocal tract does, and raise the first formant with the effort."""
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, spectra.shape[1])
    raised = (0.2 if effort > 0 else 0.08) * effort * np.interp(hz, (1000, 2000), (1, 0))
    bins = np.arange(spectra.shape[1])
    at = np.minimum(bins / (tract_scale * (1 + raised)), bins[-1])
    below = np.minimum(at.astype(np.int64), bins[-1] - 1)
    share = at - below
    warped: Floats = np.ascontiguousarray(
        spectra[:, below] * (1 - share) + spectra[:, below + 1] * share, dtype=np.float64
    )
    return warped


def _tilted(envelope: Floats, effort: float, rng: np.random.Generator) -> Floats:
    """Tilt power above 500 Hz by -3 to 7 dB an octave, as from a murmur to a shout."""
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, envelope.shape[1])
    octaves = np.log2(np.maximum(hz, 500) / 500)
    slope_db = (6 if effort > 0 else 2) * effort + rng.uniform(-1, 1)
    tilted: Floats = envelope * 10 ** (slope_db * octaves / 10)
    return tilted

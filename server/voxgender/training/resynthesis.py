"""New voices from recorded ones: WORLD takes a voice apart and puts it together at another pitch.

A network that is shown 251 speakers learns that a high voice is a woman's. So every speaker is heard again from a
murmur to a shout. Half of the time pitch and effort go together as they do in people: who raises the voice raises
the pitch, the first formant and the share of high frequencies, and a little the larynx, which makes the vocal tract
shorter (men up to 2.4 times their pitch, women down to 0.65 times theirs). Half of the time the pitch moves by itself,
as in fear, play or song. Beyond that the vocal tract, which tells the sexes apart whatever the pitch, stays within its
natural spread. Needs pyworld; used in training only.

M. Morise, F. Yokomori, K. Ozawa: WORLD: a vocoder-based high-quality speech synthesis system for real-time
applications, IEICE Transactions E99-D(7), 2016. J.-S. Lienard, M.-G. Di Benedetto: Effect of vocal effort on spectral
properties of vowels, Journal of the Acoustical Society of America 106(1), 1999: pitch and first formant rise together.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, sosfilt

from voxgender.training.manifest import Kind

SAMPLE_RATE_HZ = 16_000
FRAME_MS = 20
FRAME = SAMPLE_RATE_HZ * FRAME_MS // 1000
"""Samples between two values of :attr:`Take.pitch`."""

_PERIOD_MS = 5.0
_FLOOR_HZ, _CEILING_HZ = 60.0, 700.0
_REACH: dict[Kind, tuple[float, float]] = {"male": (0.8, 2.4), "female": (0.65, 2.2)}
"""Factors of pitch, from the least to the greatest effort."""
_TOGETHER = 0.5
"""How often pitch and effort are one."""
_RUMBLE = butter(2, 70, "high", fs=SAMPLE_RATE_HZ, output="sos")

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Take:
    """A stretch of one voice.

    Attributes:
        audio: float32, shape ``(samples,)``, 16 kHz.
        pitch: float32, shape ``(samples // FRAME,)``, Hz; 0 where the voice has none.
    """

    audio: npt.NDArray[np.float32]
    pitch: npt.NDArray[np.float32]


def takes(audio: npt.NDArray[np.float32], kind: Kind, count: int, rng: np.random.Generator) -> list[Take]:
    """The recording as it is, then ``count`` times resynthesised."""
    with warnings.catch_warnings():  # pyworld asks the old pkg_resources for its own version
        warnings.simplefilter("ignore")
        import pyworld

    samples = np.ascontiguousarray(audio, dtype=np.float64)
    if not count:
        return [Take(audio, rough_pitch(audio))]
    # The faster DIO loses half of the voiced frames where a microphone rumbles.
    pitch, times = pyworld.harvest(
        samples, SAMPLE_RATE_HZ, f0_floor=_FLOOR_HZ, f0_ceil=_CEILING_HZ, frame_period=_PERIOD_MS
    )
    found = [Take(audio, _each_frame(pitch, audio.size))]
    if np.any(pitch):
        envelope = pyworld.cheaptrick(samples, pitch, times, SAMPLE_RATE_HZ)
        breath = pyworld.d4c(samples, pitch, times, SAMPLE_RATE_HZ)
        for _ in range(count):
            effort = rng.uniform(-1, 1)
            drive = effort if rng.random() < _TOGETHER else rng.uniform(-1, 1)
            other_pitch = _repitched(pitch, kind, drive, rng)
            stretch = 1 + 0.03 * drive + rng.uniform(-0.04, 0.04)
            tract = _tilted(_warped(envelope, stretch, effort), effort, rng)
            pace = _PERIOD_MS * rng.uniform(0.85, 1.15)
            voice = pyworld.synthesize(other_pitch, tract, _warped(breath, stretch, effort), SAMPLE_RATE_HZ, pace)
            voice = voice.astype(np.float32) / max(1.0, float(np.abs(voice).max()))
            found.append(Take(voice, _each_frame(other_pitch, voice.size, pace)))
    return found


def rough_pitch(audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Pitch in Hz every ``FRAME`` samples, by DIO: twenty times faster than what resynthesis needs, and blind to
    a third of the voiced frames; 0 in those and where there is no voice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyworld

    hum_free = sosfilt(_RUMBLE, audio.astype(np.float64))
    pitch, _ = pyworld.dio(hum_free, SAMPLE_RATE_HZ, f0_floor=_FLOOR_HZ, f0_ceil=_CEILING_HZ, frame_period=FRAME_MS)
    return _each_frame(pitch, audio.size, FRAME_MS)


def _repitched(pitch: Floats, kind: Kind, drive: float, rng: np.random.Generator) -> Floats:
    """Move the whole melody, ``drive`` -1 to 1 of the way, and widen or flatten it about its middle."""
    lowest, highest = _REACH[kind]
    shift = float(np.interp(drive, (-1, 0, 1), (np.log(lowest), 0, np.log(highest)))) + rng.uniform(-0.15, 0.15)
    # A voice that is raised moves more: an excited man spans an octave and a half.
    liveliness = rng.uniform(0.7, 1.3) + max(0.0, shift) * rng.uniform(0.0, 0.8)
    voiced = pitch > 0
    melody = np.log(pitch[voiced])
    middle = np.median(melody)
    moved = np.zeros_like(pitch)
    moved[voiced] = np.exp(middle + shift + (melody - middle) * liveliness)
    moved[voiced] = np.clip(moved[voiced], _FLOOR_HZ, _CEILING_HZ)
    return moved


def _warped(spectra: Floats, stretch: float, effort: float) -> Floats:
    """Scale the frequency axis, as a vocal tract that much shorter does, and the first formant with the effort."""
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, spectra.shape[1])
    raised = (0.2 if effort > 0 else 0.08) * effort * np.interp(hz, (1000, 2000), (1, 0))
    bins = np.arange(spectra.shape[1])
    at = np.minimum(bins / (stretch * (1 + raised)), bins[-1])
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


def _each_frame(pitch: Floats, samples: int, period_ms: float = _PERIOD_MS) -> npt.NDArray[np.float32]:
    rows = np.round(np.arange(samples // FRAME) * FRAME_MS / period_ms).astype(np.int64)
    return pitch[np.minimum(rows, pitch.size - 1)].astype(np.float32)

"""Synthesise babble of a man and of a woman, as a test signal that needs neither microphone nor file.

It consists of syllables without meaning, in phrases with the rhythm and melody of speech. Vowel formants are the men's
averages of Peterson and Barney, JASA 24 (1952); a woman's shorter vocal tract puts them about 17 % higher.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from voxgender.peer.vocaltract import FRAME_S, SAMPLE_RATE_HZ, Articulation, Samples, Speaker, Track, render
from voxgender.protocol import VoiceLabel

MAN = Speaker(f0_hz=115.0, formant_scale=1.0, open_quotient=0.55, tilt_db=3.0, breath=0.06)
WOMAN = Speaker(f0_hz=212.0, formant_scale=1.17, open_quotient=0.65, tilt_db=5.0, breath=0.1)

_LEVEL = 0.08
"""RMS of speech: -22 dBFS, about where a browser's gain control puts a voice."""
_ROOM = 0.0003
"""RMS of the room: a live microphone is never digitally silent."""


class SpeakerTurn(NamedTuple):
    """A speaker's turn, in seconds from the start; ``label`` is None if it is not known."""

    start: float
    end: float
    label: VoiceLabel | None


class Dialogue(NamedTuple):
    """Speech, and the true turns of its speakers."""

    samples: Samples
    turns: tuple[SpeakerTurn, ...]


def dialogue(*, turn_s: float = 4.5, pause_s: float = 1.5, seed: int = 0) -> Dialogue:
    """Synthesise the test signal: a man, a pause, a woman, with half a second of silence at either end.

    Returns:
        float32 samples, mono, 16 kHz, full scale ±1, and who speaks when. A seed always gives the same.
    """
    man, woman = speak(MAN, turn_s, seed=2 * seed), speak(WOMAN, turn_s, seed=2 * seed + 1)
    edge, pause = np.zeros(SAMPLE_RATE_HZ // 2), np.zeros(round(pause_s * SAMPLE_RATE_HZ))
    samples = np.concatenate([edge, man, pause, woman, edge])
    samples += np.random.default_rng(seed).normal(0.0, _ROOM, samples.size)
    man_start_s = edge.size / SAMPLE_RATE_HZ
    man_end_s = man_start_s + man.size / SAMPLE_RATE_HZ
    woman_start_s = man_end_s + pause.size / SAMPLE_RATE_HZ
    woman_end_s = woman_start_s + woman.size / SAMPLE_RATE_HZ
    return Dialogue(
        samples.astype(np.float32),
        (SpeakerTurn(man_start_s, man_end_s, "male"), SpeakerTurn(woman_start_s, woman_end_s, "female")),
    )


def speak(speaker: Speaker, seconds: float, *, seed: int = 0) -> Samples:
    """Synthesise babble from the first sample to the last.

    Returns:
        float32, mono, 16 kHz, full scale ±1, RMS 0.08. A seed always gives the same.
    """
    random = np.random.default_rng(seed)
    phrases = max(1, round(seconds / 2.2))
    frames = round(seconds / FRAME_S)
    bounds = np.linspace(0, frames, phrases + 1).round().astype(int)
    parts = [
        _phrase(speaker, end - start, random, final=number == phrases)
        for number, (start, end) in enumerate(pairwise(bounds), start=1)
    ]
    articulation = Articulation(*(np.concatenate(tracks) for tracks in zip(*parts, strict=True)))
    samples = render(speaker, articulation, random)
    samples *= _LEVEL / np.sqrt(np.mean(samples**2))
    return np.clip(samples, -1.0, 1.0)


class _Sound(NamedTuple):
    """The articulation that a speaker aims at during one speech sound."""

    formants_hz: tuple[int, int, int]
    ms: float
    voicing: float = 1.0
    aspiration: float = 0.0
    frication: float = 0.0
    friction_hz: int = 3000
    friction_width_hz: int = 1500
    nasality: float = 0.0


_VOWELS = {
    "i": (270, 2290, 3010),
    "ɪ": (390, 1990, 2550),
    "ɛ": (530, 1840, 2480),
    "æ": (660, 1720, 2410),
    "ɑ": (730, 1090, 2440),
    "ʌ": (640, 1190, 2390),
    "ɔ": (570, 840, 2410),
    "ʊ": (440, 1020, 2240),
    "u": (300, 870, 2240),
}
_NUCLEI = ("i", "ɪ", "ɛ", "æ", "ɑ", "ʌ", "ɔ", "u", "ɑɪ", "ɛɪ", "ɔʊ", "ɑʊ")

_LIPS, _RIDGE, _VELUM = (300, 900, 2200), (300, 1700, 2600), (300, 1900, 2300)
_ONSETS = {
    "m": (_Sound((280, 1000, 2200), 65, voicing=0.5, nasality=1.0),),
    "n": (_Sound((280, 1500, 2500), 60, voicing=0.5, nasality=1.0),),
    "l": (_Sound((360, 1200, 2700), 60, voicing=0.7),),
    "r": (_Sound((330, 1100, 1550), 60, voicing=0.7),),
    "w": (_Sound((300, 700, 2200), 65, voicing=0.7),),
    "j": (_Sound((280, 2200, 2900), 60, voicing=0.7),),
    "b": (_Sound(_LIPS, 45, 0.1), _Sound(_LIPS, 10, 0.3, 0.1, 0.4, 1000)),
    "d": (_Sound(_RIDGE, 40, 0.1), _Sound(_RIDGE, 10, 0.3, 0.1, 0.6, 4200, 2200)),
    "g": (_Sound(_VELUM, 45, 0.1), _Sound(_VELUM, 15, 0.3, 0.1, 0.6, 2100, 900)),
    "p": (_Sound(_LIPS, 60, 0.0), _Sound(_LIPS, 10, 0.0, 0.1, 0.6, 1000), _Sound(_LIPS, 30, 0.0, 0.4)),
    "t": (
        _Sound(_RIDGE, 55, 0.0),
        _Sound(_RIDGE, 10, 0.0, 0.1, 1.0, 4500, 2200),
        _Sound(_RIDGE, 30, 0.0, 0.4),
    ),
    "k": (
        _Sound(_VELUM, 55, 0.0),
        _Sound(_VELUM, 15, 0.0, 0.1, 0.8, 2100, 900),
        _Sound(_VELUM, 35, 0.0, 0.4),
    ),
    "f": (_Sound(_LIPS, 85, 0.0, 0.05, 0.25, 6500, 5000),),
    "v": (_Sound(_LIPS, 55, 0.4, 0.0, 0.12, 6500, 5000),),
    "s": (_Sound(_RIDGE, 95, 0.0, 0.0, 0.5, 5900, 1800),),
    "z": (_Sound(_RIDGE, 65, 0.35, 0.0, 0.25, 5900, 1800),),
    "ʃ": (_Sound((300, 1850, 2500), 95, 0.0, 0.0, 0.5, 3100, 1400),),
    "h": (_Sound((500, 1500, 2500), 50, 0.1, 0.4),),
}
_CODAS = ("", "", "", "n", "m", "l", "s")
_BREATH = _Sound((500, 1500, 2500), 110, voicing=0.0, aspiration=0.01)


def _phrase(speaker: Speaker, frames: int, random: np.random.Generator, *, final: bool) -> Articulation:
    """Make about two seconds of syllables with one melody, ended by a breath unless it is the last phrase."""
    sounds = [] if final else [_BREATH]
    spoken_ms = frames * FRAME_S * 1000 - sum(sound.ms for sound in sounds)
    count = max(1, round(spoken_ms / 225))
    lengths = random.uniform(0.85, 1.15, count) * np.where(np.arange(count) % 2, 0.85, 1.15)
    lengths[-1] *= 1.3  # The last syllable of a phrase is drawn out.
    lengths *= spoken_ms / lengths.sum()
    sounds = [sound for ms in lengths for sound in _syllable(float(ms), random)] + sounds

    edges = np.cumsum([sound.ms for sound in sounds]) / (FRAME_S * 1000)
    index = np.searchsorted(edges, np.arange(frames), side="right").clip(max=len(sounds) - 1)
    targets = np.array([(*sound.formants_hz, *sound[2:]) for sound in sounds])[index]

    position = np.linspace(0.0, 1.0, frames)
    beats = np.interp(position, np.concatenate([[0.0], lengths.cumsum() / lengths.sum()]), np.arange(count + 1))
    fall = 0.26 if final else 0.16
    melody = 1.0 + fall * (0.45 - position) + 0.05 * np.sin(np.pi * beats) * random.uniform(0.7, 1.3)
    stress = 0.88 + 0.12 * np.cos(np.pi * (beats - 0.5))
    # Tongue, lips and folds have mass: targets are approached, not jumped to.
    voicing, aspiration, frication = (_glide(targets[:, column], 25) for column in (3, 4, 5))
    return Articulation(
        f0_hz=speaker.f0_hz * _glide(melody, 60),
        formants_hz=np.column_stack([_glide(targets[:, column], 55) for column in range(3)]),
        voicing=voicing * stress,
        aspiration=aspiration,
        frication=frication,
        friction_hz=targets[:, 6],
        friction_width_hz=targets[:, 7],
        nasality=_glide(targets[:, 8], 35),
    )


def _syllable(ms: float, random: np.random.Generator) -> list[_Sound]:
    onset = _ONSETS[random.choice(list(_ONSETS))]
    nucleus = random.choice(_NUCLEI)
    coda = random.choice(_CODAS)
    tail = [_ONSETS[coda][0]._replace(ms=45.0)] if coda else []
    vowel_ms = max(70.0, ms - sum(sound.ms for sound in (*onset, *tail)))
    vowels = [_Sound(_VOWELS[name], vowel_ms / len(nucleus)) for name in nucleus]
    return [*onset, *vowels, *tail]


def _glide(track: Track, ms: float) -> Track:
    """Smooth over about ``ms``, without a shift and with level ends."""
    reach = max(1, round(ms / 1000 / FRAME_S / 2))
    weights = np.hanning(2 * reach + 3)[1:-1]
    return np.convolve(np.pad(track, reach, mode="edge"), weights / weights.sum(), mode="valid")

"""A voice that is too quiet is told from sound that is only quiet."""

import numpy as np
import pytest

from tests.support import Samples, noise, silence, sine
from voxgender.audio.activity import VoiceActivity
from voxgender.audio.quietvoice import QuietVoice
from voxgender.peer.vocaltract import Speaker
from voxgender.peer.voices import MAN, WOMAN, speak

HOP = 3_072
ACTIVITY = VoiceActivity()


def at(samples: Samples, level_db: float) -> Samples:
    """The sound with this level of its loudest frame, in 16 bits."""
    frames = samples[: samples.size // 512 * 512].reshape(-1, 512)
    loudest = np.sqrt((frames**2).mean(axis=1).max())
    scaled: Samples = np.round(samples * 10 ** (level_db / 20) / loudest * 32_768).astype(np.float32) / np.float32(
        32_768
    )
    return scaled


def found(*parts: Samples) -> list[bool]:
    """Return after each hop whether a voice was found."""
    quiet = QuietVoice()
    sound = np.concatenate(parts)
    told = []
    for start in range(0, sound.size - HOP, HOP):
        frames = quiet.frames(sound[start : start + HOP])
        if frames is not None:
            (speech,) = ACTIVITY([frames], [quiet.state])
            quiet.update(speech)
        told.append(quiet.found)
    return told


@pytest.mark.parametrize("voice", [MAN, WOMAN])
@pytest.mark.parametrize("level_db", [-52, -60, -70])
def test_a_quiet_voice_is_found_within_some_two_seconds(voice: Speaker, level_db: float) -> None:
    """From -60 dB on women went unheard, men were called women, and nobody was told why."""
    told = found(at(speak(voice, 6.0), level_db))
    assert True in told[: round(2.7 / 0.192)]
    assert told[-1]


@pytest.mark.parametrize(
    "sound",
    [
        at(speak(WOMAN, 6.0), -45),
        at(noise(6.0), -60),
        at(sine(6.0, hz=50.0), -60),
        silence(6.0),
        at(noise(6.0), -89),
    ],
    ids=["a voice", "a quiet room", "hum", "nothing", "dither"],
)
def test_other_sound_is_not(sound: Samples) -> None:
    assert not any(found(sound))


def test_a_pause_of_a_speaker_is_none_although_others_talk_far_away() -> None:
    assert not any(found(at(speak(WOMAN, 3.0), -20), at(speak(MAN, 5.0), -60)))


def test_it_is_over_once_the_microphone_is_turned_up() -> None:
    told = found(at(speak(WOMAN, 4.0), -60), at(speak(WOMAN, 1.0), -20))
    assert True in told
    assert not told[-1]


def test_silence_after_a_quiet_voice_ends_it() -> None:
    told = found(at(speak(WOMAN, 3.0), -60), at(noise(20.0), -75))
    assert True in told
    assert not told[-1]


def test_a_quarter_of_the_time_is_listened_to() -> None:
    quiet = QuietVoice()
    sound = at(noise(40.0), -60)
    given = [quiet.frames(sound[start : start + HOP]) is not None for start in range(0, sound.size - HOP, HOP)]
    assert 0.2 < np.mean(given) < 0.35

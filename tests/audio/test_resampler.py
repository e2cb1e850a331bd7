from itertools import pairwise

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from tests.support import frame, frames, sine
from voxgender.audio.frames import SAMPLE_RATE_HZ, Samples
from voxgender.audio.resampler import Resampler


def convert(made: list[AudioFrame]) -> Samples:
    resampler = Resampler()
    return np.concatenate([resampler.convert(made), resampler.flush()])


def pitch_hz(samples: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(spectrum.argmax()) * SAMPLE_RATE_HZ / samples.size


def level(samples: Samples) -> float:
    """Amplitude of a sine, its ends left out: filters ring there."""
    return float(np.sqrt(2 * np.mean(samples[800:-800] ** 2)))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("encoding", ["s16", "s16p", "flt", "fltp", "s32", "dbl"])
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_a_tone_keeps_its_pitch_level_and_length(rate: int, encoding: str, layout: str) -> None:
    heard = convert(list(frames(sine(1.0, rate=rate), rate=rate, encoding=encoding, layout=layout)))
    assert heard.dtype == np.float32
    assert heard.size == pytest.approx(SAMPLE_RATE_HZ, abs=2)
    assert pitch_hz(heard) == pytest.approx(440, abs=1)
    assert level(heard) == pytest.approx(0.5, rel=0.01)


def test_48_khz_is_not_taken_for_16_khz() -> None:
    """The design that this one replaced wrote the browser's 48 kHz samples into a header that said 16 kHz.

    Every voice came to the model three times too slow, and an octave and a half too low: a woman's pitch of
    210 Hz arrived as 70 Hz. Here a second is 16,000 samples, and 210 Hz is 210 Hz.
    """
    heard = convert(list(frames(sine(1.0, rate=48_000, hz=210), rate=48_000)))
    assert heard.size == pytest.approx(16_000, abs=2)
    assert pitch_hz(heard) == pytest.approx(210, abs=1)


def test_nothing_above_8_khz_folds_back() -> None:
    heard = convert(list(frames(sine(1.0, rate=48_000, hz=12_000), rate=48_000)))
    assert level(heard) < 0.001


def test_stereo_at_full_scale_stays_within_full_scale() -> None:
    """FFmpeg mixes at +3 dB when the output is float: the same voice came louder from a stereo track."""
    heard = convert([frame(np.ones(48_000), rate=48_000, layout="stereo")])
    assert np.abs(heard[800:-800]).max() == pytest.approx(1.0, abs=0.001)


def test_one_channel_of_two_is_heard() -> None:
    left = np.stack([sine(1.0), np.zeros(16_000)]).astype(np.float32)
    made = AudioFrame.from_ndarray(left, format="fltp", layout="stereo")
    made.sample_rate = SAMPLE_RATE_HZ
    assert level(convert([made])) == pytest.approx(0.25, rel=0.01)


@pytest.mark.parametrize("each_s", [0.0025, 0.02, 0.06])
def test_sound_in_chunks_equals_the_sound_as_a_whole(each_s: float) -> None:
    sound = sine(0.6, rate=48_000)
    resampler = Resampler()
    chunks = [resampler.convert([made]) for made in frames(sound, rate=48_000, each_s=each_s)]
    np.testing.assert_allclose(
        np.concatenate([*chunks, resampler.flush()]), convert([frame(sound, rate=48_000)]), atol=1e-6
    )


def test_at_most_some_milliseconds_are_held_back() -> None:
    resampler = Resampler()
    assert resampler.convert([frame(sine(0.2, rate=48_000), rate=48_000)]).size > 0.198 * SAMPLE_RATE_HZ


def test_another_source_in_mid_stream_loses_nothing_of_the_last() -> None:
    sources = [(48_000, "s16", "stereo"), (8_000, "s16", "mono"), (16_000, "flt", "mono"), (44_100, "fltp", "5.1")]
    made = [
        frame(sine(0.5, rate=rate), rate=rate, encoding=encoding, layout=layout) for rate, encoding, layout in sources
    ]
    heard = convert(made)
    assert heard.size == pytest.approx(4 * 8_000, abs=8)
    for start, end in pairwise(range(0, 32_001, 8_000)):
        part = heard[start:end]
        assert pitch_hz(part) == pytest.approx(440, abs=2)
        assert level(part) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_timestamps_neither_insert_nor_drop_samples(rate: int) -> None:
    """They are the timeline's business."""
    resampler = Resampler()
    made = [frame(sine(0.1, rate=rate), rate=rate, at_s=at_s) for at_s in (0.0, 0.1, 5.0, 1.0)]
    heard = [resampler.convert([one]).size for one in made]
    assert sum(heard) + resampler.flush().size == 4 * 1_600


def test_the_frames_of_the_caller_keep_their_timestamps() -> None:
    """A relay gives the same frame to everyone who listens to a track; a recorder beside us wants its pts."""
    made = frame(sine(0.02), at_s=3.0)
    Resampler().convert([made])
    assert made.pts == 48_000


def test_nothing_in_nothing_out() -> None:
    resampler = Resampler()
    assert resampler.convert([]).size == 0
    assert resampler.flush().size == 0
    assert resampler.flush().size == 0

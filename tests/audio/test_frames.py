from fractions import Fraction

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from voxgender.audio.frames import Wave
from voxgender.audio.resampler import Resampler


def test_a_wave_is_the_frame_that_it_stands_for() -> None:
    pcm = np.arange(-160, 160, dtype=np.int16) * 200
    wave = Wave(pcm, pts=4_800, clock_rate_hz=48_000)
    frame = AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 16_000, 4_800, Fraction(1, 48_000)
    assert (frame.samples, frame.sample_rate, frame.pts) == (wave.samples, wave.sample_rate, 4_800)
    assert frame.time == pytest.approx(wave.time) == 0.1
    np.testing.assert_array_equal(Resampler().convert([wave]), Resampler().convert([frame]))

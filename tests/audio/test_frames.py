from fractions import Fraction

import numpy as np
import pytest

from voxgender.audio.frames import Wave
from voxgender.audio.resampler import Resampler


def test_a_wave_is_the_frame_that_it_stands_for() -> None:
    pcm = np.arange(-160, 160, dtype=np.int16) * 200
    wave = Wave(pcm, pts=4_800, clock_rate_hz=48_000)
    frame = wave.to_frame()
    assert (frame.samples, frame.sample_rate, frame.pts) == (wave.samples, wave.sample_rate, 4_800)
    assert frame.time_base == Fraction(1, 48_000)
    assert frame.time == pytest.approx(wave.time) == 0.1
    np.testing.assert_array_equal(frame.to_ndarray()[0], pcm)
    np.testing.assert_array_equal(Resampler().convert([wave]), Resampler().convert([frame]))

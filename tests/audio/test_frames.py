"""Frames without FFmpeg's wrapping."""

import numpy as np
import pytest

from voxgender.audio.frames import Wave
from voxgender.audio.resampler import Resampler


def test_a_wave_tells_its_time_in_seconds() -> None:
    wave = Wave(np.zeros(320, dtype=np.int16), pts=4_800, clock_rate_hz=48_000)
    assert wave.time == pytest.approx(0.1)
    assert (wave.samples, wave.sample_rate) == (320, 16_000)


def test_a_wave_without_timestamp_follows_the_one_before_it() -> None:
    assert Wave(np.zeros(320, dtype=np.float32)).time is None


def test_waves_of_either_kind_become_the_same_samples() -> None:
    pcm = np.arange(-160, 160, dtype=np.int16) * 200
    floats = (pcm / 32_768).astype(np.float32)
    np.testing.assert_array_equal(Resampler().convert([Wave(pcm)]), Resampler().convert([Wave(floats)]))
    np.testing.assert_allclose(Resampler().convert([Wave(floats)]), floats)

"""16-bit PCM in either byte order."""

import numpy as np
import pytest

from tests.support import Samples, silence
from voxgender.http.l16 import L16
from voxgender.peer.voices import MAN, speak

FRAME = 320
"""Samples of 20 ms."""


def read(samples: Samples, order: str) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    """Send samples in 20 ms a message; return what is read of them."""
    l16 = L16()
    sent = (samples * 32_767).astype(f"{order}i2")
    pieces = [l16.little_endian(sent[start : start + FRAME].tobytes()) for start in range(0, sent.size, FRAME)]
    return np.frombuffer(b"".join(pieces), "<i2")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("gain", [1.0, 0.03])
def test_a_voice_is_read_in_either_order_from_its_first_sample(order: str, gain: float) -> None:
    quiet = np.random.default_rng(0).normal(0, 1e-4, 16_000).astype(np.float32)
    voice = np.concatenate([np.zeros(1_600, np.float32), quiet, silence(0.2), gain * speak(MAN, 2.0)])
    assert np.array_equal(read(voice, order), (voice * 32_767).astype("<i2"))


@pytest.mark.parametrize("order", ["<", ">"])
def test_noise_after_a_voice_does_not_change_the_order(order: str) -> None:
    """White noise of full scale sounds alike in both orders."""
    noise = np.random.default_rng(1).uniform(-1, 1, 64_000).astype(np.float32)
    sound = np.concatenate([speak(MAN, 2.0), noise])
    assert np.array_equal(read(sound, order), (sound * 32_767).astype("<i2"))


def test_half_a_sample_is_left_out() -> None:
    assert L16().little_endian(b"\0\0\0") == b"\0\0"
    assert L16().little_endian(b"") == b""

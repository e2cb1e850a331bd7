"""The binding to libopus."""

import gc

import numpy as np
import pytest

from tests.media.test_decoder import opus_payloads
from voxgender.media.opus import LONGEST, OpusDecoder, OpusError, library


def test_the_library_is_there_and_loaded_once() -> None:
    assert library() is library()


def test_a_packet_becomes_16_khz_samples() -> None:
    decoder = OpusDecoder()
    tone = np.concatenate([decoder.decode(payload) for payload in opus_payloads(20)])
    assert tone.dtype == np.int16
    assert tone.size == 20 * 320
    spectrum = np.abs(np.fft.rfft(tone[3_200:].astype(float)))
    assert np.argmax(spectrum) * 16_000 / 3_200 == pytest.approx(300, abs=5)


@pytest.mark.parametrize("samples", [320, 640, LONGEST])
def test_a_loss_is_recovered_at_its_length(samples: int) -> None:
    first, second = opus_payloads(2)
    decoder = OpusDecoder()
    decoder.decode(first)
    assert decoder.recover(second, samples).size == samples
    assert decoder.decode(second).size == 320


@pytest.mark.parametrize("payload", [b"\xff" * 3, b"\x03", b"\xfb\xff" + bytes(40)])
def test_what_is_no_packet_is_refused_and_harms_nothing(payload: bytes) -> None:
    decoder = OpusDecoder()
    with pytest.raises(OpusError):
        decoder.decode(payload)
    assert decoder.decode(opus_payloads(1)[0]).size == 320


def test_decoders_are_given_back() -> None:
    """A decoder is some 20 kB outside of Python's sight."""
    destroyed: list[int] = []
    decoder = OpusDecoder()
    handle = decoder._decoder

    class Spy:
        opus_decoder_destroy = staticmethod(destroyed.append)

    real, decoder._library = decoder._library, Spy()  # type: ignore[assignment]
    del decoder
    gc.collect()
    assert destroyed == [handle]
    real.opus_decoder_destroy(handle)

"""The binding to libopus."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.media.test_decoder import opus_payloads
from voxgender.media.opus import LONGEST, Buffer, OpusDecoder, OpusError, library, scratch


def test_the_library_is_there_and_loaded_once() -> None:
    assert library() is library()


def test_a_packet_becomes_16_khz_samples() -> None:
    decoder = OpusDecoder()
    pcm = Buffer()
    assert [decoder.decode(payload, pcm) for payload in opus_payloads(20)] == [320] * 20
    tone = pcm.pop()
    assert tone.dtype == np.float32
    assert 0.05 < np.abs(tone).max() <= 1.0
    assert tone.size == 20 * 320
    spectrum = np.abs(np.fft.rfft(tone[3_200:].astype(float)))
    assert np.argmax(spectrum) * 16_000 / 3_200 == pytest.approx(300, abs=5)


@pytest.mark.parametrize("samples", [320, 640, LONGEST])
def test_a_loss_is_recovered_at_its_length(samples: int) -> None:
    first, second = opus_payloads(2)
    decoder = OpusDecoder()
    pcm = Buffer()
    decoder.decode(first, pcm)
    assert decoder.recover(second, samples, pcm) == samples
    assert decoder.decode(second, pcm) == 320
    assert pcm.pop().size == samples + 640
    assert pcm.pop().size == 0


@pytest.mark.parametrize("payload", [b"\xff" * 3, b"\x03", b"\xfb\xff" + bytes(40)])
def test_what_is_no_packet_is_refused_and_harms_nothing(payload: bytes) -> None:
    decoder = OpusDecoder()
    with pytest.raises(OpusError):
        decoder.decode(payload, Buffer())
    assert decoder.decode(opus_payloads(1)[0], Buffer()) == 320


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


def test_a_buffer_grows_and_keeps_what_is_in_it() -> None:
    payloads = opus_payloads(200)
    decoder, pcm = OpusDecoder(), Buffer()
    whole = 0
    for payload in payloads:
        whole += decoder.decode(payload, pcm)
    assert whole == 200 * 320
    again, pieces = OpusDecoder(), []
    for payload in payloads:
        piece = Buffer()
        again.decode(payload, piece)
        pieces.append(piece.pop())
    np.testing.assert_array_equal(pcm.pop(), np.concatenate(pieces))


def test_a_threads_scratch_is_the_same_each_time_and_no_other_threads() -> None:
    buffer = scratch()
    OpusDecoder().decode(opus_payloads(1)[0], buffer)
    assert buffer.size == 320
    assert scratch() is buffer
    assert buffer.size == 0
    with ThreadPoolExecutor() as pool:
        assert pool.submit(scratch).result() is not buffer

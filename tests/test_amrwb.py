"""Payloads of AMR-WB: both layouts are read, and what is none of them is not."""

from hypothesis import given
from hypothesis import strategies as st

from tests.amrwb import efficient, encoded
from voxgender import amrwb
from voxgender.peer.voices import MAN, speak

BYTES = {0: 17, 1: 23, 2: 32, 3: 36, 4: 40, 5: 46, 6: 50, 7: 58, 8: 60, 9: 5, 14: 0, 15: 0}
SPARE_BITS = {0: 4, 1: 7, 2: 3, 3: 3, 4: 3, 5: 3, 6: 3, 7: 3, 8: 3, 9: 0, 14: 0, 15: 0}


@st.composite
def a_frame(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(sorted(BYTES)))
    speech = bytearray(draw(st.binary(min_size=BYTES[kind], max_size=BYTES[kind])))
    if speech:
        speech[-1] &= 0xFF << SPARE_BITS[kind] & 0xFF
    return bytes((kind << 3 | draw(st.booleans()) << 2,)) + bytes(speech)


@given(st.lists(a_frame(), min_size=1, max_size=amrwb.MAX_FRAMES))
def test_frames_come_out_of_an_octet_aligned_payload_as_they_went_in(frames: list[bytes]) -> None:
    padded = [frame.ljust(amrwb.MAX_FRAME_BYTES, b"\xff") for frame in frames]
    assert amrwb.frames(amrwb.payload(padded)) == frames


@given(st.lists(a_frame(), min_size=1, max_size=12))
def test_a_payload_without_padding_is_told_from_one_with_it(frames: list[bytes]) -> None:
    """Gateways hand on the payload, and not the SDP that says how it is laid out."""
    payload = efficient(frames)
    # Some short ones of comfort noise could be either.
    if amrwb._octet_aligned(payload):
        assert not any(map(amrwb.is_speech, frames))
    else:
        assert amrwb.frames(payload) == frames


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_whole_or_not_at_all(payload: bytes) -> None:
    frames = amrwb.frames(payload)
    assert len(frames) <= amrwb.MAX_FRAMES
    assert all(len(frame) == 1 + BYTES[frame[0] >> 3 & 15] for frame in frames)


def test_a_payload_of_nothing_but_headers_is_bounded() -> None:
    """One octet stands for 20 ms, so a message of 64 KiB would have stood for 20 minutes."""
    assert len(amrwb.frames(amrwb.payload([amrwb.NO_DATA] * amrwb.MAX_FRAMES))) == amrwb.MAX_FRAMES
    assert not amrwb.frames(amrwb.payload([amrwb.NO_DATA] * (amrwb.MAX_FRAMES + 1)))
    assert not amrwb.frames(b"")
    assert not amrwb.frames(b"\xf0")


def test_the_payloads_of_another_program_are_read() -> None:
    for mode in (0, 2, 8):
        payloads = encoded(speak(MAN, 0.2), mode=mode)
        assert len(payloads) >= 10
        for payload in payloads:
            (frame,) = amrwb.frames(payload)
            assert amrwb.is_speech(frame)
            # But for the first octet, the request for a mode.
            assert amrwb.payload([frame])[1:] == payload[1:]
            assert amrwb.frames(efficient([frame])) == [frame]

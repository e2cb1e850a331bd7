"""Speech that many callers share."""

from voxgender.peer.loadspeech import shares


def test_every_caller_begins_somewhere_else() -> None:
    voice = [bytes([number]) for number in range(10)]

    given = list(shares([(voice, voice)], 5))

    firsts = [next(iter(share.packets)) for share in given]
    assert firsts == [b"\x00", b"\x02", b"\x04", b"\x06", b"\x08"]
    packets = iter(given[1].packets)
    for _ in range(8):
        next(packets)
    assert next(packets) in voice

import pytest
from aiortc.mediastreams import MediaStreamError

from voxgender.peer.track import PacketTrack


class Clock:
    """Time that passes only in sleeps, and as far as a test says."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.overslept = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.overslept


async def test_packets_leave_every_20_ms_from_the_first_on() -> None:
    clock = Clock()
    track = PacketTrack([b"packet"] * 500, clock=clock, sleep=clock.sleep)

    packets = [await track.recv() for _ in range(500)]

    assert [packet.pts for packet in packets] == [960 * number for number in range(500)]
    assert list(track.sent) == pytest.approx([1000 + 0.02 * number for number in range(500)], abs=1e-9)


async def test_late_wake_ups_do_not_add_up() -> None:
    clock = Clock()
    clock.overslept = 0.003
    track = PacketTrack([b"packet"] * 500, clock=clock, sleep=clock.sleep)

    for _ in range(500):
        await track.recv()

    assert track.sent[-1] == pytest.approx(1000 + 0.02 * 499 + 0.003, abs=1e-9)


async def test_after_a_stall_it_catches_up_without_a_pause() -> None:
    clock = Clock()
    track = PacketTrack([b"packet"] * 10, clock=clock, sleep=clock.sleep)
    await track.recv()
    clock.now += 0.1

    for _ in range(9):
        await track.recv()

    assert list(track.sent[1:6]) == [pytest.approx(1000.1)] * 5
    assert track.sent[9] == pytest.approx(1000.18)


async def test_the_end_of_the_packets_ends_the_track() -> None:
    clock = Clock()
    track = PacketTrack([b"one", b"two"], clock=clock, sleep=clock.sleep)
    assert [bytes(await track.recv()) for _ in range(2)] == [b"one", b"two"]
    assert not track.played.done()

    for _ in range(2):
        with pytest.raises(MediaStreamError):
            await track.recv()

    assert track.played.done()
    assert track.readyState == "ended"
    assert len(track.sent) == 2


async def test_a_stopped_track_gives_nothing_more() -> None:
    track = PacketTrack([b"one", b"two"])
    track.stop()

    with pytest.raises(MediaStreamError):
        await track.recv()

    assert not track.played.done()

from collections.abc import Iterator

import pytest

from voxgender.errors import AudioError
from voxgender.peer.pacer import Beat, Pacer
from voxgender.peer.player import Player


class ByHand(Pacer):
    """Beats when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.beats: list[Beat] = []

    def join(self, beat: Beat) -> None:
        self.beats.append(beat)

    def leave(self, beat: Beat) -> None:
        if beat in self.beats:
            self.beats.remove(beat)

    def beat(self) -> None:
        for beat in tuple(self.beats):
            beat()


class Written(list[tuple[bytes, int]]):
    def write(self, payload: bytes, timestamp: int) -> None:
        self.append((payload, timestamp))


async def test_each_beat_writes_one_packet_and_notes_when_it_left() -> None:
    pacer, written, moments = ByHand(), Written(), iter([1.0, 1.02, 1.07])
    player = Player([b"one", b"two", b"three"], pacer, clock=lambda: next(moments))
    player.start(written)

    for _ in range(3):
        pacer.beat()

    assert written == [(b"one", 0), (b"two", 960), (b"three", 1920)]
    assert list(player.sent) == [1.0, 1.02, 1.07]
    assert not player.played.done()


async def test_a_packet_of_40_ms_leaves_when_its_audio_is_over() -> None:
    pacer, written, moments = ByHand(), Written(), iter([1.02, 1.06])
    silk_wideband_40_ms = bytes([10 << 3])
    player = Player([silk_wideband_40_ms] * 2, pacer, clock=lambda: next(moments))
    player.start(written)

    for _ in range(4):
        pacer.beat()

    assert written == [(silk_wideband_40_ms, 0), (silk_wideband_40_ms, 1920)]
    assert list(player.sent) == [1.02, 1.02, 1.06, 1.06]


async def test_after_the_last_packet_it_is_done_and_leaves_the_pacer() -> None:
    pacer = ByHand()
    player = Player([b"one"], pacer)
    player.start(Written())

    pacer.beat()
    pacer.beat()

    await player.played
    assert not pacer.beats
    assert len(player.sent) == 1


async def test_packets_that_fail_fail_what_waits_for_the_end() -> None:
    def packets() -> Iterator[bytes]:
        yield b"one"
        raise AudioError("broken")

    pacer, written = ByHand(), Written()
    player = Player(packets(), pacer)
    player.start(written)

    pacer.beat()
    pacer.beat()

    with pytest.raises(AudioError, match="broken"):
        await player.played
    assert not pacer.beats
    assert len(written) == 1


@pytest.mark.parametrize("started", [True, False])
async def test_a_stopped_player_writes_nothing_more(started: bool) -> None:
    pacer, written = ByHand(), Written()
    player = Player([b"one", b"two"], pacer)
    if started:
        player.start(written)

    player.stop()
    pacer.beat()

    assert not written
    assert player.played.cancelled()
    player.stop()

"""The audio receiver on packets in every order that a network makes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiortc import RTCRtpCodecParameters
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media.test_decoder import OPUS, PCMU, opus_payloads
from voxgender.audio.track import BatchTrack
from voxgender.media import receiver as receiver_module
from voxgender.media.receiver import (
    MAX_READY_S,
    MAX_REORDER_WINDOW_S,
    MIN_REORDER_WINDOW_S,
    REORDER_WINDOW_S,
    AudioReceiver,
)

PAYLOADS = opus_payloads(300)
PATIENCE_S = 5.0


def packet(index: int, *, first_seq: int = 1_000, first_timestamp: int = 5_000, ssrc: int = 7) -> RtpPacket:
    made = RtpPacket(
        payload_type=96,
        sequence_number=(first_seq + index) & 0xFFFF,
        timestamp=(first_timestamp + 960 * index) & 0xFFFFFFFF,
        ssrc=ssrc,
    )
    made.payload = PAYLOADS[index % len(PAYLOADS)]
    return made


@pytest.fixture
async def receiver() -> AsyncIterator[AudioReceiver]:
    receiver = AudioReceiver()
    receiver.configure([OPUS, PCMU])
    yield receiver
    receiver.end()


async def pts(receiver: AudioReceiver) -> list[int]:
    """Timestamps of all that is ready, in packets of 20 ms."""
    frames = (await receiver.read_batch(0.0, PATIENCE_S)).decode()
    return [(frame.pts or 0) // 960 + more for frame in frames for more in range(frame.samples // 320)]


async def test_packets_in_order_are_ready_at_once(receiver: AudioReceiver) -> None:
    """aiortc's own jitter buffer holds back 80 ms."""
    for index in range(3):
        receiver.feed(packet(index), index * 0.02)
        assert await pts(receiver) == [index]


async def test_packets_that_overtook_each_other_are_put_in_order(receiver: AudioReceiver) -> None:
    for at, index in enumerate((0, 2, 1, 4, 5, 3, 6)):
        receiver.feed(packet(index), at * 0.02)
    assert await pts(receiver) == [0, 1, 2, 3, 4, 5, 6]
    assert receiver.lost == 0


async def test_a_lost_packet_delays_the_rest_only_for_the_reorder_window(receiver: AudioReceiver) -> None:
    """One lost packet left aiortc's receiver 280 ms late for the rest of the call."""
    receiver.feed(packet(0), 0.0)
    for index in range(2, 5):
        receiver.feed(packet(index), index * 0.02)
    assert await pts(receiver) == [0]
    receiver.feed(packet(5), 0.04 + REORDER_WINDOW_S)
    assert await pts(receiver) == [1, 2, 3, 4, 5]
    receiver.feed(packet(6), 0.12)
    assert await pts(receiver) == [6]
    assert receiver.lost == 1


async def test_a_path_that_only_loses_is_waited_for_less_and_less(receiver: AudioReceiver) -> None:
    for number in range(30):
        # The second of four packets never comes.
        receiver.feed(packet(4 * number), number * 0.5)
        receiver.feed(packet(4 * number + 2), number * 0.5 + 0.04)
        receiver.feed(packet(4 * number + 3), number * 0.5 + 0.04 + 2 * REORDER_WINDOW_S)
    assert receiver._window_s == MIN_REORDER_WINDOW_S


async def test_a_path_that_reorders_widely_is_waited_for_longer(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    receiver.feed(packet(2), 0.04)
    receiver.feed(packet(3), 0.04 + 1.1 * REORDER_WINDOW_S)
    assert await pts(receiver) == [0, 1, 2, 3]
    receiver.feed(packet(1), 0.04 + 1.2 * REORDER_WINDOW_S)
    assert REORDER_WINDOW_S < receiver._window_s < MAX_REORDER_WINDOW_S
    receiver.feed(packet(5), 1.0)
    receiver.feed(packet(4), 1.0 + 1.2 * REORDER_WINDOW_S)
    assert await pts(receiver) == [4, 5]
    assert receiver.lost == 1


async def test_a_hole_before_a_pause_is_given_up_by_the_clock(receiver: AudioReceiver) -> None:
    """With DTX no packet may come for 400 ms that would show the one before it as lost."""
    receiver.feed(packet(0), asyncio.get_running_loop().time())
    assert await pts(receiver) == [0]
    receiver.feed(packet(2), asyncio.get_running_loop().time())
    assert await asyncio.wait_for(pts(receiver), 5) == [1, 2]


async def test_late_and_duplicate_packets_are_dropped(receiver: AudioReceiver) -> None:
    for at, index in enumerate((0, 0, 1, 3, 3)):
        receiver.feed(packet(index), at * 0.001)
    receiver.feed(packet(4), 1.0)
    assert await pts(receiver) == [0, 1, 2, 3, 4]
    receiver.feed(packet(2), 1.01)
    receiver.feed(packet(5), 1.02)
    assert await pts(receiver) == [5]


async def test_sequence_and_timestamp_wrap(receiver: AudioReceiver) -> None:
    for index in range(40):
        receiver.feed(packet(index, first_seq=0xFFF0, first_timestamp=0xFFFFFFFF - 960 * 10), index * 0.02)
    assert await pts(receiver) == list(range(40))


async def test_a_timestamp_gap_stays_a_gap(receiver: AudioReceiver) -> None:
    """With DTX the sequence goes on and the timestamp jumps."""
    receiver.feed(packet(0), 0.0)
    late = packet(1)
    late.timestamp += 960 * 19
    receiver.feed(late, 0.4)
    assert await pts(receiver) == [0, 20]


async def test_a_new_ssrc_goes_on_by_the_wall_clock(receiver: AudioReceiver) -> None:
    for index in range(5):
        receiver.feed(packet(index), index * 0.02)
    assert await pts(receiver) == [0, 1, 2, 3, 4]
    receiver.feed(packet(0, first_seq=50, first_timestamp=99, ssrc=8), 0.08 + 1.0)
    receiver.feed(packet(1, first_seq=50, first_timestamp=99, ssrc=8), 0.10 + 1.0)
    assert await pts(receiver) == [54, 55]


async def test_a_sequence_that_jumps_is_a_new_stream(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    receiver.feed(packet(0, first_seq=30_000, first_timestamp=123), 0.02)
    assert await pts(receiver) == [0, 1]


async def test_an_unread_track_stays_bounded(receiver: AudioReceiver) -> None:
    """aiortc's own track queues without bound."""
    for index in range(500):
        receiver.feed(packet(index), index * 0.02)
    ready = await pts(receiver)
    assert len(ready) <= MAX_READY_S / 0.02
    assert ready[-1] == 499


async def test_what_is_held_behind_a_hole_stays_bounded(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    for index in range(2, 400):
        receiver.feed(packet(index), 0.0)
    assert len(receiver._held) < 110


async def test_a_read_waits_for_the_duration_asked(receiver: AudioReceiver) -> None:
    reading = asyncio.create_task(receiver.read_batch(0.1, PATIENCE_S))
    for index in range(4):
        receiver.feed(packet(index), index * 0.02)
        await asyncio.sleep(0)
    assert not reading.done()
    receiver.feed(packet(4), 0.08)
    batch = await asyncio.wait_for(reading, 5)
    assert sum(frame.samples for frame in batch.decode()) == 5 * 320
    assert batch.arrived_at == 0.08


async def test_a_loss_does_not_make_a_reader_wait_longer(receiver: AudioReceiver) -> None:
    reading = asyncio.create_task(receiver.read_batch(0.2, PATIENCE_S))
    await asyncio.sleep(0)
    for index in (0, 1, 2, 3, 4, 7, 8, 9):
        receiver.feed(packet(index), index * 0.02)
    receiver.feed(packet(9), 0.18 + REORDER_WINDOW_S)
    receiver.feed(packet(10), 0.2 + REORDER_WINDOW_S)
    batch = await asyncio.wait_for(reading, 5)
    assert sum(frame.samples for frame in batch.decode()) >= 8 * 320


async def test_recv_gives_frame_by_frame_as_any_track_does(receiver: AudioReceiver) -> None:
    for index in range(3):
        sent = packet(index)
        sent.timestamp += 960 * 3 * (index == 2)
        receiver.feed(sent, index * 0.02)
    assert [(await receiver.recv()).pts for _ in range(2)] == [0, 5 * 960]
    assert isinstance(receiver, BatchTrack)


async def test_the_end_gives_what_is_left_and_then_raises_for_ever(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    receiver.feed(packet(2), 0.01)
    receiver.end()
    assert await pts(receiver) == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(MediaStreamError):
            await receiver.read_batch(0.0, PATIENCE_S)
    receiver.feed(packet(3), 0.02)
    with pytest.raises(MediaStreamError):
        await receiver.read_batch(0.0, PATIENCE_S)


async def test_the_end_wakes_a_reader(receiver: AudioReceiver) -> None:
    reading = asyncio.create_task(receiver.read_batch(1.0, PATIENCE_S))
    await asyncio.sleep(0)
    receiver.end()
    with pytest.raises(MediaStreamError):
        await asyncio.wait_for(reading, 5)


async def test_a_goodbye_followed_by_packets_is_a_pause(
    receiver: AudioReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chromium says RTCP BYE when its sender has no track for a while."""
    monkeypatch.setattr(receiver_module, "BYE_GRACE_S", 0.01)
    receiver.feed(packet(0), 0.0)
    receiver.bye()
    receiver.feed(packet(1), 0.02)
    await asyncio.sleep(0.03)
    assert receiver.readyState == "live"
    receiver.bye()
    await asyncio.sleep(0.03)
    assert receiver.readyState == "ended"


async def test_unknown_formats_are_passed_over() -> None:
    receiver = AudioReceiver()
    receiver.configure(
        [OPUS, RTCRtpCodecParameters(mimeType="audio/telephone-event", clockRate=8_000, payloadType=110)]
    )
    strange = packet(0)
    strange.payload_type = 110
    receiver.feed(strange, 0.0)
    receiver.feed(packet(1), 0.02)
    assert [frame.pts for frame in (await receiver.read_batch(0.0, PATIENCE_S)).decode()] == [0]
    receiver.end()


async def test_a_change_of_codec_in_mid_call_is_followed(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    g711 = packet(1)
    g711.payload_type, g711.payload = 0, b"\x80" * 160
    receiver.feed(g711, 0.02)
    assert [frame.sample_rate for frame in (await receiver.read_batch(0.0, PATIENCE_S)).decode()] == [16_000, 8_000]


@settings(max_examples=60, deadline=None)
@given(order=st.lists(st.integers(0, 60), max_size=120), steps=st.lists(st.floats(0, 0.05), min_size=120, max_size=120))
def test_any_order_gives_increasing_timestamps(order: list[int], steps: list[float]) -> None:
    async def run() -> None:
        receiver = AudioReceiver()
        receiver.configure([OPUS])
        now, seen = 0.0, []
        for index, step in zip(order, steps, strict=False):
            now += step
            receiver.feed(packet(index), now)
        receiver.end()
        if order:
            seen = await pts(receiver)
            assert seen
        assert seen == sorted(set(seen))

    asyncio.run(run())

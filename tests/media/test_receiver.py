"""The audio receiver on packets in every order that a network makes."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from aiortc import RTCRtpCodecParameters
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clock import run_virtual
from tests.figures import value_of
from tests.media.test_decoder import OPUS, PCMU, opus_payloads
from tests.waits import until
from voxgender import metrics
from voxgender.audio.frames import Frame, Packet
from voxgender.engine import Engine
from voxgender.engine.call import MAX_WAITING_S
from voxgender.media.audiobudget import BURST_S, MAX_LEAP_S, PACE
from voxgender.media.decoder import Decoders
from voxgender.media.receiver import (
    BYE_GRACE_S,
    MAX_REORDER_WINDOW_S,
    MIN_REORDER_WINDOW_S,
    PAUSE_S,
    REORDER_WINDOW_S,
    AudioReceiver,
)
from voxgender.media.rtp import Rtp

PAYLOADS = opus_payloads(300)
ENGINE = Engine(None)


def packet(index: int, *, first_seq: int = 1_000, first_timestamp: int = 5_000, ssrc: int = 7) -> Rtp:
    return Rtp(
        payload_type=96,
        sequence_number=(first_seq + index) & 0xFFFF,
        timestamp=(first_timestamp + 960 * index) & 0xFFFFFFFF,
        ssrc=ssrc,
        payload=PAYLOADS[index % len(PAYLOADS)],
    )


@pytest.fixture
async def receiver(engine: Engine) -> AsyncIterator[AudioReceiver]:
    made = make_receiver(engine)
    yield made
    made.end()
    made._call.abandon()


def make_receiver(engine: Engine, *more: RTCRtpCodecParameters) -> AudioReceiver:
    """A receiver whose packets nobody takes but the test."""
    decoders = Decoders()
    call = engine.open(lambda _: None, lambda _: None, decode=decoders.decode)
    call.hold()
    receiver = AudioReceiver(call, decoders)
    receiver.configure([OPUS, PCMU, *more])
    return receiver


def decoded(receiver: AudioReceiver) -> Sequence[Frame]:
    """Return the frames of all packets that are ready."""
    call = receiver._call
    assert call.decode is not None
    return call.decode([piece for piece in call.drain(0.0).audio if isinstance(piece, Packet)])


def pts(receiver: AudioReceiver) -> list[int]:
    """Timestamps of all that is ready, in packets of 20 ms."""
    frames = decoded(receiver)
    return [(frame.pts or 0) // 960 + more for frame in frames for more in range(frame.samples // 320)]


async def test_packets_in_order_are_ready_at_once(receiver: AudioReceiver) -> None:
    """aiortc's own jitter buffer holds back 80 ms."""
    for index in range(3):
        receiver.feed(packet(index), index * 0.02)
        assert pts(receiver) == [index]


async def test_packets_that_overtook_each_other_are_put_in_order(receiver: AudioReceiver) -> None:
    for at, index in enumerate((0, 2, 1, 4, 5, 3, 6)):
        receiver.feed(packet(index), at * 0.02)
    assert pts(receiver) == [0, 1, 2, 3, 4, 5, 6]
    assert receiver.lost == 0


async def test_a_lost_packet_delays_the_rest_only_for_the_reorder_window(receiver: AudioReceiver) -> None:
    """One lost packet left aiortc's receiver 280 ms late for the rest of the call."""
    receiver.feed(packet(0), 0.0)
    for index in range(2, 5):
        receiver.feed(packet(index), index * 0.02)
    assert pts(receiver) == [0]
    receiver.feed(packet(5), 0.04 + REORDER_WINDOW_S)
    assert pts(receiver) == [1, 2, 3, 4, 5]
    receiver.feed(packet(6), 0.12)
    assert pts(receiver) == [6]
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
    assert pts(receiver) == [0, 1, 2, 3]
    receiver.feed(packet(1), 0.04 + 1.2 * REORDER_WINDOW_S)
    assert REORDER_WINDOW_S < receiver._window_s < MAX_REORDER_WINDOW_S
    receiver.feed(packet(5), 1.0)
    receiver.feed(packet(4), 1.0 + 1.2 * REORDER_WINDOW_S)
    assert pts(receiver) == [4, 5]
    assert receiver.lost == 1


async def test_a_hole_before_a_pause_is_given_up_by_the_clock(receiver: AudioReceiver) -> None:
    """With DTX no packet may come for 850 ms that would show the one before it as lost."""
    receiver.feed(packet(0), asyncio.get_running_loop().time())
    assert pts(receiver) == [0]
    receiver.feed(packet(2), asyncio.get_running_loop().time())
    assert await until(lambda: pts(receiver)) == [1, 2]


def test_a_hole_is_not_given_up_while_what_fills_it_may_wait_in_the_socket(engine: Engine) -> None:
    """Sockets of many calls are read once in 192 ms: a packet that came in time was given up before it was read."""

    async def main() -> None:
        receiver = make_receiver(engine)
        now = asyncio.get_running_loop().time()
        receiver.feed(packet(0), now)
        receiver.feed(packet(2), now)
        await asyncio.sleep(0.192)
        assert pts(receiver) == [0]
        receiver.feed(packet(1), now + MIN_REORDER_WINDOW_S)
        assert pts(receiver) == [1, 2]
        assert receiver.lost == 0
        receiver.end()
        receiver._call.abandon()

    run_virtual(main())


async def test_late_and_duplicate_packets_are_dropped(receiver: AudioReceiver) -> None:
    for at, index in enumerate((0, 0, 1, 3, 3)):
        receiver.feed(packet(index), at * 0.001)
    receiver.feed(packet(4), 1.0)
    assert pts(receiver) == [0, 1, 2, 3, 4]
    receiver.feed(packet(2), 1.01)
    receiver.feed(packet(5), 1.02)
    assert pts(receiver) == [5]


async def test_sequence_and_timestamp_wrap(receiver: AudioReceiver) -> None:
    for index in range(40):
        receiver.feed(packet(index, first_seq=0xFFF0, first_timestamp=0xFFFFFFFF - 960 * 10), index * 0.02)
    assert pts(receiver) == list(range(40))


async def test_a_timestamp_gap_stays_a_gap(receiver: AudioReceiver) -> None:
    """With DTX the sequence goes on and the timestamp jumps."""
    receiver.feed(packet(0), 0.0)
    receiver.feed(packet(1, first_timestamp=5_000 + 960 * 19), 0.4)
    assert pts(receiver) == [0, 20]


async def test_a_new_ssrc_goes_on_by_the_wall_clock(receiver: AudioReceiver) -> None:
    for index in range(5):
        receiver.feed(packet(index), index * 0.02)
    assert pts(receiver) == [0, 1, 2, 3, 4]
    receiver.feed(packet(0, first_seq=50, first_timestamp=99, ssrc=8), 0.08 + 1.0)
    receiver.feed(packet(1, first_seq=50, first_timestamp=99, ssrc=8), 0.10 + 1.0)
    assert pts(receiver) == [54, 55]


async def test_of_two_streams_at_once_the_latest_is_heard_and_the_sender_is_told(engine: Engine) -> None:
    """An offer of Plan B has several streams on one line: their packets came one after the other, at half the speed."""
    excesses: list[str] = []
    receiver = make_receiver(engine)
    receiver._on_excess = excesses.append
    for index in range(50):
        for ssrc in (7, 8):
            receiver.feed(packet(index, ssrc=ssrc), index * 0.02)
    assert pts(receiver) == [*range(51)]
    assert set(excesses) == {"several_streams"}
    receiver.end()
    receiver._call.abandon()


async def test_late_packets_of_a_stream_that_another_one_has_followed_change_nothing(receiver: AudioReceiver) -> None:
    """Each of them began the stream before anew, and the next packet the new one."""
    for index in range(5):
        receiver.feed(packet(index), index * 0.02)
    receiver.feed(packet(0, ssrc=8), 0.10)
    receiver.feed(packet(5), 0.11)
    receiver.feed(packet(1, ssrc=8), 0.12)
    assert len(pts(receiver)) == 7


async def test_a_stream_comes_back_once_the_one_that_followed_it_has_paused(receiver: AudioReceiver) -> None:
    """An announcement that a media server puts between, for example."""
    receiver.feed(packet(0), 0.0)
    receiver.feed(packet(0, ssrc=8), 0.02)
    receiver.feed(packet(20), 0.02 + PAUSE_S)
    receiver.feed(packet(21), 0.04 + PAUSE_S)
    assert len(pts(receiver)) == 4


async def test_a_sequence_that_jumps_is_a_new_stream(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    receiver.feed(packet(0, first_seq=30_000, first_timestamp=123), 0.02)
    assert pts(receiver) == [0, 1]


async def test_packets_that_nobody_takes_stay_bounded(receiver: AudioReceiver) -> None:
    """aiortc's own track queues without bound."""
    for index in range(500):
        receiver.feed(packet(index), index * 0.02)
    ready = pts(receiver)
    assert len(ready) <= MAX_WAITING_S / 0.02
    assert ready[-1] == 499


async def test_what_is_held_behind_a_hole_stays_bounded(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    for index in range(2, 400):
        receiver.feed(packet(index), 0.0)
    assert len(receiver._held) < 110


async def test_a_loss_does_not_make_a_turn_come_later(receiver: AudioReceiver) -> None:
    """A hole is time too: of ten packets eight came, and stand for 200 ms all the same."""
    for index in (0, 1, 2, 3, 4, 7, 8, 9):
        receiver.feed(packet(index), index * 0.02)
    receiver.feed(packet(10), 0.2 + REORDER_WINDOW_S)
    assert receiver._call._waiting_s == pytest.approx(11 * 0.02)


async def test_a_call_is_told_when_a_packet_came_and_how_long_it_was_held_back(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 1.0)
    receiver.feed(packet(2), 1.02)
    receiver.feed(packet(1), 1.03)
    arrivals = receiver._call.drain(2.0)
    assert arrivals.arrived_at == 1.02
    assert arrivals.reordered_s == pytest.approx(0.01)


async def test_the_end_gives_what_is_left_and_then_nothing(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    receiver.feed(packet(2), 0.01)
    receiver.end()
    assert receiver._call.ended
    assert pts(receiver) == [0, 1, 2]
    receiver.feed(packet(3), 0.02)
    assert pts(receiver) == []


def test_a_goodbye_followed_by_packets_is_a_pause(engine: Engine) -> None:
    """Chromium says RTCP BYE when its sender has no track for a while."""

    async def main() -> None:
        receiver = make_receiver(engine)
        receiver.feed(packet(0), 0.0)
        receiver.bye()
        receiver.feed(packet(1), 0.02)
        await asyncio.sleep(2 * BYE_GRACE_S)
        assert not receiver.ended
        receiver.bye()
        await asyncio.sleep(2 * BYE_GRACE_S)
        assert receiver.ended

    run_virtual(main())


async def test_unknown_formats_are_passed_over(engine: Engine) -> None:
    events = RTCRtpCodecParameters(mimeType="audio/telephone-event", clockRate=8_000, payloadType=110)
    receiver = make_receiver(engine, events)
    receiver.feed(packet(0)._replace(payload_type=110), 0.0)
    receiver.feed(packet(1), 0.02)
    assert [frame.pts for frame in decoded(receiver)] == [0]
    receiver._call.abandon()


async def test_a_change_of_codec_in_mid_call_is_followed(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0), 0.0)
    g711 = packet(1)
    g711 = g711._replace(payload_type=0, payload=b"\x80" * 160)
    receiver.feed(g711, 0.02)
    assert [frame.sample_rate for frame in decoded(receiver)] == [16_000, 8_000]


def placed(receiver: AudioReceiver) -> list[float]:
    """Return when each packet that is ready begins, in seconds of the call."""
    assert receiver._call.decode is not None
    pieces = [piece for piece in receiver._call.drain(0.0).audio if isinstance(piece, Packet)]
    return [piece.pts / (48_000 if piece.payload_type == 96 else 8_000) for piece in pieces]


@pytest.mark.parametrize("speed", [10, 50, 100])
async def test_audio_that_is_faster_than_real_time_is_taken_at_twice_its_pace(engine: Engine, speed: int) -> None:
    """All of it was judged: 1,558 results a second for a call at a hundredfold, and its neighbours' came later."""
    excesses: list[str] = []
    decoders = Decoders()
    call = engine.open(lambda _: None, lambda _: None, decode=decoders.decode)
    call.hold()
    receiver = AudioReceiver(call, decoders, excesses.append)
    receiver.configure([OPUS])
    before = value_of(metrics.PACKETS["excess"])
    starts: list[float] = []
    for index in range(4 * 50 * speed):
        receiver.feed(packet(index), index * 0.02 / speed)
        starts += placed(receiver)
    assert 4 * PACE <= len(starts) * 0.02 <= 4 * PACE + BURST_S + 0.02
    # Left out without a gap, which would be filled with silence and judged.
    assert starts[-1] == pytest.approx(len(starts) * 0.02 - 0.02)
    assert set(excesses) == {"too_fast"}
    assert len(excesses) == value_of(metrics.PACKETS["excess"]) - before == 4 * 50 * speed - len(starts)
    assert receiver.lost == 0
    call.abandon()


async def test_audio_at_its_pace_is_all_taken_though_it_comes_in_bursts(receiver: AudioReceiver) -> None:
    """A network, or a computer that stands still, holds back packets for some seconds, and then lets all of them go.

    Of more than two seconds the rest was lost, and the sender was told that it was too fast.
    """
    taken = 0
    for index in range(1_000):
        receiver.feed(packet(index), (index // 175) * 3.5)
        taken += len(placed(receiver))
    assert taken == 1_000


async def test_packets_that_hold_nothing_are_too_much_one_day_too(receiver: AudioReceiver) -> None:
    for index in range(10_000):
        empty = packet(index)._replace(payload=b"", timestamp=5_000)
        receiver.feed(empty, index * 0.000_1)
    assert len(receiver._call.drain(0.0).audio) <= (BURST_S + PACE) / 0.0025 + 1


async def test_a_timestamp_that_leaps_does_not_make_the_call_longer(receiver: AudioReceiver) -> None:
    """Ten minutes more between two packets that followed one another, and a call of 6 s lasted 606 s."""
    for index in range(100):
        receiver.feed(packet(index, first_timestamp=600 * 48_000 if index >= 50 else 0), index * 0.02)
    starts = placed(receiver)
    assert len(starts) == 100
    assert starts[49] == pytest.approx(0.98)
    assert starts[50] <= 1.0 + 0.02 + MAX_LEAP_S
    assert starts[99] - starts[50] == pytest.approx(49 * 0.02)


async def test_timestamps_that_leap_with_each_packet_make_no_more_than_twice_the_time(receiver: AudioReceiver) -> None:
    for index in range(300):
        receiver.feed(packet(index, first_timestamp=600 * 48_000 * index), index * 0.02)
    assert placed(receiver)[-1] <= PACE * 6.0 + BURST_S


async def test_a_pause_in_arrivals_may_be_a_gap_as_long(receiver: AudioReceiver) -> None:
    """Packets that were lost for ten seconds, or not sent: the call's clock runs on."""
    receiver.feed(packet(0), 0.0)
    receiver.feed(packet(500), 10.0)
    receiver.feed(packet(501), 10.0 + MAX_REORDER_WINDOW_S)
    assert placed(receiver) == pytest.approx([0.0, 10.0, 10.02])


async def test_packets_of_other_formats_have_their_places_in_the_sequence(receiver: AudioReceiver) -> None:
    """Tones of a telephone (RFC 4733) that were never negotiated were counted as lost, and concealed."""
    for index in range(10):
        some = packet(index)
        if 3 <= index < 6:
            some = some._replace(payload_type=101, payload=b"\1\x0a\0\xa0", timestamp=7)
        receiver.feed(some, index * 0.02)
    pieces = [piece for piece in receiver._call.drain(0.0).audio if isinstance(piece, Packet)]
    assert [piece.pts // 960 for piece in pieces] == [0, 1, 2, 6, 7, 8, 9]
    assert not any(piece.after_loss for piece in pieces)
    assert receiver.lost == 0


async def test_packets_of_other_formats_may_be_out_of_order_and_begin_no_stream(receiver: AudioReceiver) -> None:
    receiver.feed(packet(0)._replace(payload_type=101), 0.0)
    assert receiver._ssrc is None
    for index in (0, 2, 1, 3):
        receiver.feed(packet(index)._replace(payload_type=101 if index == 2 else 96), 0.02 * index)
    assert pts(receiver) == [0, 1, 3]
    receiver.feed(packet(2_000, ssrc=9)._replace(payload_type=101), 0.1)
    receiver.feed(packet(20_000)._replace(payload_type=101), 0.1)
    receiver.feed(packet(4), 0.12)
    assert pts(receiver) == [4]


@pytest.mark.parametrize("clock_hz", [8_000, 16_000])
async def test_g722_is_as_long_as_it_is_whichever_clock_its_timestamps_have(engine: Engine, clock_hz: int) -> None:
    """Timestamps that count its samples, 16,000 a second, made all of a call twice as long, and no speech."""
    g722 = RTCRtpCodecParameters(mimeType="audio/G722", clockRate=8_000, payloadType=9)
    receiver = make_receiver(engine, g722)
    for index in range(100):
        timestamp = 5_000 + index * clock_hz // 50
        receiver.feed(packet(index)._replace(payload_type=9, payload=bytes(160), timestamp=timestamp), index * 0.02)
    starts = placed(receiver)
    assert len(starts) == 100
    # The first packets teach it.
    assert starts[99] == pytest.approx(99 * 0.02, abs=0.15)
    assert starts[99] - starts[20] == pytest.approx(79 * 0.02)
    receiver._call.abandon()


async def test_another_codecs_clock_does_not_make_the_call_longer(receiver: AudioReceiver) -> None:
    """Ticks of 48 kHz were taken for as many of 8 kHz: after a second of Opus five more were missing."""
    for index in range(100):
        some = packet(index)
        if index >= 50:
            some = some._replace(payload_type=0, payload=b"\x80" * 160, timestamp=99 + 160 * index)
        receiver.feed(some, index * 0.02)
        if index == 60:
            stale = packet(45)
            receiver.feed(stale, index * 0.02)
    starts = placed(receiver)
    assert starts == pytest.approx([index * 0.02 for index in range(100)], abs=0.001)


@settings(max_examples=60, deadline=None)
@given(order=st.lists(st.integers(0, 60), max_size=120), steps=st.lists(st.floats(0, 0.05), min_size=120, max_size=120))
def test_any_order_gives_increasing_timestamps(order: list[int], steps: list[float]) -> None:
    async def run() -> None:
        receiver = make_receiver(ENGINE)
        now, seen = 0.0, []
        for index, step in zip(order, steps, strict=False):
            now += step
            receiver.feed(packet(index), now)
        receiver.end()
        if order:
            seen = pts(receiver)
            assert seen
        receiver._call.abandon()
        assert seen == sorted(set(seen))

    asyncio.run(run())

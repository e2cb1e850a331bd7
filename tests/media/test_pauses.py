"""Pauses of senders and stops of the network, replayed as packets: which of them is told to the caller."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.codec.codec import Codec

from tests.clock import run_virtual
from tests.engine.still import StillEngine, ToldCall
from tests.media.test_decoder import OPUS, PCMU
from tests.support import frame
from voxgender.engine.messages import NO_MEDIA_S
from voxgender.media.decoder import Decoders
from voxgender.media.receiver import AudioReceiver
from voxgender.media.rtp import Rtp
from voxgender.protocol import Message, Result, Warning

COMFORT_NOISE = 13
"""Static payload type of RFC 3389."""


class Sent(NamedTuple):
    """A packet: when it is sent, in seconds from the call's first one."""

    at_s: float
    arrives: bool = True
    payload_type: int = 96


def steadily(from_s: float, to_s: float, *, each_s: float, lost: tuple[int, ...] = ()) -> Iterator[Sent]:
    """Packets of 40 ms, one each ``each_s``."""
    for index in range(round((to_s - from_s) / each_s)):
        yield Sent(from_s + index * each_s, index not in lost)


def silent_opus(duration_s: float) -> bytes:
    encoder = Codec("libopus", "w").create()
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.options = {"frame_duration": str(round(duration_s * 1_000))}
    encoder.open()
    silence = frame(np.zeros(round(duration_s * 48_000)), rate=48_000, at_s=0.0)
    return bytes(encoder.encode(silence)[0])


PAYLOADS = {96: silent_opus(0.04), 0: b"\xff" * 320, COMFORT_NOISE: b"\x40"}
CLOCK_HZ = {96: 48_000, 0: 8_000, COMFORT_NOISE: 8_000}


def messages(sent: list[Sent], until_s: float) -> list[tuple[float, Message]]:
    """Return what a caller is told, and when, in seconds from the first packet."""

    async def main() -> list[tuple[float, Message]]:
        loop = asyncio.get_running_loop()
        engine, decoders = StillEngine(None), Decoders()
        told = ToldCall(engine, decode=decoders.decode)
        receiver = AudioReceiver(told.call, decoders)
        receiver.configure([OPUS, PCMU])
        started = loop.time()
        for number, packet in enumerate(sent):
            timestamp = round(packet.at_s * CLOCK_HZ[packet.payload_type])
            rtp = Rtp(packet.payload_type, number, timestamp, 7, PAYLOADS[packet.payload_type])
            if packet.arrives:
                at_s = started + packet.at_s
                loop.call_at(at_s, receiver.feed, rtp, at_s)
        loop.call_at(started + until_s, receiver.end)
        await told.over.wait()
        engine.close()
        return [(at_s - started, message) for at_s, message in zip(told.told_at, told.messages, strict=True)]

    return run_virtual(main())


def warnings(sent: list[Sent], until_s: float) -> list[tuple[float, str]]:
    return [(at_s, message.code) for at_s, message in messages(sent, until_s) if isinstance(message, Warning)]


TALK = [*steadily(0.0, 2.0, each_s=0.04)]
DTX_AT_PTIME = {20: 0.4, 40: 0.85, 60: 1.2}
"""Seconds between the Opus packets of a pause; at 40 ms as measured in Chromium."""


@pytest.mark.parametrize("ptime_ms", DTX_AT_PTIME)
def test_a_sender_that_pauses_is_not_said_to_send_nothing(ptime_ms: int) -> None:
    """Chromium's packets of silence come 850 ms apart; each pause of a speaker was told as ``no_media``."""
    pause = steadily(2.0, 20.0, each_s=DTX_AT_PTIME[ptime_ms])
    assert warnings([*TALK, *pause], 20.0) == []


@pytest.mark.parametrize("lost", range(6))
def test_one_lost_packet_of_a_pause_is_no_stop(lost: int) -> None:
    pause = steadily(2.0, 20.0, each_s=0.85, lost=(lost, lost + 8))
    assert warnings([*TALK, *pause], 20.0) == []


def test_a_muted_microphone_that_goes_on_sending_silence_is_no_stop() -> None:
    """``track.enabled = false``, and no DTX: Firefox and OBS."""
    assert warnings([*steadily(0.0, 20.0, each_s=0.04)], 20.0) == []


def test_a_true_stop_is_told_once_it_is_longer_than_a_pause_and_again_while_it_lasts() -> None:
    """On hold, unplugged, or with the network gone."""
    (first, code), (again, _) = warnings(TALK, 16.0)
    assert code == "no_media"
    assert 2.0 + NO_MEDIA_S <= first + 0.04 < 2.5 + NO_MEDIA_S
    assert again - first == pytest.approx(10.0, abs=0.5)


def test_silence_goes_on_through_a_pause_and_through_a_stop() -> None:
    """A label must not outlive its voice, whatever the reason."""
    pause = steadily(2.0, 8.0, each_s=0.85)
    told = messages([*TALK, *pause], 14.0)
    results_s = [at_s for at_s, message in told if isinstance(message, Result)]
    assert max(later - earlier for earlier, later in pairwise(results_s)) < 1.0
    assert results_s[-1] > 13.0


def test_a_stop_that_is_over_is_not_told_of_again_and_the_next_one_is_at_once() -> None:
    back = steadily(5.0, 6.0, each_s=0.04)
    first, second = (at_s for at_s, _ in warnings([*TALK, *back], 9.0))
    assert first < 5.0
    assert 6.0 + NO_MEDIA_S - 0.1 < second < 6.6 + NO_MEDIA_S
    back = steadily(5.0, 25.0, each_s=0.04)
    assert len(warnings([*TALK, *back], 25.0)) == 1


def test_g711_through_its_silence_is_no_stop() -> None:
    """Comfort noise (RFC 3389) is not offered to anybody here: who sends G.711 sends its silence too."""
    talk = [Sent(0.04 * index, payload_type=0) for index in range(50)]
    noise = [Sent(2.0 + 0.04 * index, payload_type=COMFORT_NOISE if index % 50 == 0 else 0) for index in range(300)]
    assert warnings([*talk, *noise], 14.0) == []

"""A call's packets faster than real time, straight into the media server's receiver, and through the engine."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import count
from random import Random

from aiortc import RTCRtpCodecParameters

from voxgender.engine import Engine
from voxgender.media.decoder import Decoders
from voxgender.media.receiver import AudioReceiver
from voxgender.media.rtp import Rtp
from voxgender.peer.speech import PACKET_S, PACKET_SAMPLES
from voxgender.protocol import Message, Result

OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48_000, channels=2, payloadType=96)
AHEAD_S = 1.0
"""Audio fed and not yet heard; the engine drops what is more than four seconds old."""


async def replay(
    engine: Engine, packets: Sequence[bytes], seconds: float, *, every_s: float, loss: float = 0.0
) -> AsyncIterator[float]:
    """Play ``packets`` over and over for ``seconds`` of audio; give the time of the call about each ``every_s`` of it.

    Sequence numbers and timestamps go round on the way. ``loss`` is in percent. Arrivals are told as if the call had
    taken place in real time, and ended now.
    """
    told: deque[Message] = deque()
    news = asyncio.Event()
    ended = asyncio.Event()

    def on_messages(messages: Sequence[Message]) -> None:
        told.extend(messages)
        news.set()

    def on_end(error: Exception | None) -> None:
        assert error is None
        ended.set()
        news.set()

    decoders = Decoders()
    call = engine.open(on_messages, on_end, decode=decoders.decode)
    receiver = AudioReceiver(call, decoders)
    receiver.configure([OPUS])
    random = Random(0)
    began = time.monotonic() - seconds
    room = asyncio.Event()
    fed_s = heard_s = 0.0

    async def feed() -> None:
        nonlocal fed_s
        for number in count():
            fed_s = number * PACKET_S
            if fed_s >= seconds:
                break
            if fed_s - heard_s > AHEAD_S:
                room.clear()
                await room.wait()
            if random.random() * 100 >= loss:
                packet = Rtp(
                    payload_type=96,
                    sequence_number=(60_000 + number) & 0xFFFF,
                    timestamp=(2**32 - 48_000 + number * PACKET_SAMPLES) & 0xFFFFFFFF,
                    ssrc=1,
                    payload=packets[number % len(packets)],
                )
                receiver.feed(packet, began + fed_s)
        receiver.end()

    feeding = asyncio.create_task(feed())
    given = 0
    try:
        while not ended.is_set() or told:
            await news.wait()
            news.clear()
            while told:
                message = told.popleft()
                if not isinstance(message, Result):
                    continue
                heard_s = message.end
                room.set()
                if heard_s >= (given + 1) * every_s:
                    given += 1
                    yield heard_s
    finally:
        call.abandon()
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)

"""A caller whose voice has one channel inverted, over WebRTC."""

import asyncio

import numpy as np
from aiortc import MediaStreamTrack

from tests.rtc import Server, a_peer
from tests.support import TimedTrack, frame
from voxgender import protocol
from voxgender.peer.voices import WOMAN, speak


def inverted_voice() -> MediaStreamTrack:
    """A woman's voice on the left, and the same upside down on the right, as of a balanced line in a stereo jack."""
    voice = speak(WOMAN, 4.0)
    timed = []
    for at in range(0, voice.size - 320, 320):
        left = (voice[at : at + 320] * 32_767).astype(np.int16)
        made = frame(np.zeros(320, dtype=np.float32), layout="stereo", at_s=at / 16_000)
        made.planes[0].update(np.stack([left, -left], axis=1).tobytes())
        timed.append((at / 16_000, made))
    return TimedTrack(timed)


async def test_a_voice_with_one_channel_inverted_is_heard_over_webrtc(server: Server) -> None:
    """aiortc's Opus is stereo whatever the answer asks for; the call was told "no speech" with no hint of why."""
    async with a_peer(inverted_voice()) as peer:
        peer.channels()
        await peer.call(server.http)
        async with asyncio.timeout(20):
            while (result := await peer.until(protocol.Result)).label == "no_speech":  # type: ignore[attr-defined]
                pass
        assert isinstance(result, protocol.Result)

"""``voxgender.integrations.livekit`` with LiveKit's own SDK.

The room is not connected, because there is no server of LiveKit to connect it to. Its events are emitted as the SDK
emits them, with real tracks, which ``AudioSource`` feeds and ``AudioStream`` reads.
"""

import asyncio
from typing import NamedTuple

import numpy as np
import pytest
from livekit import rtc

from tests.support import Samples, silence
from tests.waits import PATIENCE_S
from voxgender.integrations.livekit import Heard, RoomVoices
from voxgender.peer.voices import MAN, WOMAN, speak

pytestmark = pytest.mark.usefixtures("pitch")


class Participant(NamedTuple):
    identity: str


class Speaker:
    """A participant whose microphone plays samples in real time."""

    def __init__(self, room: rtc.Room, identity: str) -> None:
        self._room = room
        self._participant = Participant(identity)
        self._source = rtc.AudioSource(16_000, 1)
        self.track = rtc.LocalAudioTrack.create_audio_track(identity, self._source)
        # A track has no id of its own before a server gives it one.
        self.track._info.sid = f"TR_{identity}"

    def join(self) -> None:
        self._room.emit("track_subscribed", self.track, None, self._participant)

    async def speak(self, voice: Samples) -> None:
        pcm = (voice * 32_767).astype(np.int16)
        for start in range(0, pcm.size - 319, 320):
            await self._source.capture_frame(rtc.AudioFrame(pcm[start : start + 320].tobytes(), 16_000, 1, 320))

    async def leave(self) -> None:
        await self._source.wait_for_playout()
        self._room.emit("track_unsubscribed", self.track, None, self._participant)

    async def close(self) -> None:
        await self._source.aclose()


async def test_participants_are_labelled_apart_until_the_room_disconnects() -> None:
    room = rtc.Room()
    ben, ana = Speaker(room, "ben"), Speaker(room, "ana")
    heard: list[Heard] = []
    async with asyncio.timeout(PATIENCE_S), RoomVoices(room) as voices:
        ben.join()
        ben.join()
        ana.join()
        await asyncio.gather(
            *(who.speak(np.concatenate([speak(voice, 1.5), silence(0.2)])) for who, voice in ((ben, MAN), (ana, WOMAN)))
        )
        await ben.leave()
        await ana._source.wait_for_playout()
        room.emit("disconnected", rtc.DisconnectReason.CLIENT_INITIATED)
        heard = [one async for one in voices]
    # Where the machine is busy, a pause in the frames may part a segment.
    segments = {(one.participant, one.message.label) for one in heard if one.message.type == "segment"}
    assert segments == {("ana", "female"), ("ben", "male")}
    # Each is told to the end, whether it left or the room did.
    assert sorted(one.participant for one in heard if one.message.type == "summary") == ["ana", "ben"]
    for who in (ben, ana):
        await who.close()


async def test_leaving_early_leaves_nothing_behind() -> None:
    room = rtc.Room()
    ben = Speaker(room, "ben")
    before = asyncio.all_tasks()
    async with asyncio.timeout(PATIENCE_S), RoomVoices(room) as voices:
        ben.join()
        await ben.speak(silence(0.3))
        assert (await anext(voices)).message.type == "hello"
    assert asyncio.all_tasks() <= before
    assert {one.message.type async for one in voices} <= {"result"}
    ben.join()
    assert voices._listening == {}
    await ben.close()

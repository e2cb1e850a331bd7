"""Several audio lines of one offer are voices of their own."""

import asyncio

from tests.rooms import a_room
from tests.rtc import Server, ToneTrack
from voxgender.protocol import Hello, Result, Summary


async def test_each_line_is_a_voice_with_its_mid_and_name(server: Server) -> None:
    async with a_room([ToneTrack(), ToneTrack(), ToneTrack()], ["alice", None, "Zoë & co"]) as room:
        path = await room.call(server.http)
        hello = await room.until(Hello)
        assert isinstance(hello, Hello)
        assert hello.channels == 3
        assert hello.voices is not None
        mids = [voice.mid for voice in hello.voices]
        assert len(set(mids)) == 3
        names = [voice.name for voice in hello.voices]
        came = await room.until_all(Result, [0, 1, 2])
        for message in came:
            if isinstance(message, Result):
                assert message.channel is not None
                assert message.mid == mids[message.channel]
                print(message.name, names)
        last = await room.end(server.http, path)
        print(last)
    assert False

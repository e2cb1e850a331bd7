"""Server-sent events: the same messages, for publishers without a data channel."""

import asyncio

from tests.rtc import Server, ToneTrack, a_peer, a_server
from voxgender import protocol
from voxgender.engine import Engine


async def test_a_publisher_without_a_data_channel_follows_its_session(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        path = await peer.call(server.http)
        async with server.http.get(f"{path}/events") as stream:
            assert stream.status == 200
            assert stream.content_type == "text/event-stream"
            kinds: list[str] = []
            async for line in stream.content:
                text = line.decode().strip()
                if not text:
                    continue
                field, _, data = text.partition(": ")
                assert field == "data"
                kinds.append(protocol.decode(data).type)
                if kinds.count("result") == 3 and "summary" not in kinds:
                    ending = asyncio.create_task(server.http.delete(path).__aenter__())
            assert kinds[:2] == ["hello", "result"]
            assert kinds[-1] == "summary"
        (await ending).release()


async def test_two_followers_of_one_session_and_one_of_another_hear_their_own(server: Server) -> None:
    async with a_peer(ToneTrack()) as one, a_peer(ToneTrack()) as other:
        paths = [await one.call(server.http), await other.call(server.http)]
        for path in (paths[0], paths[0], paths[1]):
            async with server.http.get(f"{path}/events") as stream:
                hello = protocol.decode((await stream.content.readline()).decode().removeprefix("data: "))
                assert isinstance(hello, protocol.Hello)
                assert path.endswith(hello.session)


async def test_a_follower_that_leaves_does_not_end_the_call(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        path = await peer.call(server.http)
        async with server.http.get(f"{path}/events") as stream:
            await stream.content.readline()
        await peer.until(protocol.Result)
        await peer.until(protocol.Result)
        assert len(server.node.sessions()) == 1


async def test_a_quiet_stream_is_kept_alive(engine: Engine) -> None:
    """Proxies close streams on which nothing comes."""
    async with a_server(engine, keepalive_s=0.01) as server, a_peer(ToneTrack()) as peer:
        async with server.http.post(
            "/whip", data=await peer.offer(), headers={"Content-Type": "application/sdp"}
        ) as response:
            path = response.headers["Location"]
        async with server.http.get(f"{path}/events") as stream:
            lines = [(await stream.content.readline()).decode() for _ in range(4)]
    assert lines[2].startswith(":")

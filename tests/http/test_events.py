"""Server-sent events: the same messages, for publishers without a data channel."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from tests.nodes import a_front, a_node
from tests.rtc import Server, ToneTrack, a_peer, a_server
from voxgender import protocol
from voxgender.engine import Engine
from voxgender.http.app import ClientLimits


async def test_a_publisher_without_a_data_channel_follows_its_session(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        path = await peer.call(server.http)
        async with server.http.get(f"{path}/events") as stream:
            assert stream.status == 200
            assert stream.content_type == "text/event-stream"
            kinds: list[str] = []
            ids: list[int] = []
            async for line in stream.content:
                text = line.decode().strip()
                if not text:
                    continue
                field, _, data = text.partition(": ")
                if field == "id":
                    ids.append(int(data))
                    continue
                if field == "event":
                    assert data == "end"
                    continue
                assert field == "data"
                if "summary" in kinds:
                    assert protocol.decode(data) == protocol.End(reason="deleted")
                kinds.append(protocol.decode(data).type)
                if kinds.count("result") == 3 and "summary" not in kinds:
                    ending = asyncio.create_task(server.http.delete(path).__aenter__())
            assert kinds[:2] == ["hello", "result"]
            assert kinds[-2:] == ["summary", "end"]
            assert ids == list(range(len(kinds)))
        (await ending).release()


async def test_two_followers_of_one_session_and_one_of_another_hear_their_own(server: Server) -> None:
    async with a_peer(ToneTrack()) as one, a_peer(ToneTrack()) as other:
        paths = [await one.call(server.http), await other.call(server.http)]
        for path in (paths[0], paths[0], paths[1]):
            async with server.http.get(f"{path}/events") as stream:
                assert await stream.content.readline() == b"id: 0\n"
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
        assert len(server.node.places.sessions()) == 1


async def test_a_quiet_stream_is_kept_alive(engine: Engine) -> None:
    """Proxies close streams on which nothing comes."""
    async with a_server(engine, clients=ClientLimits(keepalive_s=0.01)) as server, a_peer(ToneTrack()) as peer:
        async with server.http.post(
            "/whip", data=await peer.offer(), headers={"Content-Type": "application/sdp"}
        ) as response:
            path = response.headers["Location"]
        async with server.http.get(f"{path}/events") as stream:
            lines = [(await stream.content.readline()).decode() for _ in range(5)]
    assert lines[3].startswith(":")


async def told(http: ClientSession, path: str, last: str | None, count: int) -> list[tuple[int, str]]:
    """The first events of a stream, as ids and types."""
    found: list[tuple[int, str]] = []
    async with http.get(f"{path}/events", headers={} if last is None else {"Last-Event-ID": last}) as stream:
        while len(found) < count:
            id_, data, _ = [(await stream.content.readline()).decode().strip() for _ in range(3)]
            found.append((int(id_.removeprefix("id: ")), protocol.decode(data.removeprefix("data: ")).type))
    return found


@pytest.mark.parametrize("in_fleet", [False, True])
async def test_a_reader_that_connects_again_goes_on_where_it_was(engine: Engine, *, in_fleet: bool) -> None:
    """Browsers send the last id. Without ids all events were told again."""
    async with AsyncExitStack() as stack:
        if in_fleet:
            node = await stack.enter_async_context(a_node(engine))
            http, places = (await stack.enter_async_context(a_front(node))).http, node.node.places
        else:
            server = await stack.enter_async_context(a_server(engine))
            http, places = server.http, server.node.places
        peer = await stack.enter_async_context(a_peer(ToneTrack()))
        path = await peer.call(http)
        (session,) = places.sessions()
        session.warn("one", "")
        first = await told(http, path, None, 4)
        assert first[0] == (0, "hello")
        (at,) = [number for number, kind in first if kind == "warning"]
        session.warn("two", "")
        again = await told(http, path, str(at), 2)
        assert again[0][0] > at
        assert again[0][1] == "warning"
        assert again[1][1] == "result"
        for strange in ("999999", "-1", "+1", "1.0", "1,2", "١", "0x1", "x", "1" * 400, "1" * 8_000, "a" * 12 + ".1"):
            assert (await told(http, path, strange, 3))[0] == (0, "hello")


async def test_a_stream_ends_with_its_connection_for_a_reader_of_http_1_0(server: Server) -> None:
    """Close the connection behind an answer without a length, if the reader knows no chunks.

    A proxy of HTTP/1.0 asked for the connection to be kept. It was, so the reader waited ten minutes more for the end.
    """
    async with a_peer(ToneTrack()) as peer:
        path = await peer.call(server.http)
        reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        writer.write(f"GET {path}/events HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        await reader.readuntil(b'"hello"')
        async with asyncio.timeout(10), server.http.delete(path) as response:
            assert response.status == 200
            assert b"event: end" in await reader.read()
        writer.close()

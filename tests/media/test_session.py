"""A session's life through the real HTTP server and real peers: how it begins, and every way it ends."""

import asyncio
import gc
import os
import threading
import time
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest
from aiortc import RTCDataChannel, RTCPeerConnection

from tests.rtc import SDP, Peer, Server, ToneTrack, a_peer, a_server, session_on
from tests.waits import until
from voxgender.audio.activity import FRAME_S
from voxgender.engine import Engine
from voxgender.media.outbox import Outbox
from voxgender.media.session import Session, SessionTimes
from voxgender.protocol import Error, Hello, Result, Segment, Summary, Warning


async def ended(server: Server) -> None:
    """Wait until the server holds no session."""
    await until(lambda: not server.node.places.sessions())


async def test_each_channel_is_greeted_and_gets_what_its_label_and_shape_ask_for(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        heard: dict[str, set[str]] = {}
        for label, shape in (
            ("results", {"ordered": False, "maxRetransmits": 0}),
            ("events", {}),
            ("anything", {}),
        ):
            kinds = heard.setdefault(label, set())
            channel = peer.channel(label, **shape)
            channel.on("message", lambda text, kinds=kinds: kinds.add(text.split('"')[3]))
        path = await peer.call(server.http)
        await peer.until(Result)
        async with server.http.delete(path):
            await asyncio.wait_for(peer.closed.wait(), 10)
    assert heard["results"] == {"hello", "result"}
    assert heard["events"] == {"hello", "summary"}
    assert heard["anything"] == {"hello", "result", "summary"}


async def test_results_follow_the_clock_of_the_call(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        await peer.call(server.http)
        results = [result for _ in range(4) if isinstance(result := await peer.until(Result), Result)]
    assert [result.seq for result in results] == [1, 2, 3, 4]
    assert results[0].start == 0.0
    for before, after in pairwise(results):
        assert after.start == pytest.approx(before.end, abs=0.001)
        # Six frames as a rule; a turn that comes late, on a busy machine, leaves any number to its last hop.
        assert round((after.end - after.start) / FRAME_S, 2) in range(1, 8)
    assert all(result.label == "no_speech" and result.scores is None for result in results)


async def test_delete_brings_the_summary_before_the_connection_closes(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        path = await peer.call(server.http)
        await peer.until(Result)
        async with server.http.delete(path) as response:
            assert response.status == 200
        summary = await peer.until(Summary)
        assert isinstance(summary, Summary)
        assert summary.duration > 0
        assert summary.speech == 0
        await asyncio.wait_for(peer.closed.wait(), 10)
        async with server.http.delete(path) as response:
            assert response.status == 404
    assert server.node.places.sessions() == []


async def test_a_call_that_is_over_before_its_channels_open_still_gets_its_summary(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the channels of a two-second call came up after its DELETE, and nobody was told anything."""
    held: list[RTCDataChannel] = []
    attach = Outbox.attach
    monkeypatch.setattr(Outbox, "attach", lambda _, channel: held.append(channel))
    async with a_peer(ToneTrack()) as peer:
        peer.channel("events")
        path = await peer.call(server.http)
        await until(lambda: held)
        session = session_on(server.node, path)
        ending = asyncio.create_task(session.end("deleted"))
        await until(lambda: session._outbox._end)
        attach(session._outbox, held[0])
        await peer.until(Summary)
        await ending


async def test_a_track_that_ends_ends_the_call_with_its_summary(engine: Engine) -> None:
    times = SessionTimes(bye_grace_s=0.1)
    async with a_server(engine, session_times=times) as server, a_peer(track := ToneTrack(limit=25)) as peer:
        peer.channels()
        await peer.call(server.http)
        while track.readyState == "live":
            await peer.until(Result)
        await peer.pc.getSenders()[0].stop()
        summary = await peer.until(Summary)
        assert isinstance(summary, Summary)
        assert summary.duration >= 0.5
        await ended(server)


async def test_closing_all_channels_ends_the_call(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        channel = peer.channel("all")
        await peer.call(server.http)
        await peer.until(Hello)
        channel.close()
        await ended(server)


async def test_a_peer_connection_that_closes_ends_the_call(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        await peer.call(server.http)
        await peer.until(Hello)
    await ended(server)


async def test_an_offer_that_nobody_follows_up_ends_at_its_deadline(engine: Engine) -> None:
    """A connection with no remote candidates never fails by itself."""
    async with a_server(engine, connect_timeout_s=0.1, sweep_s=0.02) as server, a_peer(ToneTrack()) as peer:
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
            assert response.status == 201
        await ended(server)


async def test_a_peer_that_falls_silent_is_taken_to_be_gone(engine: Engine) -> None:
    """A closed tab shows only after half a minute of failed consent checks."""
    async with (
        a_server(engine, silence_timeout_s=4.0, sweep_s=0.05) as server,
        a_peer(SilencedTrack(after=10)) as peer,
    ):
        peer.channels()
        await peer.call(server.http)
        warning = await peer.until(Warning)
        assert isinstance(warning, Warning)
        assert warning.code == "no_media"
        error = await peer.until(Error)
        assert isinstance(error, Error)
        assert error.code == "silent_peer"
        await ended(server)


async def test_a_peer_that_says_something_on_a_channel_is_not_taken_to_be_gone(server: Server) -> None:
    """Someone on mute sends no packets, and is still there."""
    async with a_peer(SilencedTrack(after=5)) as peer:
        channel = peer.channel("events")
        await peer.call(server.http)
        await peer.until(Hello)
        session = session_on(server.node)
        # The last frames may still be on their way, but not for three rounds.
        for _ in range(3):
            channel.send('{"v":1,"type":"ping"}')
            await until(partial(is_active_since, session, time.monotonic()))


def is_active_since(session: Session, at: float) -> bool:
    return session.last_active_at > at


class SilencedTrack(ToneTrack):
    """Gives frames, then none, and does not end."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    async def recv(self) -> object:  # type: ignore[override]
        if self.sent >= self._after:
            await asyncio.Event().wait()
        return await super().recv()


async def test_shutting_down_tells_the_client_and_leaves_nothing(engine: Engine) -> None:
    async with a_server(engine) as server, a_peer(ToneTrack()) as peer:
        peer.channels()
        await peer.call(server.http)
        await peer.until(Result)
        await server.node.close()
        error = await peer.until(Error)
        assert isinstance(error, Error)
        assert error.code == "shutting_down"
        await peer.until(Summary)
        assert server.node.places.sessions() == []
        async with server.http.post("/whip", data="v=0", headers=SDP) as response:
            assert response.status == 503
            assert (await response.json())["code"] == "draining"


async def test_a_full_server_says_so_and_takes_the_next_call_when_one_has_left(engine: Engine) -> None:
    async with (
        a_server(engine, max_sessions=1) as server,
        a_peer(ToneTrack()) as first,
        a_peer(ToneTrack()) as second,
    ):
        first.channels()
        path = await first.call(server.http)
        offer = await second.offer()
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0
            assert (await response.json())["code"] == "at_capacity"
        async with server.http.delete(path):
            pass
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            assert response.status == 201


async def test_a_failing_model_ends_the_call_with_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        engine = server.node._engine
        assert engine is not None

        def broken(hops: object) -> tuple[float, float]:
            raise RuntimeError("the weights melted")

        monkeypatch.setattr(engine._networks, "process", broken)
        await peer.call(server.http)
        error = await peer.until(Error)
        assert isinstance(error, Error)
        assert error.code == "analysis_failed"
        assert "melted" not in error.message
        await ended(server)


async def test_sessions_never_see_each_others_messages(server: Server) -> None:
    """The old design broadcast every answer to everyone."""
    async with a_peer(ToneTrack()) as one, a_peer(ToneTrack()) as other:
        ids = []
        for peer in (one, other):
            peer.channel("all")
            path = await peer.call(server.http)
            hello = await peer.until(Hello)
            assert isinstance(hello, Hello)
            assert path == f"/whip/{hello.session}"
            ids.append(path)
        async with server.http.delete(ids[0]):
            pass
        await one.until(Summary)
        assert not any(isinstance(m, Summary | Segment) for m in list(other.messages._queue))  # type: ignore[attr-defined]
        await other.until(Result)


@pytest.mark.parametrize("first", ["audio", "video"])
async def test_a_video_line_is_left_unused_and_costs_nothing(server: Server, first: str) -> None:
    """OBS sends video too; a video track that nobody reads would grow for ever."""
    async with a_peer() as peer:
        if first == "video":
            peer.pc.addTransceiver("video", direction="sendonly")
        peer.pc.addTrack(ToneTrack())
        if first == "audio":
            peer.pc.addTransceiver("video", direction="sendonly")
        peer.channels()
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
            answer = await response.text()
            assert response.status == 201
        assert "a=inactive" in answer[answer.index("m=video") :]
        await peer.accept(answer)
        await peer.until(Result)
        session = session_on(server.node)
        assert [t.kind for t in session._pc.getTransceivers()] == ["audio"]


async def test_fifty_calls_leave_no_task_thread_socket_or_connection(server: Server) -> None:
    """Nothing survives a closed session."""

    async def one_call() -> None:
        peer = Peer(ToneTrack())
        peer.channels()
        path = await peer.call(server.http)
        await peer.until(Hello)
        async with server.http.delete(path) as response:
            assert response.status == 200
        await peer.close()

    def census() -> dict[str, int]:
        gc.collect()
        objects = gc.get_objects()
        return {
            "tasks": len(asyncio.all_tasks()),
            # asyncio's own pool is the test peers' (aiortc encodes there) and is kept by design.
            "threads": sum(not t.name.startswith("asyncio_") for t in threading.enumerate()),
            "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
            "sessions": sum(type(o) is Session for o in objects),
            "connections": sum(type(o) is RTCPeerConnection for o in objects),
        }

    async def five_calls() -> None:
        await asyncio.gather(*(one_call() for _ in range(5)))

    # The first round opens the HTTP connections that stay open for the next.
    at_first = census()
    await five_calls()
    await until(lambda: census()["connections"] <= at_first["connections"])
    before = census()
    for _ in range(10):
        await five_calls()

    def grown() -> dict[str, int]:
        after = census()
        return {kind: after[kind] - before[kind] for kind in before if after[kind] > before[kind]}

    with suppress(TimeoutError):
        await until(lambda: not grown(), within_s=5)
    assert grown() == {}
    assert server.node.places.sessions() == []


async def test_a_call_that_never_got_a_packet_is_told_so(server: Server) -> None:
    """A muted sender or a firewall that lets data through: the call was connected, and nothing was ever told."""
    async with a_peer() as peer:
        peer.pc.addTransceiver("audio", direction="sendonly")
        peer.channels()
        await peer.call(server.http)
        warning = await peer.until(Warning)
        assert isinstance(warning, Warning)
        assert warning.code == "no_media"
        assert len(server.node.places.sessions()) == 1

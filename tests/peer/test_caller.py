import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any

import pytest
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from tests.peer.conftest import Serve, ServerProcess
from voxgender.errors import AudioError, CallError
from voxgender.media.aiortc_internals.ice import bind_ice
from voxgender.peer.caller import Caller, CallLost
from voxgender.peer.faults import Faults, FaultyLink
from voxgender.peer.pacer import Pacer
from voxgender.peer.speech import Speech
from voxgender.protocol import AnyMessage, Hello, Result, Segment, Summary

pytestmark = pytest.mark.usefixtures("nothing_left")


class Inbox(list[AnyMessage]):
    """Messages so far, and a way to wait for one of a kind."""

    def __init__(self) -> None:
        super().__init__()
        self._waiters: list[tuple[type, asyncio.Event]] = []

    def __call__(self, message: AnyMessage) -> None:
        self.append(message)
        for kind, event in self._waiters:
            if isinstance(message, kind):
                event.set()

    def next(self, kind: type) -> asyncio.Event:
        event = asyncio.Event()
        self._waiters.append((kind, event))
        return event


def endless(speech: Speech) -> Speech:
    return Speech(list(speech.packets) * 100, ())


async def test_a_call_is_played_to_its_end_and_reported(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    messages = Inbox()

    report = await Caller(server.url, short_speech).run(messages)

    assert report.ended == "played"
    assert report.seconds == 1.5
    assert report.messages["hello"] == 2
    assert report.session == next(message.session for message in messages if isinstance(message, Hello))
    results = [message for message in messages if isinstance(message, Result)]
    assert report.results == len(results) >= 7
    assert isinstance(messages[-1], Summary)
    assert messages[-1].duration == pytest.approx(1.5, abs=0.05)
    assert any(isinstance(message, Segment) for message in messages)
    assert report.summary == messages[-1]
    assert report.latency_ms is not None
    assert report.server_latency_ms is not None
    # The caller's clock also holds the way there and back.
    assert report.latency_ms.p50 >= report.server_latency_ms.p50
    assert not server.node.places.sessions()


async def test_candidates_stay_on_loopback(serve: Serve, short_speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    offers = []
    open_session = server.node.open

    async def listen_in(offer: str, *rest: Any) -> Any:
        offers.append(offer)
        return await open_session(offer, *rest)

    monkeypatch.setattr(server.node, "open", listen_in)
    await Caller(server.url, short_speech, duration_s=0.2).run()

    candidates = [line for line in offers[0].splitlines() if line.startswith("a=candidate")]
    assert candidates
    assert all(line.split()[4] == "127.0.0.1" for line in candidates)


async def test_a_duration_cuts_the_audio_off(serve: Serve, short_speech: Speech) -> None:
    server = await serve()

    report = await Caller(server.url, short_speech, duration_s=0.5).run()

    assert report.ended == "played"
    assert report.seconds == 0.5


async def test_hanging_up_ends_in_good_order(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    call = Caller(server.url, endless(short_speech))
    messages = Inbox()
    heard = messages.next(Result)
    running = asyncio.create_task(call.run(messages))
    await heard.wait()

    call.hang_up()
    report = await running

    assert report.ended == "hung_up"
    assert report.summary is not None
    assert not server.node.places.sessions()


async def test_a_cancelled_call_leaves_no_session_behind(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    messages = Inbox()
    heard = messages.next(Result)
    running = asyncio.create_task(Caller(server.url, endless(short_speech)).run(messages))
    await heard.wait()
    assert server.node.places.sessions()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not server.node.places.sessions()


async def test_an_error_in_the_callback_comes_out_and_ends_the_call(serve: Serve, short_speech: Speech) -> None:
    server = await serve()

    def fail(_: AnyMessage) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await Caller(server.url, endless(short_speech)).run(fail)

    assert not server.node.places.sessions()


async def test_packets_that_cannot_be_made_end_the_call_with_their_error(serve: Serve, short_speech: Speech) -> None:
    """A file that turned out to be broken half-way left the call silent for ever."""
    server = await serve()

    def broken() -> Iterator[bytes]:
        yield from islice(short_speech.packets, 5)
        raise AudioError("the rest cannot be read")

    with pytest.raises(AudioError, match="the rest"):
        await Caller(server.url, Speech(broken(), ())).run()

    assert not server.node.places.sessions()


async def test_an_error_in_the_callback_after_the_audio_comes_out_too(serve: Serve, short_speech: Speech) -> None:
    server = await serve()

    def fail(message: AnyMessage) -> None:
        if isinstance(message, Summary):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await Caller(server.url, short_speech, duration_s=0.4).run(fail)

    assert not server.node.places.sessions()


async def test_callers_that_share_a_pacer_share_its_timer_and_leave_it(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    pacer = Pacer()
    callers = [Caller(server.url, short_speech, duration_s=0.5, pacer=pacer) for _ in range(3)]

    reports = await asyncio.gather(*(caller.run() for caller in callers))

    assert [report.seconds for report in reports] == [0.5] * 3
    assert pacer.idle


async def test_a_call_hears_on_through_a_bad_network(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    faults = Faults(loss=10, jitter_ms=20, reorder=10, duplicate=10, outage_ms=300, seed=1)
    link = FaultyLink(faults, outage_after_s=1.5)
    call = Caller(server.url, endless(short_speech), duration_s=4.0, link=link)

    report = await call.run()

    assert report.ended == "played"
    assert len(report.recovery_ms) == 1
    assert report.summary is not None
    assert report.summary.duration == pytest.approx(4.0, abs=0.3)
    assert report.latency_ms is not None
    assert not server.node.places.sessions()


async def test_nothing_of_a_bad_network_is_left_after_the_call(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    link = FaultyLink(Faults(jitter_ms=2_000, outage_ms=20_000), outage_after_s=0.3)

    await Caller(server.url, short_speech, duration_s=1.3, link=link).run()

    assert link.idle


async def test_a_server_that_shuts_down_says_so(serve: Serve, short_speech: Speech) -> None:
    server = await serve()
    messages = Inbox()
    heard = messages.next(Result)
    running = asyncio.create_task(Caller(server.url, endless(short_speech)).run(messages))
    await heard.wait()

    await server.node.close()

    with pytest.raises(CallLost, match="shutting down") as caught:
        await running
    assert caught.value.report.ended == "lost"
    assert caught.value.report.results >= 1


async def test_a_server_that_is_killed_is_missed_before_ice_does(
    server_process: ServerProcess, short_speech: Speech
) -> None:
    messages = Inbox()
    heard = messages.next(Result)
    running = asyncio.create_task(Caller(server_process.url, endless(short_speech), quiet_s=0.5).run(messages))
    await heard.wait()

    server_process.process.kill()

    with pytest.raises(CallLost, match="the server is gone") as caught:
        await running
    assert caught.value.report.results >= 1


async def test_a_full_server_refuses(serve: Serve, short_speech: Speech) -> None:
    server = await serve(max_sessions=1)
    first = Caller(server.url, endless(short_speech))
    messages = Inbox()
    heard = messages.next(Hello)
    running = asyncio.create_task(first.run(messages))
    await heard.wait()

    with pytest.raises(CallError, match=r"503 .*full.*try again in \d+ s"):
        await Caller(server.url, short_speech).run()

    first.hang_up()
    await running


async def test_a_token_opens_the_door(serve: Serve, short_speech: Speech) -> None:
    server = await serve(token="secret")

    with pytest.raises(CallError, match=r"401 .*--token"):
        await Caller(server.url, short_speech).run()
    with pytest.raises(CallError, match=r"401 .*--token"):
        await Caller(server.url, short_speech, token="wrong").run()
    report = await Caller(server.url, short_speech, token="secret", duration_s=0.3).run()

    assert report.ended == "played"


@pytest.fixture
async def deaf_server() -> AsyncIterator[str]:
    """Answers every offer properly, and then lets no packet through."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as black_hole:
        black_hole.bind(("127.0.0.1", 0))
        port = black_hole.getsockname()[1]

        async def post(request: web.Request) -> web.Response:
            pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            await pc.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
            bind_ice(pc, ["127.0.0.1"])
            await pc.setLocalDescription(await pc.createAnswer())
            answer = re.sub(r"(a=candidate.* 127\.0\.0\.1) \d+", rf"\1 {port}", pc.localDescription.sdp)
            await pc.close()
            return web.Response(
                status=201,
                text=answer,
                content_type="application/sdp",
                headers={"Location": "/whip/1"},
            )

        async def yes(_: web.Request) -> web.Response:
            return web.Response()

        app = web.Application()
        app.add_routes([web.post("/whip", post), web.get("/whip/1", yes), web.delete("/whip/1", yes)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


async def test_a_connection_that_never_comes_up_ends_at_its_deadline(deaf_server: str, short_speech: Speech) -> None:
    with pytest.raises(CallError, match=r"no media path.*UDP"):
        await Caller(deaf_server, short_speech, connect_timeout_s=0.3).run()


async def test_a_session_that_ends_before_it_connects_is_told_from_a_closed_network(
    serve: Serve, short_speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    open_session = server.node.open

    async def open_and_end(offer: str, *rest: Any) -> Any:
        session_id, answer = await open_session(offer, *rest)
        await server.node.end(session_id)
        return session_id, answer

    monkeypatch.setattr(server.node, "open", open_and_end)

    with pytest.raises(CallError, match="gave it up"):
        await Caller(server.url, short_speech, connect_timeout_s=0.3).run()


async def test_an_answer_that_is_none_is_refused(short_speech: Speech) -> None:
    async def post(_: web.Request) -> web.Response:
        return web.Response(status=201, text="hello", content_type="application/sdp", headers={"Location": "/whip/1"})

    app = web.Application()
    app.add_routes([web.post("/whip", post)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        with pytest.raises(CallError, match="answer cannot be used"):
            await Caller(f"http://127.0.0.1:{runner.addresses[0][1]}", short_speech).run()
    finally:
        await runner.cleanup()

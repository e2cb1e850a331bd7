"""Webhooks to real receivers: in order, tried again, and harmless to calls."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from tests.figures import value_of
from tests.rtc import LOOPBACK, ToneTrack, a_peer, a_server
from tests.waits import until
from tests.webhooks.test_signing import SECRET, is_genuine
from voxgender import metrics
from voxgender.engine import Engine
from voxgender.protocol import Change, Segment, Summary, Usage
from voxgender.roster import LiveCall
from voxgender.sessionids import call_hash
from voxgender.settings import WebhookOptions
from voxgender.webhooks.delivery import Webhooks
from voxgender.webhooks.queues import Queues

CALL = LiveCall(session="abc", started_at=0.0, name="studio", subject="ann", reference="show 7", tags=("pilot",))
CHANGE = Change(at=0.5, from_="no_speech", to="male", confidence=0.9)
SEGMENT = Segment(start=0.5, end=2.25, label="male", confidence=0.7)
USAGE = Usage(audio_s=3.0, speech_s=1.75)


class Receiver:
    """Takes webhooks, and answers each by what ``answer`` makes of it."""

    def __init__(self) -> None:
        self.url = ""
        self.taken: list[dict[str, Any]] = []
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda _: 204
        self.news = asyncio.Condition()
        self.at_once = self.most_at_once = 0
        self.hold: asyncio.Event | None = None

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert is_genuine()(headers, body, SECRET)
        told = json.loads(body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.at_once -= 1
        status = self.answer(told)
        async with self.news:
            self.headers.append(headers)
            self.seen.append(headers["webhook-id"])
            if status == 204:
                self.taken.append(told)
            self.news.notify_all()
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async def until(self, is_there: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(is_there)

    def types(self, session: str = CALL.session) -> list[str]:
        return [told["type"] for told in self.taken if told["data"]["call"] == call_hash(session)]


@asynccontextmanager
async def a_receiver(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.add_routes([web.post("/voices", receiver.receive), web.route("*", "/elsewhere", _elsewhere)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, port)
    await site.start()
    receiver.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}/voices"
    try:
        yield receiver
    finally:
        if receiver.hold is not None:
            receiver.hold.set()
        await runner.cleanup()


async def _elsewhere(_: web.Request) -> web.Response:
    raise AssertionError("a redirect was followed")


@asynccontextmanager
async def webhooks_to(url: str, *, timeout_s: float = 0.3, **bounds: Any) -> AsyncIterator[Webhooks]:
    queues = Queues(first_pause_s=0.01, longest_pause_s=0.05, **bounds)
    webhooks = Webhooks(WebhookOptions(webhook=url, webhook_secret=(SECRET,)), queues, timeout_s=timeout_s)
    await webhooks.start()
    try:
        yield webhooks
    finally:
        await webhooks.close(0.5)


def fate(name: str) -> float:
    return REGISTRY.get_sample_value("voxgender_webhooks_total", {"fate": name}) or 0.0


def tell(webhooks: Webhooks, call: LiveCall = CALL, changes: int = 1) -> None:
    """Tell a whole call."""
    webhooks.on_start(call)
    for _ in range(changes):
        webhooks.on_event(call, CHANGE)
    webhooks.on_event(call, SEGMENT)
    webhooks.on_end(call, "left", USAGE)


async def test_a_real_call_is_told_from_start_to_end_and_its_usage_adds_up(engine: Engine) -> None:
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(a_receiver())
        webhooks = await stack.enter_async_context(webhooks_to(receiver.url))
        server = await stack.enter_async_context(a_server(engine, observers=[webhooks]))
        peer = await stack.enter_async_context(a_peer(ToneTrack()))
        peer.channels()
        path = await peer.call(server.http, endpoint="/whip?name=studio&reference=show%207&tags=pilot")
        await receiver.until(lambda: len(receiver.taken) == 1)
        async with server.http.delete(path) as response:
            assert response.status == 200
        await receiver.until(lambda: receiver.taken[-1]["type"] == "end")
        summary = await peer.until(Summary)
        assert isinstance(summary, Summary)
        session = path.rpartition("/")[2]
        start, *_, end = (told["data"] for told in receiver.taken)
        assert start == {
            "call": call_hash(session), "seq": 1, "name": "studio", "reference": "show 7", "tags": ["pilot"],
            "message": {"v": 1, "type": "start"},
        }  # fmt: skip
        assert end["message"] == {"v": 1, "type": "end", "reason": "deleted"}
        assert end["usage"] == {"audio_s": round(summary.duration, 3), "speech_s": round(summary.speech, 3)}
        assert session not in json.dumps(receiver.taken)


async def test_a_call_that_never_connects_is_not_told(engine: Engine) -> None:
    """Any caller could have had the receiver flooded by offers alone."""
    async with a_receiver() as receiver, webhooks_to(receiver.url) as webhooks:
        async with a_server(engine, observers=[webhooks]) as server, a_peer(ToneTrack()) as peer:
            await server.node.open(await peer.offer())
        assert receiver.seen == []


async def test_a_receiver_that_was_away_has_missed_nothing() -> None:
    async with a_receiver() as receiver:
        port = int(receiver.url.split(":")[2].partition("/")[0])
    calls = [LiveCall(session=str(number), started_at=0.0) for number in range(5)]
    failures = metrics.WEBHOOK_FAILURES["unreachable"]
    before = value_of(failures)
    async with webhooks_to(f"http://{LOOPBACK}:{port}/voices") as webhooks:
        for call in calls:
            tell(webhooks, call)
        await until(lambda: value_of(failures) >= before + 2)
        async with a_receiver(port) as receiver:
            await receiver.until(lambda: len(receiver.taken) == 4 * len(calls))
            for call in calls:
                assert receiver.types(call.session) == ["start", "change", "segment", "end"]
            assert len(set(receiver.seen)) == len(receiver.seen)
            await webhooks.close()
        assert webhooks.queues.calls == 0


@pytest.mark.parametrize("status", [302, 307, 400, 404, 410, 429, 500, 503])
async def test_a_webhook_that_is_refused_is_sent_again_with_the_same_id(status: int) -> None:
    async with a_receiver() as receiver, webhooks_to(receiver.url) as webhooks:
        receiver.answer = lambda _: status if len(receiver.seen) < 3 else 204
        tell(webhooks)
        await receiver.until(lambda: len(receiver.taken) == 4)
        assert receiver.seen[:4] == [f"{call_hash('abc')}-1"] * 4
        assert receiver.types() == ["start", "change", "segment", "end"]


async def test_a_message_that_is_never_taken_holds_up_its_own_call_alone_until_it_is_too_old() -> None:
    poisoned = LiveCall(session="poisoned", started_at=0.0)
    async with a_receiver() as receiver, webhooks_to(receiver.url, max_age_s=0.2) as webhooks:
        receiver.answer = lambda told: (
            422 if told["data"]["call"] == call_hash("poisoned") and told["type"] == "change" else 204
        )
        before = fate("expired")
        tell(webhooks, poisoned)
        tell(webhooks)
        await receiver.until(lambda: len(receiver.types()) == 4)
        assert receiver.types("poisoned") == ["start"]
        await receiver.until(lambda: len(receiver.types("poisoned")) == 3)
        assert receiver.types("poisoned") == ["start", "segment", "end"]
        assert [told["data"]["seq"] for told in receiver.taken if told["data"]["call"] == call_hash("poisoned")] == [
            1,
            3,
            4,
        ]
        assert fate("expired") == before + 1


async def test_a_receiver_that_stands_still_costs_calls_nothing_and_memory_little() -> None:
    async with a_receiver() as receiver, webhooks_to(receiver.url, max_waiting=50, timeout_s=30) as webhooks:
        receiver.hold = asyncio.Event()
        dropped = fate("dropped")
        for number in range(100):
            # It neither waits nor raises.
            tell(webhooks, LiveCall(session=str(number), started_at=0.0))
        assert webhooks.queues.waiting == 50
        assert fate("dropped") == dropped + 350
        receiver.hold.set()
        await receiver.until(lambda: len(receiver.taken) == 50)
        assert receiver.most_at_once <= 8
        await webhooks.close()
        assert webhooks.queues.calls == 0


@pytest.mark.parametrize("stands_still", [False, True])
async def test_a_server_that_stops_sends_what_waits_within_a_bound(*, stands_still: bool) -> None:
    async with a_receiver() as receiver, webhooks_to(receiver.url, timeout_s=30) as webhooks:
        if stands_still:
            receiver.hold = asyncio.Event()
        tell(webhooks, changes=20)
        async with asyncio.timeout(5):
            await webhooks.close(0.3 if stands_still else 5.0)
        assert len(receiver.taken) == (0 if stands_still else 23)


async def test_a_server_that_stops_gives_up_on_a_receiver_that_is_gone_at_once() -> None:
    async with webhooks_to(f"http://{LOOPBACK}:9/voices") as webhooks:
        before = fate("unsent")
        tell(webhooks)
        async with asyncio.timeout(2):
            await webhooks.close(5.0)
        assert fate("unsent") == before + 4


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 50", b""),
        ("Content-Length: 50", b"ok"),
        ("Content-Encoding: gzip\r\nContent-Length: 2", b"ok"),
        ("Content-Encoding: br\r\nContent-Length: 2", b"ok"),
    ],
    ids=["never comes", "is cut off", "is no gzip", "is packed by what nobody asked for"],
)
async def test_a_status_counts_whatever_becomes_of_the_body_behind_it(head: str, body: bytes) -> None:
    """Take a status of 2xx for the answer that it is.

    A receiver answered 200 and a length, and the body behind it never came, or could not be unpacked. Each webhook
    counted as unreachable, so it was sent again for an hour, and those of all other calls waited behind it.
    """
    seen = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while asked := await reader.readuntil(b"\r\n\r\n"):
                (length,) = re.findall(rb"(?i)content-length: (\d+)", asked)
                await reader.readexactly(int(length))
                seen.append(re.findall(rb"(?i)webhook-id: (\S+)", asked)[0].decode())
                writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK)
    url = f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/voices"
    before = fate("delivered")
    async with server, webhooks_to(url) as webhooks:
        tell(webhooks)
        await webhooks.close(10)
    assert fate("delivered") == before + 4
    assert seen == [f"{call_hash('abc')}-{number}" for number in range(1, 5)]

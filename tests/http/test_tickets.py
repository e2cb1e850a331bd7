"""Tickets at another instance than the one that made them."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession

from tests.clock import StillClock
from tests.engine.models import Pitch
from tests.http.test_gateways import CONNECTED, STOP, both_tracks, say, twilio_start
from tests.http.test_listen import emptied, of, refusal, until_closed
from tests.options import given
from tests.rtc import Server, a_server
from voxgender import protocol
from voxgender.audiostream import StreamFormat
from voxgender.engine import Engine
from voxgender.errors import SessionNotFound, TooManySessions
from voxgender.http.proxies import Proxies
from voxgender.http.rates import Rates
from voxgender.http.seal import Seal
from voxgender.http.tickets import TICKET_S, Tickets, seal_of
from voxgender.media.node import MediaNode
from voxgender.settings import AuthOptions, FrontSettings, ProxyOptions, RateOptions

TOKEN = "s3cr3t"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOWHERE = "192.0.2.1"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(Pitch())
    yield engine
    engine.close()


@asynccontextmanager
async def two_instances(engine: Engine, *, other_token: str = TOKEN) -> AsyncIterator[tuple[Server, Server]]:
    first = a_server(engine, settings=given(FrontSettings, token=TOKEN))
    second = a_server(engine, settings=given(FrontSettings, token=other_token))
    async with first as one, second as other:
        yield one, other


async def a_ticket(http: ClientSession, query: str = "") -> dict[str, str]:
    async with http.post(f"/listen?{query}", headers=BEARER) as response:
        assert response.status == 201
        ticket: dict[str, str] = await response.json()
        return ticket


async def test_a_ticket_lets_one_client_in_at_an_instance_that_did_not_make_it(engine: Engine) -> None:
    """A load balancer sends the WebSocket to any instance: the client was let in by chance alone."""
    async with two_instances(engine) as (one, other):
        url = (await a_ticket(one.http, "name=CA1&interim=false&from_ms=5000"))["url"]
        async with other.http.ws_connect(url) as socket:
            await refusal(other.http, url, 404, "ticket_not_found")
            await socket.send_bytes(bytes(32_000))
            await socket.send_json({"type": "close"})
            messages, code, _ = await until_closed(socket)
        assert code == 1000
        (hello,) = of(protocol.Hello, messages)
        assert hello.name == "CA1"
        (summary,) = of(protocol.Summary, messages)
        assert summary.duration == pytest.approx(1.0)
        assert not of(protocol.Result, messages)
        await refusal(other.http, url, 404, "ticket_not_found")
        await emptied(other)


async def test_a_phone_gateway_s_ticket_is_refused_where_nobody_would_read_the_labels(engine: Engine) -> None:
    """Any instance took a phone call, and the program that follows its session heard nothing at the other one."""
    async with two_instances(engine) as (one, other):
        ticket = await a_ticket(one.http, "encoding=mulaw&channels=2")
        url = ticket["url"].replace("/listen/", "/listen/twilio/")
        await refusal(other.http, url, 421, "other_instance")
        async with one.http.ws_connect(url) as socket:
            await say(socket, CONNECTED, twilio_start("inbound", "outbound"), *both_tracks(), STOP)
            _, code, _ = await until_closed(socket)
        assert code == 1000
        await emptied(one)
        assert other.node.live == 0


async def test_a_ticket_of_another_secret_or_of_nobody_lets_nobody_in(engine: Engine) -> None:
    async with two_instances(engine, other_token="another") as (one, other):
        url = (await a_ticket(one.http))["url"]
        for wrong in (url, f"{url}x", url[:-4], f"/listen/{'a' * 3_000}", "/listen/%C3%A9"):
            await refusal(other.http, wrong, 404, "ticket_not_found")
        assert other.node.live == 0


async def test_a_reservation_that_was_deleted_is_none_any_more(engine: Engine) -> None:
    async with two_instances(engine) as (one, _):
        ticket = await a_ticket(one.http)
        async with one.http.delete(ticket["session"], headers=BEARER) as response:
            assert response.status == 200
        await refusal(one.http, ticket["url"], 404, "ticket_not_found")


def tickets(node: MediaNode, clock: StillClock) -> Tickets:
    return Tickets(node, Rates(RateOptions(), Proxies(ProxyOptions())), Seal("secret"), clock=clock)


async def test_a_ticket_expires_everywhere_and_counts_as_its_subject_s_call(engine: Engine) -> None:
    clock = StillClock(1_800_000_000.0)
    one, other = MediaNode(), MediaNode(max_sessions_per_subject=1)
    one.start(engine)
    other.start(engine)
    here, there = tickets(one, clock), tickets(other, clock)
    made = [(await here.reserve(StreamFormat(), "anna", NOWHERE))[1] for _ in range(3)]
    assert "anna" not in "".join(made)
    stream = await there.redeem(made[0], NOWHERE)
    with pytest.raises(TooManySessions):
        await there.redeem(made[1], NOWHERE)
    # The ticket that was refused was not used.
    await stream.leave()
    await (await there.redeem(made[1], NOWHERE)).leave()
    clock.now += TICKET_S + 1
    with pytest.raises(SessionNotFound):
        await there.redeem(made[2], NOWHERE)
    assert other.live == 0
    clock.now += 3 * TICKET_S
    _, last = await here.reserve(StreamFormat(), None, NOWHERE)
    await (await there.redeem(last, NOWHERE)).leave()
    assert len(there._used) == 1
    await one.close()
    await other.close()


@pytest.mark.parametrize("text", [b"{}", b'{"place":"p"}', b"[]", b"\xff"])
async def test_a_ticket_of_another_version_is_none_here(engine: Engine, text: bytes) -> None:
    """While instances are replaced by newer ones, one has to answer for formats that it does not know: it was a 500."""
    async with a_server(engine, settings=given(FrontSettings, token=TOKEN)) as server:
        newer = {"instance": "i", "place": "p", "subject": None, "form": {"encoding": "of tomorrow"}}
        for permit in (text, json.dumps(newer).encode()):
            ticket = Seal(TOKEN).close(permit, time.time())
            await refusal(server.http, f"/listen/{ticket}", 404, "ticket_not_found")


def test_instances_without_a_secret_share_no_tickets() -> None:
    """Public keys are known to everybody: what they alone protect cannot be sealed with them."""
    assert seal_of(AuthOptions(jwt_keys="https://id.example/keys")) is None
    assert seal_of(AuthOptions(jwt_keys="https://id.example/keys", token=TOKEN)) is not None
    assert seal_of(AuthOptions()) is not None

"""Requests of one address or one subject are limited, by the address that proxies vouch for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse

from tests.figures import value_of
from tests.http.signing import SECRET, by_secret
from tests.options import given
from tests.rtc import FRAGMENT, SDP, Server, ToneTrack, a_peer, a_server
from tests.waits import until
from voxgender import metrics
from voxgender.engine import Engine
from voxgender.http.problem import Problem
from voxgender.http.rates import REQUESTS_AN_OFFER, _Limits, _site
from voxgender.settings import FrontSettings

PER_MINUTE = 60
AT_ONCE = 10


@asynccontextmanager
async def a_limited_server(engine: Engine, **options: Any) -> AsyncIterator[Server]:
    async with a_server(engine, settings=given(FrontSettings, offers_per_minute=PER_MINUTE, **options)) as server:
        yield server


async def post(server: Server, **headers: str) -> int:
    async with server.http.post("/whip", data="no SDP", headers=SDP | headers) as response:
        if response.status == 429:
            await is_refused(response)
        return response.status


async def is_refused(response: ClientResponse) -> None:
    assert response.status == 429
    assert response.content_type == "application/problem+json"
    assert (await response.json())["code"] == "too_many_requests"
    assert 1 <= int(response.headers["Retry-After"]) <= 60


async def test_offers_of_one_address_beyond_the_rate_get_429(engine: Engine) -> None:
    async with a_limited_server(engine) as server:
        before = value_of(metrics.OFFERS_REJECTED.labels("too_many_requests"))
        statuses = [await post(server) for _ in range(AT_ONCE + 5)]
        assert statuses[:AT_ONCE] == [400] * AT_ONCE
        assert 429 in statuses[AT_ONCE:]
        refused = statuses.count(429)
        assert value_of(metrics.OFFERS_REJECTED.labels("too_many_requests")) == before + refused
        # Everything else goes on.
        async with server.http.get("/health/ready") as response:
            assert response.status == 200
        async with server.http.delete("/whip/nobody") as response:
            assert response.status == 404


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/whip/nobody"), ("GET", "/whip/nobody/events")])
async def test_patches_and_readers_have_a_rate_too(engine: Engine, method: str, path: str) -> None:
    async with a_limited_server(engine) as server:
        for _ in range(REQUESTS_AN_OFFER * AT_ONCE):
            async with server.http.request(
                method, path, headers=FRAGMENT, data=b"a=x" * (method == "PATCH")
            ) as response:
                assert response.status in (400, 404)
        while True:
            async with server.http.request(method, path, headers=FRAGMENT) as response:
                if response.status == 429:
                    await is_refused(response)
                    break
        assert await post(server) == 400


async def test_nought_sets_no_limit(engine: Engine) -> None:
    async with a_server(engine, settings=given(FrontSettings, offers_per_minute=0)) as server:
        assert {await post(server) for _ in range(300)} == {400}


async def test_a_load_of_a_hundred_calls_from_one_address_is_within_the_default(engine: Engine) -> None:
    async with a_server(engine) as server:
        assert {await post(server) for _ in range(110)} == {400}


async def test_a_subject_is_counted_wherever_it_calls_from(engine: Engine) -> None:
    async with a_limited_server(engine, jwt_secret=SECRET, trusted_proxy=("127.0.0.0/8",)) as server:

        async def place(number: int, subject: str) -> int:
            token = by_secret(sub=subject, jti=str(number))
            return await post(server, **{"Authorization": f"Bearer {token}", "X-Forwarded-For": f"198.51.100.{number}"})

        statuses = [await place(number, "ann") for number in range(AT_ONCE + 5)]
        assert statuses[:AT_ONCE] == [400] * AT_ONCE
        assert 429 in statuses[AT_ONCE:]
        assert await place(200, "bob") == 400


async def test_clients_behind_a_trusted_proxy_are_counted_each_by_itself(engine: Engine) -> None:
    async with a_limited_server(engine, trusted_proxy=("127.0.0.0/8",)) as server:
        statuses = [await post(server, **{"X-Forwarded-For": f"198.51.100.{number}"}) for number in range(3 * AT_ONCE)]
        assert set(statuses) == {400}
        same = [
            await post(server, **{"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.200"})
            for number in range(AT_ONCE + 5)
        ]
        assert 429 in same


async def test_nobody_is_believed_without_a_trusted_proxy(engine: Engine) -> None:
    """Else a client would be another one with each request."""
    async with a_limited_server(engine) as server:
        statuses = [await post(server, **{"X-Forwarded-For": f"198.51.100.{number}"}) for number in range(AT_ONCE + 5)]
        assert 429 in statuses


def test_an_ipv6_client_has_a_whole_network_to_call_from() -> None:
    assert _site("2001:db8:1:2::1") == _site("2001:db8:1:2:ffff::9") != _site("2001:db8:1:3::1")
    assert _site("192.0.2.1") == "192.0.2.1"


def test_so_many_are_counted_and_no_more() -> None:
    limits = _Limits(1.0, max_counted=100)
    for number in range(1_000):
        limits.check(("address", str(number)), 0.0)
        limits.check(("address", "busy"), float(number))
    assert len(limits._limits) <= 101
    assert ("address", "busy") in limits._limits


def test_who_was_refused_may_come_again_when_it_was_told() -> None:
    limits = _Limits(0.1)
    limits.check(("address", "a"), 0.0)
    with pytest.raises(Problem) as refused:
        limits.check(("address", "a"), 0.0)
    limits.check(("address", "a"), float(refused.value.headers["Retry-After"]))


async def test_a_hundred_and_ten_offers_that_never_connect_keep_nobody_out(engine: Engine) -> None:
    """One line of curl filled the server for 15 s."""
    async with a_server(engine) as server:
        async with a_peer() as stranger:
            stranger.pc.addTransceiver("audio", direction="sendonly")
            offer = await stranger.offer()

            async def place() -> int:
                async with server.http.post("/whip", data=offer, headers=SDP) as response:
                    return response.status

            statuses = await asyncio.gather(*(place() for _ in range(110)))
        assert set(statuses) <= {201, 503}
        assert server.node.live == 100
        await until(lambda: server.node.live < 100)
        assert await place() == 201
        async with a_peer(ToneTrack()) as peer:
            peer.channels()
            await peer.call(server.http)

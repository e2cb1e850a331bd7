from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from yarl import URL

from voxgender.peer.meter import Meter, Reading

Show = Callable[[web.Response], Awaitable[Meter]]


@pytest.fixture
async def show() -> AsyncIterator[Show]:
    """A meter of a server whose page is what the test says."""
    async with AsyncExitStack() as stack:

        async def start(response: web.Response) -> Meter:
            async def page(_: web.Request) -> web.Response:
                return web.Response(status=response.status, body=response.body)

            app = web.Application()
            app.add_routes([web.get("/metrics", page)])
            runner = web.AppRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            http = await stack.enter_async_context(aiohttp.ClientSession())
            return Meter(http, URL(f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"))

        yield start


async def test_a_page_is_read_as_it_is(show: Show) -> None:
    registry = CollectorRegistry()
    Counter("voxgender_windows_dropped", "…", registry=registry).inc(3)
    stages = Histogram("voxgender_stage_seconds", "…", ["stage"], buckets=(0.01, 0.1), registry=registry)
    stages.labels("queue").observe(0.05)
    page = generate_latest(registry) + b"process_cpu_seconds_total 12.5\nprocess_resident_memory_bytes 1e+08\n"

    reading = await (await show(web.Response(body=page))).read()

    assert (reading.cpu_s, reading.memory_bytes, reading.dropped) == (12.5, 1e8, 3)
    assert reading.stages == {"queue": {0.01: 0, 0.1: 1, float("inf"): 1}}
    assert reading.at > 0
    assert reading.own_cpu_s > 0


@pytest.mark.parametrize(
    "response",
    [web.Response(status=404), web.Response(body=b"<html>"), web.Response(body=b"")],
    ids=["404", "html", "-"],
)
async def test_a_server_that_shows_no_metrics_has_none(show: Show, response: web.Response) -> None:
    reading = await (await show(response)).read()

    assert (reading.cpu_s, reading.memory_bytes, reading.dropped) == (None, None, None)
    assert reading.stages == {}


async def test_a_server_that_is_not_there_has_none() -> None:
    async with aiohttp.ClientSession() as http:
        reading = await Meter(http, URL("http://127.0.0.1:9/metrics")).read()

    assert reading.cpu_s is None


INF = float("inf")


def between(begin: dict[float, float], end: dict[float, float]) -> dict[str, object]:
    first, last = Reading(0, 0, stages={"queue": begin}), Reading(1, 0, stages={"queue": end})
    return {stage: (found.count, found.p50, found.p95) for stage, found in last.stages_since(first).items()}


def test_stages_count_from_the_first_reading_on() -> None:
    before = {0.01: 1000.0, 0.1: 1000.0, INF: 1000.0}
    after = {0.01: 1050.0, 0.1: 1100.0, INF: 1100.0}

    assert between(before, after) == {"queue": (100, 10.0, 91.0)}
    assert between({}, {0.01: 50.0, 0.1: 100.0, INF: 100.0}) == {"queue": (100, 10.0, 91.0)}


def test_empty_buckets_and_overflow_are_read_off_truly() -> None:
    assert between({}, {0.01: 0.0, 0.02: 0.0, 0.04: 10.0, INF: 10.0}) == {"queue": (10, 30.0, 39.0)}
    assert between({}, {0.01: 0.0, 0.1: 1.0, INF: 100.0}) == {"queue": (100, 100.0, 100.0)}


def test_a_stage_in_which_nothing_happened_is_left_out() -> None:
    same = {0.01: 5.0, INF: 5.0}
    assert between(same, same) == {}
    assert between({}, {}) == {}

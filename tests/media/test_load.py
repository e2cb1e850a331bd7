"""A node that does not keep up refuses calls, and takes them again once it does."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.figures import value_of
from tests.nodes import a_front, a_node
from tests.rtc import SDP, ToneTrack, a_peer, a_server
from tests.waits import until
from voxgender import metrics, protocol
from voxgender.engine import Engine
from voxgender.media.load import BACKLOG_S, LAG_S, MIN_WINDOWS_PER_S, SAMPLE_S, Load


def measured(
    load: Load, seconds: float, *, lag_s: float = 0.0, backlog_s: float = 0.0, windows_per_s: float | None = None
) -> bool:
    for _ in range(round(seconds / SAMPLE_S)):
        load.measure(lag_s, backlog_s, windows_per_s)
    return load.overloaded


@pytest.mark.parametrize("late", [{"lag_s": LAG_S}, {"backlog_s": BACKLOG_S}, {"windows_per_s": MIN_WINDOWS_PER_S / 2}])
def test_a_node_that_is_late_for_some_two_seconds_is_overloaded_until_it_has_caught_up(late: dict[str, float]) -> None:
    load = Load()
    assert not measured(load, 1.0, **late)
    assert measured(load, 1.5, **late)
    assert value_of(metrics.OVERLOADED) == 1
    assert measured(load, 1.0)
    assert not measured(load, 4.0)
    assert value_of(metrics.OVERLOADED) == 0


def test_one_long_stop_is_no_load() -> None:
    load = Load()
    load.measure(30.0, 30.0)
    assert not load.overloaded
    assert not measured(load, 5.0, lag_s=LAG_S / 2, backlog_s=BACKLOG_S / 2)


def test_a_node_on_the_brink_does_not_change_its_mind_with_each_measurement() -> None:
    load, changes, before = Load(), 0, False
    measured(load, 10.0, lag_s=LAG_S)
    for number in range(400):
        load.measure(LAG_S * (number % 2), 0.0)
        changes += load.overloaded != before and number > 0
        before = load.overloaded
    assert changes <= 1


@pytest.fixture
def slow_engine() -> Iterator[tuple[Engine, asyncio.Event]]:
    """An engine whose speech gate is far too slow, until it is let go."""
    engine, let_go = Engine(None), asyncio.Event()
    process = engine._networks.process

    def late(*args: object, **more: object) -> tuple[float, float]:
        if not let_go.is_set():
            time.sleep(1.2)
        return process(*args, **more)  # type: ignore[arg-type]

    engine._networks.process = late  # type: ignore[method-assign]
    yield engine, let_go
    let_go.set()
    engine.close()


async def test_a_busy_engine_keeps_further_calls_out_and_those_that_are_up_go_on(
    slow_engine: tuple[Engine, asyncio.Event],
) -> None:
    """A machine that is too slow for its model took calls up to ``--max-sessions`` and served none of them."""
    engine, let_go = slow_engine
    async with a_server(engine) as server, a_peer(ToneTrack()) as peer, a_peer(ToneTrack()) as another:
        peer.channels()
        await peer.call(server.http)
        offer = await another.offer()
        await until(lambda: server.node.overloaded)
        before = value_of(metrics.OFFERS_REJECTED.labels("overloaded"))
        async with server.http.post("/whip", data=offer, headers=SDP) as response:
            assert response.status == 503
            assert (await response.json())["code"] == "overloaded"
            assert response.headers["Retry-After"] == "5"
        assert value_of(metrics.OFFERS_REJECTED.labels("overloaded")) == before + 1
        async with server.http.get("/health/ready") as response:
            assert response.status == 200
        await peer.until(protocol.Result)
        let_go.set()
        await until(lambda: not server.node.overloaded)
        await another.call(server.http)


async def test_signaling_asks_a_node_that_keeps_up_and_says_where_none_does(engine: Engine) -> None:
    loads = [Load(), Load()]
    async with (
        a_node(engine, load=loads[0]) as busy,
        a_node(engine, load=loads[1]) as idle,
        a_front(busy, idle) as front,
        a_peer(ToneTrack()) as peer,
    ):
        loads[0].overloaded = True
        loads[0].measure = lambda *_: None  # type: ignore[method-assign]
        for _ in range(4):
            async with a_peer(ToneTrack()) as caller:
                await caller.call(front.http)
        assert (busy.node.live, idle.node.live) == (0, 4)
        loads[1].overloaded = True
        loads[1].measure = lambda *_: None  # type: ignore[method-assign]
        async with front.http.post("/whip", data=await peer.offer(), headers=SDP) as response:
            assert response.status == 503
            assert (await response.json())["code"] == "overloaded"
            assert response.headers["Retry-After"] == "5"

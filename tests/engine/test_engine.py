"""Calls of one engine, from their audio to their messages."""

import asyncio
import threading

import pytest

from tests.engine.models import Held, Pitch
from tests.engine.still import StillEngine, ToldCall
from tests.support import Samples, sine
from voxgender.engine import Engine
from voxgender.engine.pace import MAX_BEHIND
from voxgender.errors import SettingsError
from voxgender.protocol import Result, Warning


def test_hello_says_what_listens() -> None:
    hello = Engine(Pitch()).hello("me")
    assert (hello.session, hello.model, hello.window_ms, hello.hop_ms) == ("me", "pitch", 1_000, 192)


def test_a_hop_that_does_not_fit_the_ticks_is_refused() -> None:
    with pytest.raises(SettingsError, match="choose a multiple of 64"):
        Engine(None, hop_ms=100)


async def test_a_slow_model_skips_turns_and_tells_of_the_newest_audio(man: Samples) -> None:
    """Calls are told late, never ever later."""
    model = Held()
    engine = Engine(model)
    told = ToldCall(engine)
    spoken = man[8_000:]
    told.call.push(spoken[:8_000], engine.clock())
    assert await asyncio.to_thread(model.started.acquire, timeout=20)
    told.call.push(spoken[8_000:40_000], engine.clock())
    model.may_go_on.set()
    told.call.end()
    async with asyncio.timeout(20):
        await told.over.wait()
    await asyncio.to_thread(engine.close)
    assert [warning.code for warning in told.only(Warning)] == ["overloaded"]
    scored = [result for result in told.results if result.scores]
    # One before, one of all that came meanwhile.
    assert len(scored) <= 1 + MAX_BEHIND
    assert told.results[-1].end == pytest.approx(2.5)


async def test_one_callback_a_turn_tells_all_calls_of_a_loop() -> None:
    """It was one each call and hop: waking the event loop is most of what a result costs."""
    loop = asyncio.get_running_loop()
    engine = Engine(None)
    calls = [ToldCall(engine) for _ in range(16)]
    woken: list[object] = []
    plain = loop.call_soon_threadsafe

    def counted(callback: object, *args: object, **more: object) -> object:
        if threading.current_thread() is engine._thread:
            woken.append(callback)
        return plain(callback, *args, **more)  # type: ignore[arg-type]

    loop.call_soon_threadsafe = counted  # type: ignore[assignment, method-assign]
    for told in calls:
        told.call.push(sine(0.2), engine.clock())
        told.call.end()
    async with asyncio.timeout(20):
        await asyncio.gather(*(told.over.wait() for told in calls))
    await asyncio.to_thread(engine.close)
    assert len(woken) == 1
    assert all(told.only(Result) for told in calls)


async def test_a_closed_engine_ends_its_calls_and_starts_no_thread() -> None:
    engine = StillEngine(None)
    told = ToldCall(engine)
    await asyncio.to_thread(engine.close)
    async with asyncio.timeout(20):
        await told.over.wait()
    (error,) = told.errors
    assert isinstance(error, RuntimeError)
    assert engine._thread is None

"""Calls whose model is in other processes: what is sent and told, and what a slow or lost model costs."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tests.engine.models import Pitch
from tests.engine.still import ToldCall
from tests.support import Samples
from tests.waits import PATIENCE_S
from voxgender.audio.frames import Wave
from voxgender.engine import Engine
from voxgender.errors import ModelError
from voxgender.inference.classifier import RemoteClassifier, Row, Unclassified, Window
from voxgender.media.load import MIN_WINDOWS_PER_S
from voxgender.peer.voices import MAN, WOMAN, speak
from voxgender.protocol import Change, Segment, Summary, Warning


class Elsewhere(RemoteClassifier):
    """A model that answers when the test lets it, in any order."""

    labels = ("male", "female")
    min_window_ms = 500

    def __init__(self, *, holds: bool = False) -> None:
        self.up = True
        self.free = 64
        self.holds = holds
        self.closed = False
        self.sent: list[tuple[Window, Future[Row]]] = []
        self.patient = 0
        self.came = threading.Semaphore(0)
        self._model = Pitch()

    @property
    def name(self) -> str:
        return "elsewhere"

    @property
    def is_up(self) -> bool:
        return self.up

    @property
    def free_capacity(self) -> int:
        return self.free if self.up else 0

    def submit(self, windows: Sequence[Window], *, patient: bool = False) -> list[Future[Row]]:
        rows: list[Future[Row]] = [Future() for _ in windows]
        self.patient += len(windows) * patient
        for window, row in zip(windows, rows, strict=True):
            self.sent.append((window, row))
            if not self.holds:
                self.answer(window, row)
            self.came.release()
        return rows

    def answer(self, window: Window, row: "Future[Row]") -> None:
        row.set_result(self._model(window[np.newaxis])[0])

    def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def an_engine(model: RemoteClassifier) -> AsyncIterator[Engine]:
    engine = Engine(model)
    try:
        yield engine
    finally:
        await asyncio.to_thread(engine.close)


@pytest.fixture(scope="module")
def man() -> Samples:
    return speak(MAN, 4.0)


@pytest.fixture(scope="module")
def woman() -> Samples:
    return speak(WOMAN, 4.0)


async def came(model: Elsewhere, windows: int = 1) -> None:
    for _ in range(windows):
        assert await asyncio.to_thread(model.came.acquire, timeout=PATIENCE_S)


async def over(calls: Iterable[ToldCall]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(told.over.wait() for told in calls))


def segments(told: ToldCall) -> set[str]:
    return {segment.label for segment in told.only(Segment)}


async def test_calls_are_labelled_as_by_a_model_of_their_own(man: Samples, woman: Samples) -> None:
    async with an_engine(Elsewhere()) as engine:
        assert engine.hello("s").model == "elsewhere"
        calls = [ToldCall(engine) for _ in range(2)]
        for told, voice in zip(calls, (man, woman), strict=True):
            told.call.push(voice, engine.clock())
            told.call.end()
        await over(calls)
        assert [segments(told) for told in calls] == [{"male"}, {"female"}]
        assert [told.errors for told in calls] == [[None], [None]]


async def test_a_call_whose_windows_are_out_holds_up_no_other(man: Samples, woman: Samples) -> None:
    """One answer that is late must not delay another call's: they came from different replicas."""
    model = Elsewhere(holds=True)
    async with an_engine(model) as engine:
        first = ToldCall(engine)
        first.call.push(man[:16_000], engine.clock())
        await came(model)
        model.holds = False
        other = ToldCall(engine)
        other.call.push(woman, engine.clock())
        other.call.end()
        await over([other])
        assert segments(other) == {"female"}
        assert not first.results
        model.answer(*model.sent[0])
        first.call.end()
        await over([first])
        assert segments(first) == {"male"}


async def test_answers_that_come_in_any_order_go_to_their_own_calls(man: Samples, woman: Samples) -> None:
    model = Elsewhere(holds=True)
    async with an_engine(model) as engine:
        calls = [ToldCall(engine) for _ in range(8)]
        for number, told in enumerate(calls):
            told.call.push((man, woman)[number % 2][:24_000], engine.clock())
        await came(model, len(calls))
        model.holds = False
        for window, row in reversed(model.sent):
            model.answer(window, row)
        for told in calls:
            told.call.end()
        await over(calls)
        for number, told in enumerate(calls):
            heard = [max(result.scores, key=result.scores.__getitem__) for result in told.results if result.scores]
            assert heard
            assert set(heard) == {("male", "female")[number % 2]}


async def test_a_window_that_was_lost_is_warned_of_and_the_call_goes_on(man: Samples) -> None:
    model = Elsewhere(holds=True)
    async with an_engine(model) as engine:
        told = ToldCall(engine)
        told.call.push(man[:16_000], engine.clock())
        await came(model)
        model.sent[0][1].set_exception(Unclassified("not answered in time"))
        model.holds = False
        told.call.push(man[16_000:], engine.clock())
        told.call.end()
        await over([told])
        (warning,) = told.only(Warning)
        assert warning.code == "overloaded"
        assert "keep up" in warning.message
        assert told.results[0].scores is None
        assert segments(told) == {"male"}


async def test_nothing_is_sent_while_the_model_is_lost_and_nodes_are_told_to_take_no_calls(man: Samples) -> None:
    model = Elsewhere()
    async with an_engine(model) as engine:
        assert engine.left_windows_per_s() is None
        model.up = False
        told = ToldCall(engine)
        told.call.push(man, engine.clock())
        told.call.end()
        await over([told])
        assert not model.sent
        (warning,) = told.only(Warning)
        assert warning.windows_per_s == 0
        assert "lost the model" in warning.message
        left = engine.left_windows_per_s()
        assert left is not None
        assert left < MIN_WINDOWS_PER_S
        assert told.only(Summary)[0].speech > 2


async def test_calls_share_the_capacity_that_is_free(man: Samples) -> None:
    model = Elsewhere()
    model.free = 2
    async with an_engine(model) as engine:
        states = [engine.new_state() for _ in range(6)]
        sent = dict.fromkeys(states, 0)
        for at in range(16_000, 16_000 + 12 * 3_072, 3_072):
            hops = {state: [*state.place([Wave(man[at : at + 3_072])]), *state.cut(exact=True)] for state in states}
            engine._networks.send(model, hops)
            for state, of_call in hops.items():
                sent[state] += sum(hop.row is not None for hop in of_call)
                for hop in of_call:
                    if hop.row is not None:
                        state.decide(hop)
        assert sum(sent.values()) >= 12
        assert max(sent.values()) - min(sent.values()) <= 1


async def test_sound_of_a_call_that_is_not_live_is_sent_whole_and_may_wait(man: Samples) -> None:
    model = Elsewhere()
    model.free = 0
    async with an_engine(model) as engine:
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        call = engine.open(lambda _: None, ended.set_result, live=False)
        for at in range(0, man.size, 320):
            await call.feed(man[at : at + 320], 0.0)
        call.end()
        assert await asyncio.wait_for(ended, PATIENCE_S) is None
        assert model.patient == len(model.sent) > 10


async def test_a_call_that_is_abandoned_while_its_windows_are_out_is_forgotten(man: Samples) -> None:
    model = Elsewhere(holds=True)
    async with an_engine(model) as engine:
        told, other = ToldCall(engine), ToldCall(engine)
        told.call.push(man[:16_000], engine.clock())
        await came(model)
        told.call.abandon()
        model.holds = False
        model.answer(*model.sent[0])
        other.call.push(man, engine.clock())
        other.call.end()
        await over([other])
        assert not told.messages
        assert not told.only(Change)


async def test_closing_the_engine_ends_calls_whose_windows_are_out_and_closes_the_model(man: Samples) -> None:
    model = Elsewhere(holds=True)
    async with an_engine(model) as engine:
        told = ToldCall(engine)
        told.call.push(man[:16_000], engine.clock())
        await came(model)
    await over([told])
    assert isinstance(told.errors[0], RuntimeError)
    assert model.closed
    # Too late, and of no use to anybody.
    model.answer(*model.sent[0])


async def test_the_model_is_not_swapped_here() -> None:
    async with an_engine(Elsewhere()) as engine:
        with pytest.raises(ModelError, match="the pool's"):
            engine.swap(Pitch())

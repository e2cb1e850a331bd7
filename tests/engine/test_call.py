"""A call's turns, on a virtual clock: what waits, when it is taken, what is told of it and when."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from tests.clock import run_virtual
from tests.engine.still import StillEngine, ToldCall
from tests.support import Samples, frame, frames, silence, sine
from voxgender.audio.frames import Packet, Wave
from voxgender.engine.call import MAX_WAITING_S, SILENCE_S, Call
from voxgender.engine.engine import CALLS_A_TURN_WITHOUT_MODEL
from voxgender.engine.messages import NO_MEDIA_S
from voxgender.engine.schedule import BUSY_CALLS, EARLY_S, TICK_S, next_tick
from voxgender.errors import AudioError
from voxgender.peer.voices import WOMAN, speak
from voxgender.protocol import Result, Summary, Warning

HOP_S = 0.192
FRAME_S = 0.032
BEGIN_S = 1_000.0
"""When the virtual clock begins."""


async def play(told: ToldCall, timed: Iterable[tuple[float, AudioFrame | Wave | Samples]]) -> None:
    """Push each piece at its time, in seconds from now."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for at_s, piece in timed:
        await asyncio.sleep(began + at_s - loop.time())
        told.call.push(piece, loop.time())


async def ended(told: ToldCall) -> None:
    told.call.end()
    await told.over.wait()


def in_time(
    audio: Samples, *, each_s: float = 0.02, from_s: float = 0.0, late_s: float = 0.0
) -> list[tuple[float, AudioFrame]]:
    """Frames with timestamps, each due when its last sample was spoken."""
    return [
        (from_s + late_s + (number + 1) * each_s, made)
        for number, made in enumerate(frames(audio, each_s=each_s, from_s=from_s))
    ]


def heard(timed: Iterable[tuple[float, AudioFrame]], *, wait_s: float = 0.0) -> ToldCall:
    """Play a call to its end; ``wait_s`` more before that."""

    async def main() -> ToldCall:
        engine = StillEngine(None)
        told = ToldCall(engine)
        await play(told, timed)
        await asyncio.sleep(wait_s)
        await ended(told)
        engine.close()
        return told

    return run_virtual(main())


def lengths(results: list[Result]) -> list[int]:
    """Lengths of the results' hops, in frames of the gate."""
    return [round((result.end - result.start) / FRAME_S) for result in results]


def touch(results: list[Result]) -> bool:
    return all(after.start == pytest.approx(before.end, abs=1e-6) for before, after in pairwise(results))


def test_a_call_becomes_equal_hops_that_touch_and_a_shorter_one_at_the_end() -> None:
    told = heard(in_time(sine(2.0)))
    assert lengths(told.results[:-1]) == [6] * 10
    assert told.results[-1].end == pytest.approx(2.0)
    assert touch(told.results)
    assert told.messages[-1] == told.only(Summary)[0]
    assert told.errors == [None]


@pytest.mark.parametrize("each_s", [0.01, 0.02, 0.04, 0.06, 0.12])
def test_a_quiet_engine_judges_a_hop_as_soon_as_it_has_come(each_s: float) -> None:
    told = heard(in_time(sine(4.8), each_s=each_s))
    assert touch(told.results)
    for result, at in zip(told.results[:-1], told.told_at, strict=False):
        # The packet that completes a hop comes when its own last sample was spoken.
        complete_s = -(-result.end // each_s) * each_s
        assert at - BEGIN_S <= complete_s + each_s + 1e-6


def test_samples_can_be_pushed_as_they_are() -> None:
    async def main() -> None:
        engine = StillEngine(None)
        told = ToldCall(engine)
        tone = sine(1.0)
        await play(told, [((number + 1) * 0.1, part) for number, part in enumerate(np.split(tone, 10))])
        await ended(told)
        assert told.only(Summary)[0].duration == pytest.approx(1.0)
        assert lengths(told.results[:-1]) == [6] * 5

    run_virtual(main())


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (np.zeros(160, dtype=np.int16), "float32 of shape .n,., not int16"),
        (np.zeros((2, 160), dtype=np.float32), "not float32 of shape .2, 160."),
    ],
)
def test_samples_that_are_none_are_refused_where_they_are_pushed(samples: np.ndarray, why: str) -> None:
    async def main() -> None:
        told = ToldCall(StillEngine(None))
        with pytest.raises(AudioError, match=why):
            told.call.push(samples, 0.0)
        told.call.abandon()

    run_virtual(main())


@pytest.mark.parametrize("damage", [np.nan, np.inf, -np.inf, 3e38])
def test_samples_that_are_no_numbers_are_silence_and_cost_nothing_else(damage: float) -> None:
    """One NaN stayed in the speech gate's memory for the rest of the call."""

    async def main() -> None:
        told = ToldCall(StillEngine(None))
        voice = speak(WOMAN, 2.0)
        voice[8_000:8_100] = damage
        await play(told, [((number + 1) * 0.1, part) for number, part in enumerate(np.split(voice, 20))])
        await ended(told)
        assert told.errors == [None]
        assert told.only(Summary)[0].speech > 1.0

    run_virtual(main())


def test_a_gap_in_timestamps_is_silence_on_the_clock_of_the_call() -> None:
    told = heard([*in_time(sine(1.0)), *in_time(sine(1.0), from_s=1.4)])
    assert told.results[-1].end == pytest.approx(2.4)
    assert touch(told.results)


def test_a_gap_too_long_to_fill_moves_the_clock_on_between_two_hops() -> None:
    told = heard([*in_time(sine(1.0)), *in_time(sine(1.0), from_s=61.0, late_s=-60.0)])
    assert told.results[-1].end == pytest.approx(62.0)
    skips = [after.start - before.end for before, after in pairwise(told.results)]
    assert max(skips) == pytest.approx(58.0)
    assert sum(abs(skip) > 1e-6 for skip in skips) == 1


@pytest.mark.parametrize("every_s", [0.4, 0.85])
def test_discontinuous_transmission_is_neither_a_stall_nor_late(every_s: float) -> None:
    """One packet each 400 ms, or 850 ms with packets of 40 ms: the clock is true, and nobody is warned."""
    comfort = [(1.02 + every_s * n, frame(sine(0.02), at_s=1.0 + every_s * n)) for n in range(20)]
    told = heard([*in_time(sine(1.0)), *comfort])
    assert told.only(Warning) == []
    assert told.results[-1].end == pytest.approx(1.0 + 19 * every_s + 0.02)
    assert touch(told.results)
    for result, at in zip(told.results, told.told_at, strict=False):
        assert at - BEGIN_S - result.end < SILENCE_S + 0.4


def test_a_call_that_gives_nothing_goes_on_in_silence_by_the_clock() -> None:
    told = heard(in_time(sine(1.0)), wait_s=10.0)
    assert touch(told.results)
    for result, at in zip(told.results, told.told_at, strict=False):
        assert at - BEGIN_S - result.end < SILENCE_S + 2 * HOP_S
    (warning,) = told.only(Warning)
    assert warning.code == "no_media"
    at = told.told_at[told.messages.index(warning)] - BEGIN_S
    assert 1.0 + NO_MEDIA_S <= at <= 1.0 + NO_MEDIA_S + 2 * HOP_S


@pytest.mark.parametrize("timestamps_go_on", [True, False])
def test_what_came_before_a_stall_stands_before_its_silence(timestamps_go_on: bool) -> None:
    """Part of a hop that was held back over a mute came out after the silence, and counted twice."""
    mute_s = 5.0
    resumed = (
        in_time(sine(1.0), from_s=1.1 + mute_s) if timestamps_go_on else in_time(sine(1.0), from_s=1.1, late_s=mute_s)
    )
    told = heard([*in_time(sine(1.1)), *resumed])
    assert touch(told.results)
    # If timestamps stand still, the time since the last silent hop is not known.
    assert told.results[-1].end == pytest.approx(2.1 + mute_s, abs=0.002 if timestamps_go_on else SILENCE_S)


def test_a_burst_after_a_stall_of_the_network_is_judged_whole() -> None:
    delayed = [(at if at < 1.0 else max(at, 2.0), made) for at, made in in_time(sine(3.0))]
    told = heard(delayed)
    assert told.results[-1].end >= 3.0
    assert touch(told.results)
    assert told.only(Warning) == []


def test_nothing_is_told_before_the_first_audio() -> None:
    (first,) = frames(sine(HOP_S), each_s=HOP_S)
    told = heard([(30.0, first)])
    assert told.results[0].start == 0.0
    assert told.told_at[0] - BEGIN_S == pytest.approx(30.0)


def test_a_call_without_audio_is_an_empty_one() -> None:
    told = heard([])
    assert told.messages == [Summary(duration=0.0, speech=0.0, male=0.0, female=0.0, uncertain=0.0, segments=0)]


def test_audio_that_nobody_comes_for_is_dropped_in_one_place_and_told_of() -> None:
    async def main() -> None:
        engine = StillEngine(None)
        told = ToldCall(engine)
        told.call.hold()
        await play(told, in_time(sine(10.0)))
        assert told.messages == []
        told.call.release()
        await ended(told)
        assert [warning.code for warning in told.only(Warning)] == ["overloaded"]
        # The oldest go, but for the very first, with which the clock begins: what is left stands where it was spoken.
        assert told.results[0].start == 0.0
        assert told.results[-1].end == pytest.approx(10.0)
        (skipped_s,) = [a.start - b.end for b, a in pairwise(told.results) if a.start - b.end > 1e-6]
        assert skipped_s == pytest.approx(10.0 - MAX_WAITING_S - 2.0, abs=0.05)

    run_virtual(main())


def test_calls_of_a_busy_engine_end_their_hops_together_on_ticks() -> None:
    async def main() -> None:
        engine = StillEngine(None)
        calls = [ToldCall(engine) for _ in range(2 * CALLS_A_TURN_WITHOUT_MODEL)]
        packets = [
            play(told, in_time(silence(4.0), each_s=0.04, late_s=0.04 * number / len(calls)))
            for number, told in enumerate(calls)
        ]
        ticking = asyncio.create_task(ticks(engine))
        await asyncio.gather(*packets)
        ticking.cancel()
        turns = [turn for turn in engine.turns if turn[0] > BEGIN_S + 1.0]
        assert {count for _, count in turns} == {CALLS_A_TURN_WITHOUT_MODEL}
        for at, _ in turns:
            assert abs(at - round(at / TICK_S) * TICK_S) < EARLY_S
        for told in calls:
            # A packet that comes with the tick itself may fall on either side of it.
            hops = lengths(told.results[2:])
            assert set(hops) <= {5, 6, 7}
            assert hops.count(6) >= 0.8 * len(hops)
            told.call.abandon()

    run_virtual(main())


@pytest.mark.parametrize("others_s", [0.4, 6.0], ids=["while nobody has any", "while others have theirs"])
def test_silence_is_analysed_in_time_on_a_busy_engine(others_s: float) -> None:
    """Calls without audio are looked at with the others' packets, and by a timer of their own only without these."""

    async def main() -> None:
        engine = StillEngine(None)
        calls = [ToldCall(engine) for _ in range(BUSY_CALLS)]
        silent, others = calls[: BUSY_CALLS // 2], calls[BUSY_CALLS // 2 :]
        played = [play(told, in_time(silence(0.4), each_s=0.04)) for told in silent]
        await asyncio.gather(*played, *(play(told, in_time(silence(others_s), each_s=0.04)) for told in others))
        await asyncio.sleep(6.4 - others_s)
        for told in silent:
            assert told.results[-1].end == pytest.approx(6.2, abs=2 * HOP_S)
            assert max(lengths(told.results)) <= (SILENCE_S + 2 * HOP_S) / FRAME_S
        for told in calls:
            told.call.abandon()

    run_virtual(main())


async def ticks(engine: StillEngine) -> None:
    """Look only with the ticks, as sockets that are read on them do."""
    for calls in engine._loops.values():
        calls.look_soon = lambda: None  # type: ignore[method-assign]
        while True:
            await asyncio.sleep(next_tick(engine.clock(), TICK_S) - engine.clock())
            calls._look()


@pytest.mark.parametrize("drift", [-1e-3, 1e-3])
def test_the_hops_of_a_caller_whose_clock_drifts_stay_with_their_tick_and_near_the_newest_audio(drift: float) -> None:
    """Half a second in ten minutes, far more than sound cards do."""

    async def main() -> None:
        engine = StillEngine(None)
        others = [ToldCall(engine) for _ in range(BUSY_CALLS)]
        told = ToldCall(engine)
        ticking = asyncio.create_task(ticks(engine))
        packet = Wave(silence(0.04))
        await play(told, ((0.04 * (1 + drift) * (number + 1), packet) for number in range(3_000)))
        ticking.cancel()
        results = told.results[3:]
        assert set(lengths(results)) <= {5, 6, 7}
        assert touch(results)
        behind_s = [
            (at - BEGIN_S) / (1 + drift) - result.end for result, at in zip(results, told.told_at[3:], strict=True)
        ]
        assert min(behind_s) >= 0.0
        assert max(behind_s) < 0.04 + 3 * FRAME_S
        for one in (*others, told):
            one.call.abandon()

    run_virtual(main())


def test_a_turn_that_is_not_over_is_followed_by_one_with_all_that_came_meanwhile() -> None:
    """The engine skips turns of a call rather than to queue them."""

    class Slow(StillEngine):
        def submit(self, calls: Sequence[Call]) -> None:
            self.turns.append((self.clock(), 1))
            asyncio.get_running_loop().call_later(1.0, self.turn, calls)

    async def main() -> None:
        engine = Slow(None)
        told = ToldCall(engine)
        await play(told, in_time(sine(5.0)))
        assert len(engine.turns) <= 6
        await ended(told)
        assert touch(told.results)
        assert told.results[-1].end == pytest.approx(5.0)

    run_virtual(main())


def test_two_event_loops_share_an_engine() -> None:
    engine = StillEngine(None)

    async def main() -> list[Result]:
        told = ToldCall(engine)
        await play(told, in_time(sine(1.0)))
        await ended(told)
        return told.results

    one, other = run_virtual(main()), run_virtual(main())
    assert [result.end for result in one] == [result.end for result in other]
    assert engine._loops == {}


def test_an_abandoned_call_is_told_nothing_more_and_leaves_no_timer() -> None:
    async def main() -> None:
        engine = StillEngine(None)
        told = ToldCall(engine)
        await play(told, in_time(sine(0.5)))
        told.call.abandon()
        told.call.push(sine(1.0), 0.0)
        told.call.end()
        count = len(told.messages)
        # Nothing is due any more: the virtual clock would jump to it.
        with pytest.raises(RuntimeError, match="every task waits"):
            await asyncio.get_running_loop().create_future()
        assert len(told.messages) == count
        assert told.errors == []
        assert not engine.schedule.busy

    with pytest.raises(RuntimeError, match="every task waits"):
        run_virtual(main())


def test_a_decoder_that_fails_ends_its_own_call_and_no_other() -> None:
    def broken(packets: object) -> list[Wave]:
        raise FloatingPointError("this codec has rotted")

    async def main() -> None:
        engine = StillEngine(None)
        bad, good = ToldCall(engine, decode=broken), ToldCall(engine)
        for _ in range(10):
            await asyncio.sleep(0.02)
            bad.call.push(Packet(0, b"x"), engine.clock(), duration_s=0.02)
            good.call.push(sine(0.02), engine.clock())
        await asyncio.sleep(0.01)
        (error,) = bad.errors
        assert isinstance(error, FloatingPointError)
        assert len(good.results) == 1
        await ended(good)
        assert good.errors == [None]

    run_virtual(main())


def test_who_cannot_take_its_messages_costs_the_others_none() -> None:
    async def main() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
        engine = StillEngine(None)

        def refuse(_: object) -> None:
            raise ConnectionError("the channel is gone")

        deaf, good = engine.open(refuse, lambda _: None), ToldCall(engine)
        for _ in range(10):
            await asyncio.sleep(0.02)
            deaf.push(sine(0.02), engine.clock())
            good.call.push(sine(0.02), engine.clock())
        await asyncio.sleep(0.01)
        assert len(good.results) == 1
        assert [type(complaint) for complaint in complaints] == [ConnectionError]
        deaf.abandon()
        good.call.abandon()

    run_virtual(main())


def test_calls_whose_loop_was_closed_under_them_take_no_place_from_later_ones() -> None:
    engine = StillEngine(None)

    async def leave() -> None:
        for _ in range(BUSY_CALLS):
            ToldCall(engine)

    run_virtual(leave())
    assert engine.schedule.busy

    async def come() -> None:
        told = ToldCall(engine)
        assert not engine.schedule.busy
        told.call.abandon()

    run_virtual(come())
    assert engine._loops == {}

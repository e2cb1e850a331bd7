import asyncio
from contextlib import aclosing
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from aiortc import MediaStreamTrack, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame

from tests.clock import run_virtual
from tests.support import TimedTrack, frame, frames, in_real_time, sine
from voxgender.audio.hops import STALL_S, Cutter, Pause, arrivals
from voxgender.audio.track import Batch
from voxgender.errors import AudioError

HOP = 3_072
HOP_S = HOP / 16_000


class TimedHop(NamedTuple):
    """A hop, and when the last of what completed it came."""

    start_s: float
    samples: np.ndarray
    stalled: bool
    arrived_at: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.samples.size / 16_000


async def gather(track: MediaStreamTrack, *, at_most: int = 10_000) -> list[TimedHop]:
    cutter = Cutter(HOP)
    found: list[TimedHop] = []
    arrived_at = 0.0
    async with aclosing(arrivals(track, HOP_S, lambda: cutter.missing / 16_000)) as arriving:
        async for arrival in arriving:
            arrived_at = arrival.at if isinstance(arrival, Pause) else arrival.arrived_at
            found += [TimedHop(*hop, arrived_at) for hop in cutter.push(arrival)]
            if len(found) >= at_most:
                return found[:at_most]
    return found + [TimedHop(*hop, arrived_at) for hop in cutter.flush()]


def cut(track: MediaStreamTrack, *, at_most: int = 10_000) -> list[TimedHop]:
    return run_virtual(gather(track, at_most=at_most))


def sound(cut: list[TimedHop]) -> np.ndarray:
    return np.concatenate([hop.samples for hop in cut])


def are_contiguous(cut: list[TimedHop]) -> bool:
    return all(after.start_s == pytest.approx(before.end_s, abs=1e-6) for before, after in pairwise(cut))


def test_one_hop_can_be_made_shorter_and_all_that_follow_end_sooner() -> None:
    cutter = Cutter(HOP)
    audio = Batch(lambda: list(frames(sine(0.5))), 0.5, 0.0)
    cutter.shorten(1_024)
    assert cutter.missing == HOP - 1_024
    hops = cutter.push(audio)
    assert [hop.samples.size for hop in hops] == [HOP - 1_024, HOP]
    assert [hop.start_s for hop in hops] == [0.0, pytest.approx((HOP - 1_024) / 16_000)]
    assert cutter.missing == HOP - (8_000 - 2 * HOP + 1_024)
    # More is there already than the hop is to have.
    cutter.shorten(2_048)
    assert [hop.samples.size for hop in cutter.push(audio)] == [1_024, HOP, HOP, HOP]


def test_a_track_becomes_equal_hops_that_touch_and_a_shorter_one_at_the_end() -> None:
    tone = sine(2.0)
    cut_hops = cut(TimedTrack(in_real_time(tone)))
    assert [hop.samples.size for hop in cut_hops] == [HOP] * 10 + [32_000 - 10 * HOP]
    assert cut_hops[0].start_s == 0.0
    assert cut_hops[-1].end_s == pytest.approx(2.0)
    assert are_contiguous(cut_hops)
    assert not any(hop.stalled for hop in cut_hops)
    np.testing.assert_allclose(sound(cut_hops), tone, atol=1e-4)


@pytest.mark.parametrize("each_s", [0.01, 0.06, 0.5])
def test_hops_do_not_depend_on_the_length_of_frames(each_s: float) -> None:
    tone = sine(2.0)
    cut_hops = cut(TimedTrack(in_real_time(tone, each_s=each_s)))
    assert {hop.samples.size for hop in cut_hops[:-1]} == {HOP}
    np.testing.assert_allclose(sound(cut_hops), tone, atol=1e-4)


def test_the_last_millisecond_in_the_resampler_is_not_lost() -> None:
    cut_hops = cut(TimedTrack(in_real_time(sine(1.0, rate=48_000), rate=48_000)))
    assert cut_hops[-1].end_s == pytest.approx(1.0, abs=1e-4)


def test_a_hop_says_when_its_last_packet_came() -> None:
    cut_hops = cut(TimedTrack(in_real_time(sine(2.0))))
    # The frame that completes the first hop of 192 ms ends after 200 ms.
    assert cut_hops[0].arrived_at - 1_000 == pytest.approx(0.2)
    assert [hop.arrived_at for hop in cut_hops] == sorted(hop.arrived_at for hop in cut_hops)


def test_a_gap_in_timestamps_is_silence_in_the_hops() -> None:
    before, after = sine(1.0), sine(1.0)
    cut_hops = cut(TimedTrack([*in_real_time(before), *in_real_time(after, from_s=1.4)]))
    assert sound(cut_hops).size == round(2.4 * 16_000)
    assert not sound(cut_hops)[16_000:22_400].any()


def test_a_gap_too_long_to_fill_moves_the_clock_on_between_two_hops() -> None:
    # The frames come at once after each other, as from a file: no time passes in which nothing comes.
    timed = [(0.0, made) for made in (*frames(sine(1.0)), *frames(sine(1.0), from_s=61.0))]
    cut_hops = cut(TimedTrack(timed))
    assert cut_hops[-1].end_s == pytest.approx(62.0)
    skips = [after.start_s - before.end_s for before, after in pairwise(cut_hops)]
    assert max(skips) == pytest.approx(58.0)
    assert sum(abs(skip) > 1e-6 for skip in skips) == 1


def test_discontinuous_transmission_is_neither_a_stall_nor_late() -> None:
    """One frame of 20 ms each 400 ms: what comes is handed on within half a second, and the clock is true."""
    starts_s = [1.0 + 0.4 * number for number in range(20)]
    comfort = [(start_s + 0.02, frame(sine(0.02), at_s=start_s)) for start_s in starts_s]
    cut_hops = cut(TimedTrack([*in_real_time(sine(1.0)), *comfort]))
    assert not any(hop.stalled for hop in cut_hops)
    assert cut_hops[-1].end_s == pytest.approx(1.0 + 19 * 0.4 + 0.02)
    assert are_contiguous(cut_hops)
    assert all(hop.arrived_at - 1_000.0 - hop.end_s < STALL_S for hop in cut_hops)


def test_a_stalled_track_becomes_silence_that_says_so() -> None:
    cut_hops = cut(TimedTrack(in_real_time(sine(1.0)), ends=False), at_most=50)
    assert are_contiguous(cut_hops)
    live, stalled = cut_hops[:5], cut_hops[6:]
    assert not any(hop.stalled for hop in live)
    assert all(hop.stalled and not hop.samples.any() for hop in stalled)
    # Time goes on as fast as the clock on the wall.
    assert cut_hops[-1].arrived_at - 1_000.0 == pytest.approx(cut_hops[-1].end_s, abs=0.5)


@pytest.mark.parametrize("timestamps_go_on", [True, False])
def test_what_came_before_a_stall_stands_before_its_silence(timestamps_go_on: bool) -> None:
    """A reader that held part of a hop back over a mute gave it out after the silence, and counted that twice."""
    mute_s = 5.0
    resumed = in_real_time(sine(1.0), from_s=1.1 + mute_s if timestamps_go_on else 1.1)
    late_s = 0.0 if timestamps_go_on else mute_s
    cut_hops = cut(TimedTrack([*in_real_time(sine(1.1)), *((at_s + late_s, made) for at_s, made in resumed)]))
    assert are_contiguous(cut_hops)
    tone_s = np.flatnonzero(np.abs(sound(cut_hops)) > 0.001) / 16_000
    mute = np.diff(tone_s).argmax()
    assert tone_s[mute] == pytest.approx(1.1, abs=0.002)
    # Where timestamps stand still, the time since the last silent hop is unknown.
    tolerance_s = 0.002 if timestamps_go_on else 0.5
    assert tone_s[mute + 1] - tone_s[mute] == pytest.approx(mute_s, abs=tolerance_s)
    assert cut_hops[-1].end_s == pytest.approx(2.1 + mute_s, abs=tolerance_s)


def test_a_burst_after_a_stall_of_the_network_is_heard_whole() -> None:
    timed = list(in_real_time(sine(3.0)))
    delayed = [(at if at < 1.0 else max(at, 2.0), made) for at, made in timed]
    cut_hops = cut(TimedTrack(delayed))
    assert np.count_nonzero(np.abs(sound(cut_hops)) > 0.001) > 0.95 * 48_000
    assert are_contiguous(cut_hops)


def test_nothing_is_told_before_the_first_frame() -> None:
    (first,) = frames(sine(0.192), each_s=0.192)
    (hop,) = cut(TimedTrack([(30.0, first)]))
    assert hop.start_s == 0.0
    assert not hop.stalled


def test_a_track_that_is_dead_from_the_start_has_no_hops() -> None:
    assert cut(TimedTrack([])) == []


def test_a_video_track_is_refused() -> None:
    with pytest.raises(AudioError, match="not a video track"):
        cut(VideoStreamTrack())


def test_a_track_that_fails_says_so_and_leaves_no_task() -> None:
    class Broken(MediaStreamTrack):
        kind = "audio"

        async def recv(self) -> AudioFrame:
            raise OSError("the microphone is gone")

    async def main() -> None:
        with pytest.raises(OSError, match="the microphone is gone"):
            await gather(Broken())
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


@pytest.mark.parametrize("after_hops", [0, 3])
def test_a_reader_that_is_cancelled_leaves_no_task(after_hops: int) -> None:
    async def main() -> None:
        sought = asyncio.Event()
        seen = 0

        async def read() -> None:
            nonlocal seen
            sought.set()
            cutter = Cutter(HOP)
            track = TimedTrack(in_real_time(sine(60.0)))
            async with aclosing(arrivals(track, HOP_S, lambda: cutter.missing / 16_000)) as arriving:
                async for arrival in arriving:
                    seen += len(cutter.push(arrival))

        reading = asyncio.create_task(read())
        await sought.wait()
        await asyncio.sleep(after_hops * 0.2 + 0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert seen == after_hops
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_a_track_that_never_waits_is_read_no_further_than_asked() -> None:
    class Endless(TimedTrack):
        async def recv(self) -> AudioFrame:
            self.given += 1
            return frame(sine(0.02), at_s=self.given * 0.02)

    async def main() -> None:
        track = Endless([])
        cutter = Cutter(HOP)
        async with aclosing(arrivals(track, HOP_S, lambda: cutter.missing / 16_000)) as arriving:
            for wanted in range(1, 20):
                cutter.push(await anext(arriving))
                assert track.given <= wanted * 10
                # It does not keep others from their turn, either.
                await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


def test_a_track_is_not_read_again_once_it_has_ended() -> None:
    class Counted(MediaStreamTrack):
        kind = "audio"
        asked = 0

        async def recv(self) -> AudioFrame:
            self.asked += 1
            raise MediaStreamError

    track = Counted()
    assert cut(track) == []
    assert track.asked == 1

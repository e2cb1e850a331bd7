import asyncio
from contextlib import suppress

import pytest
from aiortc import MediaStreamTrack, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame
from av.audio.frame import AudioFrame

from tests.clock import run_virtual
from tests.support import TimedTrack, frames, in_real_time, sine
from voxgender.audio.track import Batch, TrackReader
from voxgender.errors import AudioError


class Batches(MediaStreamTrack):
    """A track that is read by duration, as the media server's own."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.ready: list[AudioFrame] = []
        self.more = asyncio.Event()

    def feed(self, *made: AudioFrame) -> None:
        self.ready += made
        self.more.set()

    async def read_batch(self, duration_s: float, timeout_s: float) -> Batch | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self.ready or sum(made.samples for made in self.ready) < duration_s * 16_000:
                    self.more.clear()
                    await self.more.wait()
        made, self.ready = self.ready, []
        length_s = sum(one.samples for one in made) / 16_000
        return Batch(lambda: made, length_s, asyncio.get_running_loop().time()) if made else None

    async def recv(self) -> AudioFrame:
        raise AssertionError("it is read by duration")


def test_frames_are_gathered_until_there_are_enough() -> None:
    async def main() -> None:
        reader = TrackReader(TimedTrack(in_real_time(sine(1.0))))
        batch = await reader.read(0.1, 10.0)
        assert batch is not None
        assert len(batch.decode()) == 5
        assert batch.arrived_at == pytest.approx(1_000.1)

    run_virtual(main())


def test_nothing_in_time_is_none_and_the_frame_that_comes_later_is_not_lost() -> None:
    async def main() -> None:
        (late,) = frames(sine(0.02))
        reader = TrackReader(TimedTrack([(5.0, late)]))
        assert [await reader.read(0.02, 1.0) for _ in range(4)] == [None] * 4
        batch = await reader.read(0.02, 2.0)
        assert batch is not None
        assert batch.decode() == [late]

    run_virtual(main())


def test_what_came_before_a_stall_is_handed_over_once_and_at_its_own_time() -> None:
    async def main() -> None:
        first, second = frames(sine(0.04))
        reader = TrackReader(TimedTrack([(0.02, first), (3.0, second)]))
        batch = await reader.read(1.0, 0.5)
        assert batch is not None
        assert (batch.decode(), batch.duration_s, batch.arrived_at) == ([first], 0.02, pytest.approx(1_000.02))
        assert await reader.read(1.0, 0.5) is None
        batch = await reader.read(0.02, 10.0)
        assert batch is not None
        assert (batch.decode(), batch.arrived_at) == ([second], pytest.approx(1_003.0))

    run_virtual(main())


def test_a_track_of_batches_hands_over_what_came_before_a_stall() -> None:
    async def main() -> None:
        track = Batches()
        reader = TrackReader(track)
        first, second = frames(sine(0.04))
        track.feed(first)
        batch = await reader.read(1.0, 0.5)
        assert batch is not None
        assert batch.decode() == [first]
        assert await reader.read(1.0, 0.5) is None
        track.feed(second)
        batch = await reader.read(0.02, 0.5)
        assert batch is not None
        assert batch.decode() == [second]
        await reader.aclose()

    run_virtual(main())


def test_the_end_is_told_after_what_came_before_it_and_again_each_time() -> None:
    async def main() -> None:
        reader = TrackReader(TimedTrack(in_real_time(sine(0.06))))
        batch = await reader.read(1.0, 10.0)
        assert batch is not None
        assert len(batch.decode()) == 3
        for _ in range(2):
            with pytest.raises(MediaStreamError):
                await reader.read(1.0, 10.0)
        await reader.aclose()

    run_virtual(main())


def test_a_video_track_is_refused_at_once() -> None:
    with pytest.raises(AudioError, match="an audio track is wanted, not a video track"):
        TrackReader(VideoStreamTrack())


def test_a_track_that_says_audio_and_gives_pictures_is_refused() -> None:
    class Liar(MediaStreamTrack):
        kind = "audio"

        async def recv(self) -> VideoFrame:
            return VideoFrame(16, 16)

    async def main() -> None:
        with pytest.raises(AudioError, match="VideoFrame"):
            await TrackReader(Liar()).read(0.1, 1.0)

    run_virtual(main())


@pytest.mark.parametrize("batched", [True, False])
def test_closing_leaves_no_task(batched: bool) -> None:
    async def main() -> None:
        reader = TrackReader(Batches() if batched else TimedTrack([], ends=False))
        assert await reader.read(0.1, 1.0) is None
        await reader.aclose()
        await reader.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())

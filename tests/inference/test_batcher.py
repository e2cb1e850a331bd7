import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator, Sequence

import pytest

from voxgender.inference.batcher import Batcher, Done

PATIENCE_S = 20.0


class Worker:
    """Doubles each job, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.thread: threading.Thread | None = None

    def __call__(self, jobs: Sequence[int]) -> list[int]:
        self.batches.append(list(jobs))
        self.thread = threading.current_thread()
        self.started.release()
        assert self.may_go_on.wait(PATIENCE_S)
        if any(job < 0 for job in jobs):
            raise ValueError("no job is negative")
        return [2 * job for job in jobs]

    async def begins(self) -> None:
        assert await asyncio.to_thread(self.started.acquire, timeout=PATIENCE_S)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def batcher(worker: Worker) -> Iterator[Batcher[int, int]]:
    batcher = Batcher(worker, max_waiting=3)
    yield batcher
    worker.may_go_on.set()
    batcher.close()


async def occupy(batcher: Batcher[int, int], worker: Worker) -> "asyncio.Future[Done[int] | None]":
    """Have the worker busy with a job of a lane of its own until ``may_go_on`` is set."""
    worker.may_go_on.clear()
    busy = batcher.lane().submit(0)
    await worker.begins()
    return busy


async def outcomes(futures: Sequence["asyncio.Future[Done[int] | None]"]) -> list[int | None]:
    async with asyncio.timeout(PATIENCE_S):
        return [None if done is None else done.outcome for done in await asyncio.gather(*futures)]


async def test_a_lone_job_runs_at_once(batcher: Batcher[int, int]) -> None:
    done = await batcher.lane().submit(21)
    assert done is not None
    assert done.outcome == 42
    assert done.queue_s >= 0
    assert done.run_s >= 0


async def test_jobs_run_on_a_thread_of_their_own(batcher: Batcher[int, int], worker: Worker) -> None:
    await batcher.lane().submit(1)
    assert worker.thread not in (None, threading.current_thread())


async def test_what_came_in_meanwhile_runs_together(batcher: Batcher[int, int], worker: Worker) -> None:
    await occupy(batcher, worker)
    futures = [batcher.lane().submit(number) for number in range(1, 11)]
    worker.may_go_on.set()
    assert await outcomes(futures) == [2 * number for number in range(1, 11)]
    assert worker.batches == [[0], list(range(1, 11))]


async def test_jobs_of_a_lane_run_in_order(batcher: Batcher[int, int], worker: Worker) -> None:
    await occupy(batcher, worker)
    first, second = batcher.lane(), batcher.lane()
    futures = [lane.submit(base + number) for number in range(3) for lane, base in ((first, 10), (second, 20))]
    worker.may_go_on.set()
    assert await outcomes(futures) == [20, 40, 22, 42, 24, 44]
    jobs = [job for batch in worker.batches for job in batch]
    assert [job for job in jobs if 10 <= job < 20] == [10, 11, 12]
    assert [job for job in jobs if job >= 20] == [20, 21, 22]


async def test_lanes_never_see_each_others_outcomes(batcher: Batcher[int, int]) -> None:
    """The design that this one replaced mixed all callers in one buffer, and told every answer to everyone."""

    async def call(number: int) -> None:
        lane = batcher.lane()
        for step in range(20):
            job = 1_000 * number + step
            done = await lane.submit(job)
            assert done is not None
            assert done.outcome == 2 * job

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*map(call, range(20)))


async def test_a_lane_keeps_the_next_in_line_and_its_newest_jobs(batcher: Batcher[int, int], worker: Worker) -> None:
    """A call whose first audio was dropped under load had a clock that began too late."""
    await occupy(batcher, worker)
    lane = batcher.lane()
    futures = [lane.submit(number) for number in range(1, 101)]
    assert len(lane.waiting) == batcher.max_waiting == 3
    # Those that were dropped know it at once, not when the worker is free again.
    assert [future.done() for future in futures] == [False, *[True] * 97, False, False]
    worker.may_go_on.set()
    assert await outcomes(futures) == [2, *[None] * 97, 198, 200]
    assert sorted(job for batch in worker.batches for job in batch) == [0, 1, 99, 100]


async def test_a_lane_of_one_waiting_job_runs_each_once(worker: Worker) -> None:
    batcher = Batcher(worker, max_waiting=1)
    try:
        await occupy(batcher, worker)
        lane = batcher.lane()
        futures = [lane.submit(number) for number in (1, 2, 3)]
        worker.may_go_on.set()
        assert await outcomes(futures) == [None, None, 6]
        assert (await outcomes([lane.submit(4)])) == [8]
        assert worker.batches == [[0], [3], [4]]
    finally:
        batcher.close()


async def test_a_lane_that_drops_costs_the_others_nothing(batcher: Batcher[int, int], worker: Worker) -> None:
    await occupy(batcher, worker)
    greedy, modest = batcher.lane(), batcher.lane()
    for number in range(100):
        greedy.submit(number)
    future = modest.submit(7)
    worker.may_go_on.set()
    assert await outcomes([future]) == [14]


async def test_lanes_take_turns_where_a_batch_is_too_small_for_all(worker: Worker) -> None:
    batcher = Batcher(worker, max_batch=2, max_waiting=3)
    try:
        await occupy(batcher, worker)
        lanes = [batcher.lane() for _ in range(5)]
        futures = [lane.submit(number) for number, lane in enumerate(lanes, start=1)]
        again = lanes[0].submit(10)
        worker.may_go_on.set()
        assert await outcomes([*futures, again]) == [2, 4, 6, 8, 10, 20]
        assert all(len(batch) <= 2 + batcher.max_waiting - 1 for batch in worker.batches)
        assert [batch[0] for batch in worker.batches] == [0, 1, 2, 4]
    finally:
        batcher.close()


async def test_an_error_reaches_those_in_its_batch_and_nobody_else(batcher: Batcher[int, int], worker: Worker) -> None:
    await occupy(batcher, worker)
    futures = [batcher.lane().submit(number) for number in (1, -1)]
    worker.may_go_on.set()
    for future in futures:
        with pytest.raises(ValueError, match="no job is negative"):
            await future
    assert await outcomes([batcher.lane().submit(5)]) == [10]


@pytest.mark.parametrize("answers", [[], [1, 2, 3]])
async def test_a_worker_that_answers_too_much_or_too_little_is_an_error_and_not_the_end(answers: list[int]) -> None:
    """It once ended the thread, and every call after that waited for ever."""
    batcher: Batcher[int, int] = Batcher(lambda jobs: answers)
    try:
        for _ in range(2):
            with pytest.raises(ValueError, match="zip"):
                async with asyncio.timeout(PATIENCE_S):
                    await batcher.lane().submit(1)
    finally:
        batcher.close()


async def test_a_job_given_up_while_it_runs_or_waits_harms_nobody(batcher: Batcher[int, int], worker: Worker) -> None:
    running = await occupy(batcher, worker)
    lane = batcher.lane()
    waiting, kept = lane.submit(1), lane.submit(2)
    running.cancel()
    waiting.cancel()
    worker.may_go_on.set()
    assert await outcomes([kept]) == [4]


async def test_a_job_given_up_may_be_dropped(batcher: Batcher[int, int], worker: Worker) -> None:
    await occupy(batcher, worker)
    lane = batcher.lane()
    lane.submit(1).cancel()
    futures = [lane.submit(number) for number in (2, 3, 4)]
    worker.may_go_on.set()
    assert await outcomes(futures) == [4, 6, 8]


async def test_closing_fails_what_waits_finishes_what_runs_and_ends_the_thread(
    batcher: Batcher[int, int], worker: Worker
) -> None:
    running = await occupy(batcher, worker)
    waiting = [batcher.lane().submit(number) for number in (1, 2)]
    closing = asyncio.create_task(asyncio.to_thread(batcher.close))
    for future in waiting:
        # Not cancelled: whoever awaits it was not.
        with pytest.raises(RuntimeError, match="closed"):
            async with asyncio.timeout(PATIENCE_S):
                await future
    assert not closing.done()
    worker.may_go_on.set()
    await closing
    assert await outcomes([running]) == [0]
    assert worker.thread is not None
    assert not worker.thread.is_alive()
    assert worker.batches == [[0]]


async def test_a_closed_batcher_takes_no_job_and_may_be_closed_again(batcher: Batcher[int, int]) -> None:
    batcher.close()
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.lane().submit(1)


def test_jobs_of_a_loop_that_is_gone_are_forgotten(batcher: Batcher[int, int], worker: Worker) -> None:
    async def leave() -> None:
        await occupy(batcher, worker)
        batcher.lane().submit(1)

    asyncio.run(leave())
    worker.may_go_on.set()

    async def come() -> None:
        assert await outcomes([batcher.lane().submit(5)]) == [10]

    asyncio.run(come())


def test_loops_of_many_threads_share_it(batcher: Batcher[int, int]) -> None:
    async def call(number: int) -> list[int | None]:
        lane = batcher.lane()
        return [(await outcomes([lane.submit(number)]))[0] for _ in range(10)]

    heard: dict[int, list[int | None]] = {}
    threads = [
        threading.Thread(target=lambda number=number: heard.update({number: asyncio.run(call(number))}))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert heard == {number: [2 * number] * 10 for number in range(4)}


async def test_an_idle_worker_holds_on_to_nothing() -> None:
    """Audio is not kept longer than it takes to judge it."""

    class Audio: ...

    batcher: Batcher[Audio, Audio] = Batcher(list)
    try:
        audio = Audio()
        gone = weakref.ref(audio)
        await batcher.lane().submit(audio)
        del audio
        async with asyncio.timeout(PATIENCE_S):
            while gone() is not None:
                await asyncio.sleep(0)
                gc.collect()
    finally:
        batcher.close()

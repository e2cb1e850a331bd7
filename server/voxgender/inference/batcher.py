"""One worker thread for all sessions: what is waiting is judged together, and nothing waits without bound."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

_CLOSED = "the batcher is closed"


class Done(NamedTuple, Generic[Outcome]):
    """A job's outcome and where its time went."""

    outcome: Outcome
    queue_s: float
    run_s: float


class Batcher(Generic[Job, Outcome]):
    """Runs jobs of many lanes on one thread.

    A batch takes all that waits in a lane, in order, so that jobs may keep state between them and ``run`` sees how
    far behind it is. A lone job runs at once: batches grow only out of what came in while the last one ran.

    Args:
        run: called on the thread with one to ``max_batch`` jobs; returns one outcome each.
        max_batch: jobs run together; a batch that holds so many takes no further lane.
        max_waiting: jobs that wait in one lane at most; one more, and the lane's oldest but the next in line is
            dropped.
    """

    def __init__(
        self, run: Callable[[Sequence[Job]], Sequence[Outcome]], *, max_batch: int = 64, max_waiting: int = 5
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self.max_waiting = max_waiting
        self._ready: deque[Lane[Job, Outcome]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="voxgender-inference", daemon=True)
        self._thread.start()

    def lane(self) -> "Lane[Job, Outcome]":
        """A place in the queue for one session; jobs are submitted from the running event loop."""
        return Lane(self)

    def close(self) -> None:
        """Stop the thread once the batch in hand is done; jobs that wait raise ``RuntimeError``."""
        with self._wake:
            self._closed = True
            waiting = [ticket for lane in self._ready for ticket in lane.waiting]
            for lane in self._ready:
                lane.waiting.clear()
            self._ready.clear()
            self._wake.notify()
        self._deliver([(ticket, RuntimeError(_CLOSED)) for ticket in waiting])
        self._thread.join()

    def _submit(self, lane: "Lane[Job, Outcome]", ticket: "_Ticket[Job, Outcome]") -> "_Ticket[Job, Outcome] | None":
        with self._wake:
            if self._closed:
                raise RuntimeError(_CLOSED)
            if not lane.waiting:
                self._ready.append(lane)
                self._wake.notify()
            dropped = None
            if len(lane.waiting) >= self.max_waiting:
                # Not the next in line, unless it was given up: later jobs may count from a lane's very first.
                index = 0 if len(lane.waiting) == 1 or lane.waiting[0].future.done() else 1
                dropped = lane.waiting[index]
                del lane.waiting[index]
            lane.waiting.append(ticket)
        return dropped

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Wait for a batch and run it; False once there will be none."""
        batch = self._next_batch()
        started = monotonic()
        try:
            outcomes = self._run([ticket.job for ticket in batch]) if batch else []
            run_s = monotonic() - started
            self._deliver(
                [
                    (ticket, Done(outcome, started - ticket.submitted, run_s))
                    for ticket, outcome in zip(batch, outcomes, strict=True)
                ]
            )
        except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to those who wait for it
            self._deliver([(ticket, error) for ticket in batch])
        return bool(batch)

    def _next_batch(self) -> "list[_Ticket[Job, Outcome]]":
        with self._wake:
            while not self._ready and not self._closed:
                self._wake.wait()
            batch: list[_Ticket[Job, Outcome]] = []
            while self._ready and len(batch) < self._max_batch:
                lane = self._ready.popleft()
                batch += lane.waiting
                lane.waiting.clear()
            return batch

    def _deliver(self, results: "list[tuple[_Ticket[Job, Outcome], Done[Outcome] | Exception]]") -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Ticket[Job, Outcome], Done[Outcome] | Exception]]] = {}
        for ticket, result in results:
            by_loop.setdefault(ticket.future.get_loop(), []).append((ticket, result))
        for loop, settled in by_loop.items():
            # A loop that has closed meanwhile has nobody left who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, settled)


class Lane(Generic[Job, Outcome]):
    """One session's place in the queue."""

    def __init__(self, batcher: Batcher[Job, Outcome]) -> None:
        self._batcher = batcher
        self.waiting: deque[_Ticket[Job, Outcome]] = deque()

    def submit(self, job: Job) -> "asyncio.Future[Done[Outcome] | None]":
        """Queue a job. Its future gives None where the job was dropped, and raises what ``run`` raised.

        Raises:
            RuntimeError: the batcher is closed.
        """
        future: asyncio.Future[Done[Outcome] | None] = asyncio.get_running_loop().create_future()
        dropped = self._batcher._submit(self, _Ticket(job, future, monotonic()))  # noqa: SLF001 - two halves of one
        if dropped is not None and not dropped.future.done():
            dropped.future.set_result(None)
        return future


class _Ticket(NamedTuple, Generic[Job, Outcome]):
    job: Job
    future: "asyncio.Future[Done[Outcome] | None]"
    submitted: float


def _settle(settled: "list[tuple[_Ticket[Job, Outcome], Done[Outcome] | Exception]]") -> None:
    for ticket, result in settled:
        if ticket.future.done():
            continue
        if isinstance(result, Exception):
            ticket.future.set_exception(result)
        else:
            ticket.future.set_result(result)

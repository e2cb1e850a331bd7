"""Send windows of many calls to a pool, each with a deadline, and reconnect to the pool after it was lost."""

import asyncio
import logging
import math
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from voxgender import metrics
from voxgender.errors import ModelError
from voxgender.inference.classifier import RemoteClassifier, Row, Unclassified, Window
from voxgender.inference.labels import OTHER
from voxgender.pool import wire
from voxgender.pool.inflight import InFlight
from voxgender.pool.poolhttp import Failed, PoolHttp
from voxgender.settings import POOL_PORT

logger = logging.getLogger(__name__)

DEADLINE_S = 0.8
"""Time for a window of a live call; what it says is old news then."""
PATIENT_S = 10.0
"""Time for a window of audio that waits for its results; it is asked for again and again meanwhile."""
LATE_IN_A_ROW = 4
"""Requests in a row without an answer in time after which the pool is taken to be gone."""
RETRY_S = 0.25
MAX_RETRY_S = 4.0
"""Time between two attempts to find a pool again, at first and at most."""


class _Sent(NamedTuple):
    """A window on its way."""

    key: int
    packed: wire.Packed
    row: "Future[Row]"


class _Model(NamedTuple):
    """The pool's model, as its last description told."""

    id: str
    name: str
    columns: tuple[int, ...]
    """Places of our labels among the pool's."""
    together: int


class PoolClassifier(RemoteClassifier):
    """A pool's model. All requests are made by an event loop in a thread of its own.

    The labels are those that the pool told first. A pool that comes back with another model is taken if that has the
    same labels; if not, nothing is classified until the right one is there.

    Args:
        host: name or address of Ray Serve's HTTP proxy.
        port: its TCP port.
        deadline_s: time for a window of a live call.
        patient_s: time for a window of audio that waits.

    Raises:
        ModelError: no pool answers there, or one of another version.
    """

    def __init__(
        self, host: str, port: int = POOL_PORT, *, deadline_s: float = DEADLINE_S, patient_s: float = PATIENT_S
    ) -> None:
        self.address = f"ray://{f'[{host}]' if ':' in host else host}:{port}"
        self._url = f"http{self.address.removeprefix('ray')}{wire.PATH}"
        self._deadline_s = deadline_s
        self._patient_s = patient_s
        self._keys = count()
        self._lock = threading.Lock()
        self._in_flight = InFlight(deadline_s)
        self._is_up = self._closed = False
        # The rest belongs to the thread of the loop.
        self._loop = asyncio.new_event_loop()
        self._http: PoolHttp
        self._up = asyncio.Event()
        """Set while the pool is up, for those who wait for that."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._late = 0
        self._warned = ""
        self._thread = threading.Thread(target=self._run, name="voxgender-pool", daemon=True)
        self._thread.start()
        try:
            told = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
            self.labels = told.labels
            self.min_window_ms = told.min_window_ms
            self._model = self._adopt(told)
        except Failed as failure:
            self.close()
            raise ModelError(f"the pool at {self.address}: {failure}") from None
        self._loop.call_soon_threadsafe(self._set_up, True)
        self._is_up = True

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def is_up(self) -> bool:
        return self._is_up

    @property
    def free_capacity(self) -> int:
        with self._lock:
            return self._in_flight.free if self.is_up else 0

    def submit(self, windows: Sequence[Window], *, patient: bool = False) -> "list[Future[Row]]":
        sent = [_Sent(next(self._keys), wire.pack(window), Future()) for window in windows]
        for one in sent:
            # Cancelled by who waits for it, it could not be given its row, nor could those behind it in the request.
            one.row.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise Unclassified(f"the pool at {self.address}: it was left")
            self._in_flight.taken += len(sent)
            self._loop.call_soon_threadsafe(self._start, sent, monotonic(), patient)
        return [one.row for one in sent]

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self) -> wire.Description:
        self._http = PoolHttp(self._url)
        return await self._http.describe()

    async def _close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "_http"):
            await self._http.close()
        self._set_up(False)

    def _do(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, sent: Sequence[_Sent], began: float, patient: bool) -> None:
        together = self._model.together
        for at in range(0, len(sent), together):
            self._do(self._answer(sent[at : at + together], began, patient))

    async def _answer(self, sent: Sequence[_Sent], began: float, patient: bool) -> None:
        """Have windows of one request classified, and hand the outcome on."""
        deadline = began + (self._patient_s if patient else self._deadline_s)
        failure = Failed("closed", "it was left")
        rows: dict[int, Row | None] = {}
        try:
            rows = await (self._persist if patient else self._try_twice)(sent, deadline)
        except Failed as failed:
            failure = failed
            metrics.POOL_FAILURES[failed.reason].inc()
        finally:
            # Also when it was cancelled, because others wait for the rows.
            with self._lock:
                self._in_flight.taken -= len(sent)
            late = Unclassified(f"the pool at {self.address}: {'not answered in time' if rows else failure}")
            for one in sent:
                row = rows.get(one.key)
                metrics.POOL_WINDOWS["lost" if row is None else "classified"].inc()
                if row is None:
                    one.row.set_exception(late)
                else:
                    one.row.set_result(row)

    async def _try_twice(self, sent: Sequence[_Sent], deadline: float) -> dict[int, Row | None]:
        """Ask, and once more if the request failed at once, as it does when its replica dies."""
        try:
            return await self._ask(sent, deadline)
        except Failed as failed:
            if failed.reason in ("late", "busy") or monotonic() >= deadline:
                raise
        try:
            return await self._ask(sent, deadline)
        except Failed as failed:
            if failed.reason not in ("late", "busy"):
                self._lose(failed)
            raise

    async def _persist(self, sent: Sequence[_Sent], deadline: float) -> dict[int, Row | None]:
        """Ask until there is an answer, or time is up."""
        pause_s = RETRY_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(deadline - monotonic()):
                    await self._up.wait()
            try:
                return await self._try_twice(sent, deadline)
            except Failed:
                if monotonic() + pause_s >= deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_RETRY_S)

    async def _ask(self, sent: Sequence[_Sent], deadline: float) -> dict[int, Row | None]:
        """Make one request. Returns for each key its row, or None if its deadline had passed in the pool.

        Raises:
            Failed
        """
        now = monotonic()
        left_ms = math.ceil((deadline - now) * 1_000)
        if left_ms <= 0:
            raise Failed("late", "not answered in time")
        model = self._model
        windows = tuple(
            wire.WindowMessage(key=one.key, deadline_ms=left_ms, peak=one.packed.peak, samples=one.packed.samples)
            for one in sent
        )
        metrics.POOL_REQUESTS.inc()
        try:
            request = wire.Request(version=wire.VERSION, model=model.id, windows=windows)
            answer = await self._http.classify(request, deadline - now)
        except Failed as failed:
            if failed.reason == "late":
                self._note_late()
            elif failed.reason == "busy":
                with self._lock:
                    self._in_flight.shrink(monotonic())
            elif failed.present is not None:
                self._model = self._adopt(failed.present)
            raise
        rows = self._rows(answer, sent, model)
        self._late = 0
        metrics.POOL_SECONDS.observe(monotonic() - now)
        with self._lock:
            if any(row is None for row in rows.values()):
                self._in_flight.shrink(monotonic())
            else:
                self._in_flight.grow(len(sent))
        return rows

    def _rows(self, answer: wire.Answer, sent: Sequence[_Sent], model: _Model) -> dict[int, Row | None]:
        """Check that an answer is the one to these windows, and return its rows.

        Raises:
            Failed: it answers something else.
        """
        found = {row.key: row.probabilities for row in answer.rows}
        if answer.model != model.id or len(answer.rows) != len(sent) or found.keys() != {one.key for one in sent}:
            raise Failed("malformed", "its answer is that to another request")
        rows: dict[int, Row | None] = {}
        for key, probabilities in found.items():
            row = None
            if probabilities is not None:
                if len(probabilities) != len(model.columns):
                    raise Failed("malformed", "its answer has other labels than it told of")
                row = np.array(probabilities, dtype=np.float32)[list(model.columns)]
                if not np.isfinite(row).all():
                    raise Failed("malformed", "its answer has numbers that are no probabilities")
            rows[key] = row
        return rows

    def _note_late(self) -> None:
        self._late += 1
        with self._lock:
            self._in_flight.shrink(monotonic())
        if self._late >= LATE_IN_A_ROW:
            self._lose(Failed("late", "it does not answer in time"))

    def _lose(self, failure: Failed) -> None:
        """Send nothing more until the pool is found again."""
        if self.is_up and not self._closed:
            self._set_up(False)
            self._warn(f"{failure}; nothing is classified until it is back")
            self._do(self._find())

    async def _find(self) -> None:
        pause_s = RETRY_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                self._model = self._adopt(await self._http.describe())
                break
            except Failed as failure:
                if failure.reason == "refused":
                    self._warn(str(failure))
                pause_s = min(2 * pause_s, MAX_RETRY_S)
        self._late = 0
        self._warned = ""
        self._set_up(True)
        logger.info("the pool at %s is back, with model %s", self.address, self.name)

    def _warn(self, message: str) -> None:
        """Log a state once."""
        if message != self._warned:
            self._warned = message
            logger.warning("the pool at %s: %s", self.address, message)

    def _set_up(self, up: bool) -> None:
        self._is_up = up
        (self._up.set if up else self._up.clear)()
        metrics.POOL_UP.set(up)

    def _adopt(self, told: wire.Description) -> _Model:
        """Take the pool's present model, if it tells the labels that calls were told.

        Raises:
            Failed: it does not.
        """
        if sorted(told.labels) != sorted(self.labels):
            names = [", ".join(label for label in labels if label != OTHER) for labels in (told.labels, self.labels)]
            raise Failed(
                "refused",
                f"its model {told.model} tells {names[0]}, but calls were told {names[1]}; for other labels start the "
                "media nodes anew",
            )
        if told.min_window_ms > self.min_window_ms:
            raise Failed("refused", f"its model {told.model} needs windows of {told.min_window_ms} ms")
        columns = tuple(told.labels.index(label) for label in self.labels)
        return _Model(told.id, told.model, columns, told.together)

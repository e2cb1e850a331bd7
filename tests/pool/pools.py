"""A pool without Ray: the real service behind the real HTTP messages, with faults on demand; and a model that marks."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import msgspec
import numpy as np
from aiohttp import web

from tests.waits import PATIENCE_S
from voxgender.inference.classifier import Classifier, Probabilities, Windows
from voxgender.pool import wire
from voxgender.pool.client import PoolClassifier
from voxgender.pool.service import Refused, Service

HOST = "127.0.0.1"


class Marks:
    """Tells each window by its first sample: that is the probability of ``female``. Says what it was given."""

    min_window_ms = 500

    def __init__(self, name: str = "marks", labels: tuple[str, ...] = ("male", "female")) -> None:
        self.name = name
        self.labels = labels
        self.batches: list[int] = []

    def __call__(self, windows: Windows) -> Probabilities:
        self.batches.append(len(windows))
        female = np.abs(windows[:, 0])
        columns = {"female": female, "male": 1 - female}
        return np.stack([columns.get(label, 0 * female) for label in self.labels], axis=1).astype(np.float32)


def marked(mark: float, samples: int = 16_000) -> Windows:
    """A window that :class:`Marks` knows again."""
    window = np.full(samples, 0.5, dtype=np.float32)
    window[0] = mark
    return window


Handler = Callable[[web.Request], web.Response]


class HttpPool:
    """A pool on an event loop of its own, so that tests may block. ``answer`` takes the place of the service's answer.

    It can be stopped and started again, on the same port.
    """

    def __init__(self, model: Classifier) -> None:
        self.service = Service(model)
        self.port = 0
        self.requests = 0
        self.hold_s = 0.0
        """Time that each answer takes."""
        self.answer: Callable[[bytes], web.Response] | None = None
        self.describe: Callable[[], bytes] | None = None
        self.seen = threading.Semaphore(0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http-pool", daemon=True)
        self._thread.start()
        self._stack: asyncio.Task[None] | None = None
        self._stopping: asyncio.Event

    def start(self) -> None:
        async def serve(ready: "asyncio.Future[None]") -> None:
            self._stopping = asyncio.Event()
            async with a_pool_app(self) as port:
                self.port = port
                ready.set_result(None)
                await self._stopping.wait()

        async def begin() -> None:
            ready = asyncio.get_running_loop().create_future()
            self._stack = asyncio.create_task(serve(ready))
            await ready

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(PATIENCE_S)

    def stop(self) -> None:
        async def end() -> None:
            if self._stack is not None:
                self._stopping.set()
                await self._stack
                self._stack = None

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(PATIENCE_S)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def handle(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            body = self.describe() if self.describe else msgspec.msgpack.encode(self.service.description)
            return web.Response(body=body, content_type=wire.MEDIA_TYPE)
        self.requests += 1
        body = await request.read()
        arrived_at = time.monotonic()
        self.seen.release()
        if self.hold_s:
            await asyncio.sleep(self.hold_s)
        if self.answer is not None:
            return self.answer(body)
        try:
            asked = self.service.read(body, arrived_at)
        except Refused as refused:
            return web.Response(body=refused.body, status=refused.status)
        return web.Response(body=self.service.classify([asked])[0])


@asynccontextmanager
async def a_pool_app(pool: HttpPool) -> AsyncIterator[int]:
    app = web.Application(client_max_size=wire.MAX_BYTES)
    app.add_routes([web.get(wire.PATH, pool.handle), web.post(wire.PATH, pool.handle)])
    # Requests are larger than those that voxgender's own servers take.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, pool.port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def a_pool(model: Classifier | None = None) -> Iterator[HttpPool]:
    pool = HttpPool(model or Marks())
    pool.start()
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def a_client(pool: HttpPool, **times: float) -> Iterator[PoolClassifier]:
    client = PoolClassifier(HOST, pool.port, **times)
    try:
        yield client
    finally:
        client.close()

"""Run ``voxgender serve --workers``: one signaling front and many media processes on one machine.

The front is the same signaling as elsewhere, and imports no more than that. Its workers are the same media nodes as
elsewhere; the front calls them over Unix domain sockets in a private folder.
"""

import asyncio
import logging
import os
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack, suppress
from dataclasses import fields, replace
from pathlib import Path
from time import monotonic

import msgspec

from voxgender.errors import SettingsError, VoxgenderError
from voxgender.fleet.directory import Directory
from voxgender.fleet.router import Router
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import StaticNodes
from voxgender.fleet.totals import total
from voxgender.http.app import create_app
from voxgender.http.health import own_metrics
from voxgender.roles.hosting import ENDING_S, Stop, listen, listen_for_metrics, url_of
from voxgender.roles.workermessages import DRAIN, RELOAD, WorkerConfig, WorkerStatus
from voxgender.settings import MediaSettings, ModelOptions, NodeSettings, ServeSettings
from voxgender.system import usable_cores

logger = logging.getLogger(__name__)

_REAP_S = 2.0
"""Time for a worker that has no calls any more to end before it is killed."""
_STOP_S = ENDING_S - _REAP_S - 1
"""Time for a worker to end its calls. Together they are less than the front's own time to end."""
HUNG_S = 30.0
"""Time without an answer after which a worker is killed; its calls are long lost by then."""
WATCH_S = 2.0
_RESTART_S = 0.5
_MAX_RESTART_S = 10.0
_STABLE_S = 30.0
"""A worker that ran for longer is restarted without delay."""


class WithWorkers:
    """Serves one signaling front with many media processes behind it: ``voxgender serve --workers``."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        # A random secret, because only the front and its workers share it.
        self._key = secrets.token_urlsafe(32)
        self._workers: list[Worker] = []
        self._supervision: list[asyncio.Task[None]] = []
        self._router: Router

    async def start(self, stack: AsyncExitStack) -> str:
        """Serve the page, and calls once all workers take them. See :meth:`voxgender.roles.running.Role.start`."""
        settings = self._settings
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="voxgender-"))
        source = StaticNodes([])
        directory = Directory(source, Secret(self._key))
        stack.push_async_callback(directory.close)
        together = settings.subjects.max_sessions_per_subject > 0
        self._router = Router(
            directory,
            Secret(self._key),
            keep_together=together,
            needs_node=True,
            is_one_of_many=settings.media.no_udp,
        )
        stack.push_async_callback(self._router.close)

        async def metrics() -> bytes:
            asked = (member.node.metrics() for member in directory.members())
            texts = await asyncio.gather(*asked, return_exceptions=True)
            own = (await own_metrics()).decode()
            return total([own, *(text for text in texts if isinstance(text, str))])

        app = create_app(settings, self._router, metrics=metrics)
        configs = worker_configs(settings, self._key, Path(folder))
        self._workers = [Worker(config, source, directory) for config in configs]
        port = await listen(app, stack, host=settings.http.host, port=settings.http.port)
        await listen_for_metrics(settings.metrics, stack, metrics)
        await directory.start()
        self._supervision = [asyncio.create_task(worker.supervise()) for worker in self._workers]
        stack.push_async_callback(self._end_workers)
        await asyncio.gather(*(worker.ready for worker in self._workers))
        logger.info("ready: %d workers", len(self._workers))
        return url_of(settings.http.host, port)

    async def drain(self, stop: Stop) -> None:
        """Move the workers' calls to another server, and end the workers."""
        self._router.drain()
        await _shut_down(self._workers, self._supervision, stop, self._settings.drain.drain_timeout_s)

    def reload(self) -> None:
        """Let every worker load its model again."""
        for worker in self._workers:
            worker.reload()

    async def _end_workers(self) -> None:
        for worker in self._workers:
            worker.stop()
        # Each worker gets time to end its calls; one that is still loading ends at once.
        if self._supervision:
            await asyncio.wait(self._supervision, timeout=_STOP_S)
        for task in self._supervision:
            task.cancel()
        await asyncio.gather(*self._supervision, return_exceptions=True)


def worker_configs(settings: ServeSettings, secret: str, folder: Path) -> list[WorkerConfig]:
    """Return each worker's configuration: its share of the calls, the cores and the ports.

    Raises:
        SettingsError: there are fewer calls or ports than workers, or the system cannot run workers.
    """
    if not hasattr(asyncio, "start_unix_server"):
        raise SettingsError("--workers needs Unix sockets, which this system has not: start it without")
    count = settings.processes.workers
    cores = usable_cores()
    media, model = settings.media, settings.model
    if media.max_sessions < count:
        raise SettingsError(f"--workers {count} is more than the calls of --max-sessions {media.max_sessions}")
    ports = media.udp_port_range
    if ports is not None and ports[1] - ports[0] + 1 < count:
        raise SettingsError(f"--udp-ports has fewer ports than --workers {count}")
    # Tokens and TURN secrets stay in the front.
    shared = MediaSettings(**{field.name: getattr(settings, field.name) for field in fields(NodeSettings)})
    made = []
    for number in range(count):
        udp_ports = ""
        if ports is not None:
            low, size = ports[0], ports[1] - ports[0] + 1
            udp_ports = f"{low + size * number // count}-{low + size * (number + 1) // count - 1}"
        own = replace(
            shared,
            media=replace(media, max_sessions=_share(media.max_sessions, number, count), udp_ports=udp_ports),
            # Each worker leaves one of its cores to the media, as a single process does.
            model=model if model.pool else replace(model, inference_threads=_threads(model, cores // count)),
        )
        made.append(
            WorkerConfig(
                number=number + 1,
                settings=own,
                secret=secret,
                socket=str(folder / f"{number + 1}.sock"),
                cores=max(1.0, cores / count),
            )
        )
    return made


class Worker:
    """Supervises one media process: restarts it whenever it dies.

    Args:
        config: configuration of the process.
        source: lists the worker's node while it takes calls.
        directory: queries the worker's node.
        hung_s: time without an answer after which a worker that took calls is killed.
        watch_s: time between two checks of that.
    """

    def __init__(
        self,
        config: WorkerConfig,
        source: StaticNodes,
        directory: Directory,
        *,
        hung_s: float = HUNG_S,
        watch_s: float = WATCH_S,
    ) -> None:
        self._hung_s = hung_s
        self._watch_s = watch_s
        self._config = config
        self._url = f"unix:{config.socket}"
        self._source = source
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the worker takes calls for the first time; fails if it cannot start."""

    async def supervise(self) -> None:
        """Run the process again and again, until told to stop or until its first start fails."""
        pause = _RESTART_S
        while True:
            started = monotonic()
            try:
                await self._live()
            finally:
                await self._reap()
            if not self.ready.done():
                self.ready.set_exception(VoxgenderError(f"worker {self._config.number} ended before it took calls"))
            if self._stopping.is_set() or self.ready.cancelled() or self.ready.exception() is not None:
                return
            pause = _RESTART_S if monotonic() - started > _STABLE_S else min(2 * pause, _MAX_RESTART_S)
            logger.error("worker %d has died, its calls with it; another one starts", self._config.number)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
                    return

    def drain(self) -> None:
        """Tell the worker to move its calls and then end."""
        self._stopping.set()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(DRAIN)

    def reload(self) -> None:
        """Tell the worker to load its model again; one that is loading it already passes it over."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(RELOAD)

    def stop(self) -> None:
        """Tell the worker to end its calls and itself."""
        self._stopping.set()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _live(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._config.socket)  # noqa: PTH108 - as fast as it gets
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "voxgender.roles.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C is not for a worker, which may be loading still.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._stopping.is_set():
            return
        self._process.stdin.write(msgspec.json.encode(self._config) + b"\n")
        watching = asyncio.create_task(self._watch(self._process))
        try:
            # A worker writes one status only.
            while line := await self._process.stdout.readline():
                await self._read_status(msgspec.json.decode(line, type=WorkerStatus))
            await self._process.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Kill a process that took calls and has not answered the directory for ``hung_s``."""
        answered_at = monotonic()
        while monotonic() - answered_at < self._hung_s:
            await asyncio.sleep(self._watch_s)
            loading = self._url not in self._source
            if loading or any(member.node.url == self._url for member in self._directory.members()):
                answered_at = monotonic()
        logger.error("worker %d hangs, and is killed", self._config.number)
        with suppress(ProcessLookupError):
            process.kill()

    async def _read_status(self, status: WorkerStatus) -> None:
        if status.error:
            error = (SettingsError if status.status == 2 else VoxgenderError)(status.error)
            if not self.ready.done():
                self.ready.set_exception(error)
            else:
                logger.error("worker %d cannot start: %s", self._config.number, error)
            return
        self._source.add(self._url)
        await self._directory.refresh(force=True)
        if not self.ready.done():
            self.ready.set_result(None)

    async def _reap(self) -> None:
        """Take the process's node out of the directory, and wait for the process to end."""
        self._source.remove(self._url)
        self._directory.remove_by_url(self._url)
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_REAP_S):
                await process.wait()
        except (TimeoutError, asyncio.CancelledError):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _shut_down(
    workers: list[Worker], supervision: list["asyncio.Task[None]"], stop: Stop, drain_timeout_s: float
) -> None:
    ended = asyncio.gather(*supervision)
    now = asyncio.create_task(stop.now.wait())
    try:
        if not stop.now.is_set():
            for worker in workers:
                worker.drain()
            await asyncio.wait((ended, now), timeout=drain_timeout_s + _STOP_S, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            worker.stop()
        await asyncio.wait((ended,), timeout=_STOP_S)
    finally:
        now.cancel()
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)


def _threads(model: ModelOptions, cores: int) -> int:
    return model.inference_threads or max(1, cores - 1)


def _share(whole: int, number: int, count: int) -> int:
    return whole * (number + 1) // count - whole * number // count

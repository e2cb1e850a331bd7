"""Run the role ``pool``: the model alone, on Ray Serve, for media nodes in other processes."""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack, suppress

from voxgender.pool.cluster import Cluster
from voxgender.roles.hosting import Stop
from voxgender.settings import PoolSettings

logger = logging.getLogger(__name__)


class Pool:
    """Serves the model to media nodes: ``voxgender pool``."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings

    async def start(self, stack: AsyncExitStack) -> str:
        """Start Ray if need be, the replicas, and their front. See :meth:`voxgender.roles.running.Role.start`."""
        loop = asyncio.get_running_loop()
        cluster = Cluster(self._settings, lambda: loop.call_soon_threadsafe(_take_signals_back))
        starting = asyncio.create_task(asyncio.to_thread(cluster.start), name="pool")

        async def close() -> None:
            # Ray cannot be stopped while it starts.
            with suppress(Exception):
                (await starting).close()
            await asyncio.to_thread(cluster.close)

        stack.push_async_callback(close)
        model = await asyncio.shield(starting)
        model.close()
        logger.info("ready: model %s, labels %s", model.name, ", ".join(model.labels))
        return model.address

    async def drain(self, stop: Stop) -> None:
        """Leave new windows to another pool; those in hand are answered while the replicas end."""

    def reload(self) -> None:
        """Keep the model: another pool takes the place of this one."""
        logger.warning("a pool keeps its model; stop it and start another, or have Ray Serve deploy one")


def _take_signals_back() -> None:
    """Install Python's handlers again: Ray's own print a stack and abort the process, with its replicas left alone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if (handler := signal.getsignal(number)) is not None:
            signal.signal(number, handler)

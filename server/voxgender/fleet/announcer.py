"""Tell the fleet a media node's state, and keep its lease in the registry."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, process_time

from voxgender.fleet.record import NodeRecord
from voxgender.fleet.registry import RENEW_S, Registry, RegistryLost
from voxgender.http.calls import NodeCalls
from voxgender.system import usable_cores
from voxgender.version import __version__

logger = logging.getLogger(__name__)

PROMPT_S = 1.0
"""Time for the registry where something waits for it: the start of a node, its draining, its end."""

_LOAD_OVER_S = 1.0


class NodeStatus:
    """A node's state, as the fleet sees it.

    Args:
        url: URL at which signaling reaches the node.
        cores: number of cores that the node may use; 0 for all of the process.
        clock: returns seconds, as ``time.monotonic``.
        cpu_clock: returns the process's CPU time in seconds, as ``time.process_time``.
    """

    def __init__(
        self,
        node: NodeCalls,
        node_id: str,
        *,
        url: str = "",
        region: str = "",
        cores: float = 0.0,
        clock: Callable[[], float] = monotonic,
        cpu_clock: Callable[[], float] = process_time,
    ) -> None:
        self._node = node
        self.id = node_id
        self.url = url
        self._region = region
        self._cores = cores or usable_cores()
        self._beat = 0
        self._clock, self._cpu_clock = clock, cpu_clock
        self._measured_at, self._cpu_s = clock(), cpu_clock()
        self._load = 0.0

    def record(self) -> NodeRecord:
        """Return the node's record as of now."""
        self._beat += 1
        return NodeRecord(
            id=self.id,
            url=self.url,
            capacity=self._node.capacity,
            sessions=self._node.live,
            load=round(self._measure(), 3),
            version=__version__,
            region=self._region,
            draining=self._node.draining,
            overloaded=self._node.overloaded,
            beat=self._beat,
        )

    def _measure(self) -> float:
        now, cpu_s = self._clock(), self._cpu_clock()
        if (elapsed := now - self._measured_at) >= _LOAD_OVER_S:
            self._load = (cpu_s - self._cpu_s) / elapsed / self._cores
            self._measured_at, self._cpu_s = now, cpu_s
        return self._load


class Announcer:
    """Keeps a node's lease in the registry, for as long as the registry can be reached.

    Args:
        registry: keeps the lease.
        status: the node's status.
        renew_s: time between two renewals of the lease.
    """

    def __init__(self, registry: Registry, status: NodeStatus, *, renew_s: float = RENEW_S) -> None:
        self._registry = registry
        self._status = status
        self._renew_s = renew_s
        self._renewing: asyncio.Task[None] | None = None
        self._lost = False

    async def start(self) -> None:
        """Announce the node and keep renewing its lease. If the registry is away, try again."""
        await self.announce(within_s=PROMPT_S)
        self._renewing = asyncio.create_task(self._renew(), name="announce")

    async def announce(self, *, within_s: float | None = None) -> None:
        """Write the node's present record once; wait for ``within_s`` at most, after which the registry may have it."""
        try:
            async with asyncio.timeout(within_s):
                await self._registry.announce(self._status.record())
        except TimeoutError:
            return
        except RegistryLost as error:
            if not self._lost:
                logger.warning("%s; this node is announced again as soon as it is back", error)
            self._lost = True
        else:
            if self._lost:
                logger.info("the registry is back")
            self._lost = False

    async def close(self) -> None:
        """Give the lease back."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewing
        with suppress(RegistryLost, TimeoutError):
            async with asyncio.timeout(PROMPT_S):
                await self._registry.withdraw(self._status.id)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renew_s)
            await self.announce()

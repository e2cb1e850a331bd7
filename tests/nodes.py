"""Media nodes with their private APIs, and signaling in front of them, all in this process and over real sockets."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any

from aiohttp import ClientSession

from tests.options import given
from tests.rtc import LOOPBACK
from voxgender.engine import Engine
from voxgender.fleet.announcer import Announcer, NodeStatus
from voxgender.fleet.directory import Directory
from voxgender.fleet.node_api import create_node_app
from voxgender.fleet.placement import PlacementTimes
from voxgender.fleet.registry import Registry
from voxgender.fleet.router import Router
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import Source, StaticNodes
from voxgender.http.app import ClientLimits, create_app
from voxgender.media.node import MediaNode
from voxgender.roles.hosting import listen
from voxgender.settings import FrontSettings

SECRET = Secret("shared by signaling and nodes")

_ids = iter(range(1, 1 << 30))


class FacedNode:
    """A media node as signaling sees it."""

    def __init__(self, node: MediaNode, status: NodeStatus, stack: AsyncExitStack) -> None:
        self.node = node
        self.status = status
        self._stack = stack

    @property
    def id(self) -> str:
        return self.status.id

    @property
    def url(self) -> str:
        return self.status.url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def kill(self) -> None:
        """Let nothing listen any more where the node was."""
        await self._stack.aclose()


@asynccontextmanager
async def a_node(
    engine: Engine,
    *,
    registry: Registry | None = None,
    secret: Secret = SECRET,
    port: int = 0,
    region: str = "",
    make: Callable[..., MediaNode] = MediaNode,
    **limits: Any,
) -> AsyncIterator[FacedNode]:
    """A node that takes calls; with a registry, it is announced there. ``limits`` are arguments of ``MediaNode``."""
    node_id = f"{next(_ids):012x}"
    async with AsyncExitStack() as stack:
        own = {"ice_addresses": [LOOPBACK], "new_session_id": lambda: secret.new_session_id(node_id)}
        node = make(**own | limits)
        status = NodeStatus(node, node_id, region=region)
        taken = await listen(create_node_app(node, secret, status), stack, host=LOOPBACK, port=port)
        status.url = f"http://{LOOPBACK}:{taken}"
        stack.push_async_callback(node.close)
        node.start(engine)
        if registry is not None:
            announcer = Announcer(registry, status)
            stack.push_async_callback(announcer.close)
            await announcer.start()
        yield FacedNode(node, status, stack)


class Front:
    """Signaling; ``http`` speaks to it."""

    def __init__(self, directory: Directory, fleet: Router, http: ClientSession, port: int) -> None:
        self.directory = directory
        self.port = port
        self.fleet = fleet
        self.http = http


@asynccontextmanager
async def a_front(
    *nodes: FacedNode,
    source: Source | None = None,
    secret: Secret = SECRET,
    region: str = "",
    timings: Mapping[str, Any] = MappingProxyType({}),
    times: PlacementTimes = PlacementTimes(),  # noqa: B008 - it cannot change
    clients: ClientLimits = ClientLimits(),  # noqa: B008 - it cannot change
    **options: Any,
) -> AsyncIterator[Front]:
    """Signaling in front of these nodes, or of those that ``source`` knows; it has looked for them once.

    ``timings`` are those of :class:`Directory`, ``times`` those of :class:`Router`, ``options`` those of
    ``FrontSettings``.
    """
    async with AsyncExitStack() as stack:
        directory = Directory(source or StaticNodes([node.url for node in nodes]), secret, **timings)
        stack.push_async_callback(directory.close)
        settings = given(FrontSettings, **options)
        together = settings.subjects.max_sessions_per_subject > 0
        fleet = Router(directory, secret, region=region, keep_together=together, times=times)
        stack.push_async_callback(fleet.close)
        port = await listen(
            create_app(settings, fleet, calls_are_here=False, limits=clients), stack, host=LOOPBACK, port=0
        )
        await directory.start()
        await directory.refreshed.wait()
        await directory.refresh(force=True)
        http = await stack.enter_async_context(ClientSession(f"http://{LOOPBACK}:{port}"))
        yield Front(directory, fleet, http, port)

"""The role ``media``: one media node, for signaling elsewhere."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from aiohttp import web

from voxgender.analysis import Analyzer
from voxgender.errors import SettingsError
from voxgender.fleet.announcer import Announcer, NodeStatus
from voxgender.fleet.node_api import create_node_app
from voxgender.fleet.registry import Registry
from voxgender.fleet.remote import is_node_url
from voxgender.fleet.secret import Secret
from voxgender.media.interfaces import local_addresses
from voxgender.media.node import MediaNode, random_id
from voxgender.roles.hosting import Stop, listen, settle, unless_stopped
from voxgender.roles.publicaddress import public_addresses
from voxgender.settings import Settings

logger = logging.getLogger(__name__)

MakeAnalyzer = Callable[[Settings], Analyzer]


async def serve_media(
    settings: Settings, make_analyzer: MakeAnalyzer, announce: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until SIGINT, or until SIGTERM and the calls have moved.

    Args:
        settings: all options.
        make_analyzer: loads the model, in a thread.
        announce: told the URL for signaling, once calls are taken.

    Raises:
        VoxgenderError: the address is taken, the model cannot be loaded, an option cannot be used.
    """
    stop = Stop()
    stop.on_signals()
    secret = Secret(settings.secret)

    async def open_face(face: web.Application, stack: AsyncExitStack) -> str:
        return node_url(settings, await listen(face, stack, host=settings.host, port=settings.port))

    async with AsyncExitStack() as stack:
        registry = None
        if settings.registry:
            registry = Registry(settings.registry, secret)
            stack.push_async_callback(registry.close)
        await run_node(settings, make_analyzer, secret, stop, open_face, announce, registry=registry)


async def run_node(
    settings: Settings,
    make_analyzer: MakeAnalyzer,
    secret: Secret,
    stop: Stop,
    open_face: Callable[[web.Application, AsyncExitStack], Awaitable[str]],
    announce: Callable[[str], None],
    *,
    registry: Registry | None = None,
    cores: float = 0.0,
) -> None:
    """One media node's life, however it is reached.

    Args:
        open_face: serves the node's HTTP face until the stack is left; returns its URL.
        announce: told that URL once calls are taken.
        registry: where the node announces itself.
        cores: that the node may use; 0 for all of the process.

    Raises:
        VoxgenderError: as :func:`serve_media`.
    """
    node_id = new_node_id()
    async with AsyncExitStack() as stack:
        node = await make_node(settings, new_session_id=lambda: secret.new_session_id(node_id))
        status = NodeStatus(node, node_id, region=settings.region, cores=cores)
        status.url = await open_face(create_node_app(node, secret, status), stack)
        # Health checks are answered while the model is loaded.
        analyzer = await unless_stopped(stop, lambda: make_analyzer(settings))
        if analyzer is None:
            return
        stack.callback(analyzer.close)
        stack.push_async_callback(node.close)
        settle()
        node.start(analyzer)
        announcer = None
        if registry is not None:
            announcer = Announcer(registry, status)
            stack.push_async_callback(announcer.close)
            await announcer.start()
        announce(status.url)
        logger.info("ready: node %s, model %s", node_id, analyzer.model)
        await stop.asked.wait()
        await drain(node, stop, settings.drain_timeout_s, announcer)
        logger.info("stopping")


async def make_node(settings: Settings, *, new_session_id: Callable[[], str] = random_id) -> MediaNode:
    """A media node as the options want it.

    Raises:
        SettingsError: an option cannot be used.
    """
    return MediaNode(
        ice_addresses=local_addresses(settings.ice_address),
        advertise_addresses=await public_addresses(settings.advertise_address),
        udp_ports=settings.udp_port_range,
        max_sessions=settings.max_sessions,
        max_sessions_per_subject=settings.max_sessions_per_subject,
        connect_timeout_s=settings.connect_timeout_s,
        silence_timeout_s=settings.silence_timeout_s,
        new_session_id=new_session_id,
    )


def new_node_id() -> str:
    """New with each start, so that no session of before is looked for in vain."""
    return secrets.token_hex(6)


async def drain(node: MediaNode, stop: Stop, timeout_s: float, announcer: Announcer | None = None) -> None:
    """Have a node's calls move; until they have, time is up, or the process is to stop at once."""
    if stop.now.is_set():
        return
    node.drain()
    if announcer is not None:
        await announcer.announce()
    if node.live:
        logger.info("draining: %d calls have %g s to move", node.live, timeout_s)
    waiting = [asyncio.create_task(node.drained()), asyncio.create_task(stop.now.wait())]
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def node_url(settings: Settings, port: int) -> str:
    """Where signaling reaches the node: as told, or where it listens.

    Raises:
        SettingsError: the address told is none.
    """
    if settings.node_address:
        if not is_node_url(settings.node_address):
            raise SettingsError("--node-address (VOXGENDER_NODE_ADDRESS) takes http://HOST:PORT or https://HOST:PORT")
        return settings.node_address.rstrip("/")
    host = settings.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = _own_address(settings.registry)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _own_address(registry: str) -> str:
    """This machine's address on the way to the registry; loopback where there is no such way.

    Raises:
        SettingsError: the registry's name is none, so neither is the way there.
    """
    parts = urlsplit(registry)
    if not parts.hostname:
        return "127.0.0.1"
    try:
        family, kind, _, _, address = socket.getaddrinfo(parts.hostname, parts.port or 6379, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            # Of a datagram socket this only looks up the route.
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise SettingsError(
            f"no way to {parts.hostname} ({error.strerror}), so say where signaling reaches this node: --node-address"
        ) from None

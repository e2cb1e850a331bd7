"""Run the role ``media``: one media node, for signaling in another process."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from aiohttp import web

from voxgender.engine import Engine
from voxgender.errors import SettingsError
from voxgender.fleet import redisurl
from voxgender.fleet.announcer import PROMPT_S, Announcer, NodeStatus
from voxgender.fleet.node_api import create_node_app
from voxgender.fleet.registry import Registry
from voxgender.fleet.remote import is_node_url
from voxgender.fleet.secret import Secret
from voxgender.inference.classifier import Classifier
from voxgender.media.localaddresses import local_addresses
from voxgender.media.node import MediaNode, random_id
from voxgender.media.observers import Observer
from voxgender.roles.hosting import Stop, freeze_loaded, listen, listen_for_metrics, load_in_thread
from voxgender.roles.modelswap import ModelSwap
from voxgender.roles.publicaddress import public_addresses
from voxgender.settings import MediaSettings, ModelOptions, NodeSettings, WebhookOptions
from voxgender.webhooks.delivery import Webhooks

logger = logging.getLogger(__name__)

MakeEngine = Callable[[ModelOptions], Engine]
MakeClassifier = Callable[[ModelOptions], Classifier]
ServeApi = Callable[[web.Application, AsyncExitStack], Awaitable[str]]
"""Serves the node's API until the stack is left; returns its URL."""


class Media:
    """Serves one media node to signaling: ``voxgender media``, and each worker of ``serve --workers``.

    Args:
        settings: all options.
        make_engine: loads the model; called in a thread.
        secret: signs requests and answers between signaling and the node.
        serve_api: serves the node's API; None for ``--host`` and ``--port``.
        cores: number of cores that the node may use; 0 for all of the process.
        make_classifier: loads another model while calls go on; called in a thread.
    """

    def __init__(
        self,
        settings: MediaSettings,
        make_engine: MakeEngine,
        secret: Secret,
        *,
        serve_api: ServeApi | None = None,
        cores: float = 0.0,
        make_classifier: MakeClassifier | None = None,
    ) -> None:
        self._settings = settings
        self._make_engine = make_engine
        self._secret = secret
        self._serve_api = serve_api or self._serve_on_port
        self._cores = cores
        self._node: MediaNode
        self._announcer: Announcer | None = None
        self._models = None if make_classifier is None else ModelSwap(settings.model, make_classifier)

    async def start(self, stack: AsyncExitStack) -> str:
        """Serve the node's API and its calls. See :meth:`voxgender.roles.running.Role.start`."""
        settings, secret = self._settings, self._secret
        registry = None
        if settings.fleet.registry:
            # Before anything is loaded, because it refuses a URL that cannot be used.
            registry = Registry(settings.fleet.registry, secret)
            stack.push_async_callback(registry.close)
        node_id = new_node_id()
        webhooks = webhooks_of(settings.webhooks)
        observers = [] if webhooks is None else [webhooks]
        self._node = node = await make_node(
            settings, new_session_id=lambda: secret.new_session_id(node_id), observers=observers
        )
        status = NodeStatus(node, node_id, region=settings.fleet.region, cores=self._cores)
        # If the kernel chooses the port, it is known only now.
        serves_metrics = not settings.metrics.metrics_address
        app = create_node_app(node, secret, status, serves_metrics=serves_metrics)
        status.url = await self._serve_api(app, stack)
        await listen_for_metrics(settings.metrics, stack)
        # Health checks are answered while the model loads.
        engine = await load_in_thread(lambda: self._make_engine(settings.model))
        stack.callback(engine.close)
        if webhooks is not None:
            stack.push_async_callback(webhooks.close)
            await webhooks.start()
        stack.push_async_callback(node.close)
        freeze_loaded()
        node.start(engine)
        if self._models is not None:
            self._models.engine = engine
            stack.push_async_callback(self._models.close)
        if registry is not None:
            self._announcer = Announcer(registry, status)
            stack.push_async_callback(self._announcer.close)
            await self._announcer.start()
        logger.info("ready: node %s, model %s", node_id, engine.model)
        return status.url

    async def drain(self, stop: Stop) -> None:
        """Move the calls to another node."""
        await drain(self._node, stop, self._settings.drain.drain_timeout_s, self._announcer)

    def reload(self) -> None:
        """Load the model again."""
        if self._models is not None:
            self._models.reload_soon()

    async def _serve_on_port(self, app: web.Application, stack: AsyncExitStack) -> str:
        settings = self._settings
        port = await listen(app, stack, host=settings.http.host, port=settings.http.port)
        # The registry's name may have to be looked up, which takes long where the DNS does not answer.
        return await load_in_thread(lambda: node_url(settings, port))


def webhooks_of(options: WebhookOptions) -> Webhooks | None:
    """Make the sender of webhooks; None without a receiver.

    Raises:
        SettingsError: the receiver or a secret cannot be used.
    """
    if not options.webhook:
        if options.webhook_secret:
            raise SettingsError("--webhook-secret (VOXGENDER_WEBHOOK_SECRET) signs nothing without --webhook")
        return None
    return Webhooks(options)


async def make_node(
    settings: NodeSettings,
    *,
    new_session_id: Callable[[], str] = random_id,
    observers: Sequence[Observer] = (),
    instance: str = "",
) -> MediaNode:
    """Make a media node from the options; :class:`voxgender.media.node.MediaNode` has the arguments.

    Raises:
        SettingsError: an option cannot be used.
    """
    media = settings.media
    return MediaNode(
        ice_addresses=local_addresses(media.ice_address),
        advertise_addresses=await public_addresses(media.advertise_address),
        udp_ports=media.udp_port_range,
        no_udp=media.no_udp,
        max_sessions=media.max_sessions,
        max_sessions_per_subject=settings.subjects.max_sessions_per_subject,
        connect_timeout_s=media.connect_timeout_s,
        silence_timeout_s=media.silence_timeout_s,
        new_session_id=new_session_id,
        observers=observers,
        instance=instance,
    )


def new_node_id() -> str:
    """Return a random id. A node that starts again gets another one: its old sessions are gone."""
    return secrets.token_hex(6)


async def drain(node: MediaNode, stop: Stop, timeout_s: float, announcer: Announcer | None = None) -> None:
    """Ask a node's clients to move, and wait until they have moved, time is up, or the process must stop at once."""
    if stop.now.is_set():
        return
    node.drain()
    if announcer is not None:
        await announcer.announce(within_s=PROMPT_S)
    if node.live:
        logger.info("draining: %d calls have %g s to move", node.live, timeout_s)
    waiting = [asyncio.create_task(node.drained()), asyncio.create_task(stop.now.wait())]
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def node_url(settings: MediaSettings, port: int) -> str:
    """Return the URL by which signaling reaches the node: ``--node-address``, or the one that it listens on.

    Raises:
        SettingsError: ``--node-address`` is no URL of a node.
    """
    if told := settings.node.node_address:
        if not is_node_url(told):
            raise SettingsError("--node-address (VOXGENDER_NODE_ADDRESS) takes http://HOST:PORT or https://HOST:PORT")
        return told.rstrip("/")
    host = settings.http.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = _own_address(settings.fleet.registry)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _own_address(registry: str) -> str:
    """Return this machine's address on the route to the registry, or 127.0.0.1 if no registry is set.

    Raises:
        SettingsError: the registry's host does not resolve, or there is no route to it.
    """
    host, port = ("", 0) if not registry else (redisurl.parse(registry).host, redisurl.parse(registry).port)
    if not host:
        return "127.0.0.1"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            # On a datagram socket this only looks up the route.
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise SettingsError(
            f"no way to {host} ({error.strerror}), so say where signaling reaches this node: --node-address"
        ) from None

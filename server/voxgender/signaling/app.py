"""The HTTP application: what is served where."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from voxgender.settings import Settings
from voxgender.signaling.auth import Bearer
from voxgender.signaling.cors import add_cors_headers, cors_middleware
from voxgender.signaling.events import Events
from voxgender.signaling.health import Health, own_metrics
from voxgender.signaling.iceservers import IceServers
from voxgender.signaling.node import Node
from voxgender.signaling.pages import Pages
from voxgender.signaling.problems import problem_middleware
from voxgender.signaling.sessions import Sessions
from voxgender.signaling.whip import Whip

MAX_BODY = 256 * 1024
"""Bytes; a browser's offer is about 6 kB."""


def create_app(
    settings: Settings, node: Node, *, metrics: Callable[[], Awaitable[bytes]] = own_metrics
) -> web.Application:
    """Make the application in front of a media node, or of many behind one face.

    Args:
        metrics: what ``/metrics`` shows.

    Raises:
        SettingsError: an ICE server, an origin or what tokens are checked by is not of the form that is wanted.
    """
    bearer = Bearer(settings)
    ice_servers = IceServers(settings.ice_server, turn_secret=settings.turn_secret, turn_ttl_s=settings.turn_ttl_s)
    app = web.Application(
        client_max_size=MAX_BODY, middlewares=[cors_middleware(settings.allow_origin), problem_middleware]
    )
    app.on_response_prepare.append(add_cors_headers)
    app.on_response_prepare.append(_secure)
    app.on_cleanup.append(bearer.close)
    app.add_routes(Whip(node, bearer, ice_servers).routes())
    app.add_routes(Sessions(node).routes())
    app.add_routes(Events(node).routes())
    app.add_routes(Health(node.check_ready, metrics).routes())
    app.add_routes(Pages(node, bearer).routes())
    return app


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")

"""Put the HTTP application together: routes, middlewares, headers of every response."""

from typing import NamedTuple

from aiohttp import web

from voxgender.http.auth import Authenticator
from voxgender.http.calls import Calls
from voxgender.http.cors import add_cors_headers, cors_middleware
from voxgender.http.events import Events
from voxgender.http.eventstream import KEEPALIVE_S
from voxgender.http.follow import MAX_FOLLOWED_BY_ONE, Follow
from voxgender.http.gateways import MAX_UNSTARTED, Gateways
from voxgender.http.health import Health, Metrics, MetricsText, own_metrics
from voxgender.http.iceservers import IceServers
from voxgender.http.listen import Listen, Streams
from voxgender.http.mediastream import START_S
from voxgender.http.models import ModelResource, Models
from voxgender.http.operators import Operators
from voxgender.http.pages import Pages
from voxgender.http.problems import problem_middleware
from voxgender.http.proxies import Proxies
from voxgender.http.rates import Rates
from voxgender.http.sessions import Sessions
from voxgender.http.tickets import Tickets, seal_of
from voxgender.http.websocket import WebSocketTimes
from voxgender.http.whip import Whip
from voxgender.settings import FrontSettings

MAX_BODY = 128 * 1024
"""Bytes of a request's body. A browser's offer has about 6 kB, and 6 kB more with each line of video."""


class ClientLimits(NamedTuple):
    """Bound what clients are given of the server, beside what its options say."""

    keepalive_s: float = KEEPALIVE_S
    """Time between comments on a silent event stream."""
    websocket: WebSocketTimes = WebSocketTimes()
    gateway_start_s: float = START_S
    """Time for a phone gateway's stream to start."""
    unstarted_gateways: int = MAX_UNSTARTED
    followed_by_one: int = MAX_FOLLOWED_BY_ONE
    """Names and subjects that the holders of one subject's tokens follow at a time."""


def create_app(
    settings: FrontSettings,
    calls: Calls,
    *,
    metrics: MetricsText = own_metrics,
    models: Models | None = None,
    calls_are_here: bool = True,
    limits: ClientLimits = ClientLimits(),  # noqa: B008 - it cannot change
) -> web.Application:
    """Make the application in front of a media node, or of a router to many.

    Args:
        settings: options of the server.
        calls: opens, finds and ends calls.
        metrics: returns the text of ``/metrics``, which is served if it has no address of its own.
        models: swaps the model; None if it is not this process that runs one.
        calls_are_here: whether each instance holds its own calls; the router of a fleet finds those of all nodes.
        limits: what clients are given beside that.

    Raises:
        SettingsError: an ICE server, an origin, a proxy, a secret or a key set is malformed.
    """
    authenticator = Authenticator(settings.auth)
    turn = settings.ice_servers
    ice_servers = IceServers(turn.ice_server, turn_secret=turn.turn_secret, turn_ttl_s=turn.turn_ttl_s)
    proxies = Proxies(settings.proxies)
    rates = Rates(settings.rates, proxies)
    app = web.Application(
        client_max_size=MAX_BODY,
        middlewares=[cors_middleware(settings.origins.allow_origin), problem_middleware, rates.middleware],
    )
    app.on_response_prepare.append(add_cors_headers)
    app.on_response_prepare.append(_secure)
    app.on_cleanup.append(authenticator.close)
    app.add_routes(Whip(calls, authenticator, rates, ice_servers, proxies).routes())
    streams = Streams(proxies, limits.websocket)
    app.on_shutdown.append(streams.shut_down)
    tickets = Tickets(calls, rates, seal_of(settings.auth) if calls_are_here else None)
    gateways = Gateways(
        calls,
        tickets,
        authenticator,
        rates,
        streams,
        start_s=limits.gateway_start_s,
        max_unstarted=limits.unstarted_gateways,
    )
    app.add_routes(gateways.routes())
    app.add_routes(Listen(calls, tickets, authenticator, rates, streams, proxies).routes())
    app.add_routes(Sessions(calls).routes())
    app.add_routes(Events(calls, keepalive_s=limits.keepalive_s).routes())
    follow = Follow(
        calls,
        authenticator,
        rates,
        keepalive_s=limits.keepalive_s,
        max_followed_by_one=limits.followed_by_one,
    )
    app.on_shutdown.append(follow.shut_down)
    app.add_routes(follow.routes())
    app.add_routes(Health(calls.check_ready).routes())
    if not settings.metrics.metrics_address:
        app.add_routes(Metrics(metrics).routes())
    app.add_routes(Pages(calls, authenticator).routes())
    app.add_routes(Operators(calls, authenticator).routes())
    if models is not None:
        app.add_routes(ModelResource(models, authenticator).routes())
    return app


def create_metrics_app(metrics: MetricsText = own_metrics) -> web.Application:
    """Make an application that serves ``/metrics`` alone, for an address of its own."""
    app = web.Application(middlewares=[problem_middleware])
    app.on_response_prepare.append(_secure)
    app.add_routes(Metrics(metrics).routes())
    return app


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")

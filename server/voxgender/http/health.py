"""Answer health checks and Prometheus, for signaling and media nodes alike."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

MetricsText = Callable[[], Awaitable[bytes]]


async def own_metrics() -> bytes:
    """Return this process's metrics as Prometheus text."""
    return generate_latest()


class Health:
    """``/health/…``.

    Args:
        check_ready: raises ``NotReady`` while no calls are taken.
    """

    def __init__(self, check_ready: Callable[[], None]) -> None:
        self._check_ready = check_ready

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/health/live", self.live), web.get("/health/ready", self.ready)]

    async def live(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(self, _: web.Request) -> web.Response:
        self._check_ready()
        return web.json_response({"status": "ready"})


class Metrics:
    """``/metrics``.

    Args:
        read: returns its text.
    """

    def __init__(self, read: MetricsText = own_metrics) -> None:
        self._read = read

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/metrics", self.metrics)]

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=await self._read(), headers={"Content-Type": CONTENT_TYPE_LATEST})

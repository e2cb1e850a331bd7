"""Answer health checks and Prometheus, for signaling and media nodes alike."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


async def own_metrics() -> bytes:
    """Return this process's metrics as Prometheus text."""
    return generate_latest()


class Health:
    """``/health/…`` and ``/metrics``.

    Args:
        check_ready: raises ``NotReady`` while no calls are taken.
        metrics: returns the text of ``/metrics``.
    """

    def __init__(self, check_ready: Callable[[], None], metrics: Callable[[], Awaitable[bytes]] = own_metrics) -> None:
        self._check_ready = check_ready
        self._metrics = metrics

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health/live", self.live),
            web.get("/health/ready", self.ready),
            web.get("/metrics", self.metrics),
        ]

    async def live(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def ready(self, _: web.Request) -> web.Response:
        self._check_ready()
        return web.json_response({"status": "ready"})

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=await self._metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

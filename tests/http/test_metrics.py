"""Metrics at the server's address, or at one of their own."""

from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession

from tests.options import given
from tests.redisserver import a_free_port
from tests.rtc import LOOPBACK, a_server
from voxgender.engine import Engine
from voxgender.errors import SettingsError, VoxgenderError
from voxgender.fleet.announcer import NodeStatus
from voxgender.fleet.node_api import create_node_app
from voxgender.fleet.secret import Secret
from voxgender.media.node import MediaNode
from voxgender.roles.hosting import listen_for_metrics
from voxgender.settings import FrontSettings, MetricsOptions


async def test_metrics_with_an_address_of_their_own_are_served_nowhere_else(engine: Engine) -> None:
    port = a_free_port()
    settings = given(FrontSettings, metrics_address=f"{LOOPBACK}:{port}")
    async with a_server(engine, settings=settings) as server, AsyncExitStack() as stack, ClientSession() as http:
        await listen_for_metrics(settings.metrics, stack)
        async with http.get(f"http://{LOOPBACK}:{port}/metrics") as response:
            assert response.status == 200
            assert "voxgender_sessions " in await response.text()
        async with server.http.get("/metrics") as response:
            assert response.status == 404
        for path in ("/", "/whip/x", "/sessions", "/health/live"):
            async with http.get(f"http://{LOOPBACK}:{port}{path}") as response:
                assert response.status == 404
                assert response.content_type == "application/problem+json"
    node = MediaNode()
    app = create_node_app(node, Secret("s"), NodeStatus(node, "0" * 12), serves_metrics=False)
    assert "/metrics" not in {resource.canonical for resource in app.router.resources()}


async def test_an_address_that_is_taken_is_said_with_its_option(engine: Engine) -> None:
    async with a_server(engine) as server, AsyncExitStack() as stack:
        taken = MetricsOptions(metrics_address=server.url.removeprefix("http://"))
        with pytest.raises(VoxgenderError, match="--metrics-address"):
            await listen_for_metrics(taken, stack)


@pytest.mark.parametrize(
    ("text", "wanted"), [("127.0.0.1:9090", ("127.0.0.1", 9090)), ("[::1]:9090", ("::1", 9090)), ("", None)]
)
def test_an_address_is_host_and_port(text: str, wanted: tuple[str, int] | None) -> None:
    assert MetricsOptions(metrics_address=text).host_and_port == wanted


@pytest.mark.parametrize(
    "text", ["9090", ":9090", "host", "host:", "host:http", "host:70000", "host:-1", "host:" + "9" * 5_000]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^--metrics-address"):
        MetricsOptions(metrics_address=text)

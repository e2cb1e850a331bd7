"""The page, the modules, health and metrics."""

import pytest

from tests.rtc import SDP, Server, ToneTrack, a_peer
from voxgender.http.pages import client_files


async def test_the_page_and_its_modules_are_served(server: Server) -> None:
    async with server.http.get("/") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        page = await response.text()
    assert 'src="client/' in page
    for path in ("index.js", "voxgender-client.js", "voxgender-voice.js", "page.js"):
        async with server.http.get(f"/client/{path}") as response:
            assert response.status == 200
            assert response.content_type in ("text/javascript", "application/javascript")
    async with server.http.get("/client/call.html") as response:
        assert response.status == 200


def test_library_and_site_have_no_name_in_common() -> None:
    """They are served under one path."""
    library, site = ({path.name for path in (client_files() / part).iterdir()} for part in ("src", "site"))
    assert library
    assert site
    assert not library & site


@pytest.mark.parametrize(
    "path",
    [
        "/client/../pyproject.toml",
        "/client/%2e%2e/pyproject.toml",
        "/client/nix.js",
        "/client",
        "/client/test",
        "/client/src/index.js",
        "/client/package.json",
        "/client/../package.json",
        "/client/%2e%2e/test/fakes.js",
        "/client/%00.js",
        f"/client/{'x' * 5000}.js",
    ],
)
async def test_nothing_outside_the_client_is_served(server: Server, path: str) -> None:
    async with server.http.get(path) as response:
        assert response.status in (403, 404)
        assert (await response.json())["code"]


async def test_health_follows_the_server(server: Server) -> None:
    for path, status in (("/health/live", 200), ("/health/ready", 200)):
        async with server.http.get(path) as response:
            assert response.status == status
    await server.node.close()
    async with server.http.get("/health/ready") as response:
        assert response.status == 503


async def test_metrics_count_calls_and_refusals_and_name_nobody(server: Server) -> None:
    async with a_peer(ToneTrack()) as peer:
        peer.channels()
        path = await peer.call(server.http)
        async with server.http.post("/whip", data="x", headers=SDP):
            pass
        async with server.http.get("/metrics") as response:
            text = await response.text()
    assert "voxgender_sessions 1.0" in text
    assert 'voxgender_offers_rejected_total{code="malformed_sdp"}' in text
    assert "process_cpu_seconds_total" in text
    assert path.rpartition("/")[2] not in text

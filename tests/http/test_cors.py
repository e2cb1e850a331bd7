"""Pages of other origins: which may call, and what their browsers are told."""

import pytest

from tests.options import given
from tests.rtc import SDP, Server, a_server
from voxgender.engine import Engine
from voxgender.errors import SettingsError
from voxgender.http.cors import cors_middleware
from voxgender.settings import FrontSettings

LISTED = given(FrontSettings, allow_origin=("https://calls.example.org", "http://localhost:3000"), token="open sesame")


async def test_pages_of_other_origins_may_call(server: Server) -> None:
    origin = {"Origin": "https://calls.example.org"}
    async with server.http.options("/whip", headers=origin | {"Access-Control-Request-Method": "POST"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    async with server.http.post("/whip", data="x", headers=SDP | origin) as response:
        assert response.status == 400
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Location" in response.headers["Access-Control-Expose-Headers"]


async def test_an_allow_list_keeps_other_origins_out(engine: Engine) -> None:
    async with a_server(engine, settings=LISTED) as server:
        for origin, allowed in (("https://calls.example.org", True), ("https://evil.example", False)):
            async with server.http.options("/whip", headers={"Origin": origin}) as response:
                assert response.status == 204
                assert ("Access-Control-Allow-Methods" in response.headers) is allowed
                assert ("Access-Control-Allow-Origin" in response.headers) is allowed
                assert response.headers.get("Access-Control-Allow-Origin", origin) == origin


@pytest.mark.parametrize("origin", ["https://calls.example.org", "https://evil.example", None])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("OPTIONS", "/whip", 204),
        ("POST", "/whip", 401),
        ("GET", "/whip/nowhere", 404),
        ("GET", "/client/index.js", 200),
    ],
)
async def test_what_an_allow_list_answers_varies_with_the_origin_whoever_asks(
    engine: Engine, method: str, path: str, status: int, origin: str | None
) -> None:
    """A cache must not show one origin the answer that it kept of another one's, allowed or refused."""
    headers = {} if origin is None else {"Origin": origin}
    async with (
        a_server(engine, settings=LISTED) as server,
        server.http.request(method, path, headers=headers) as response,
    ):
        assert response.status == status
        assert response.headers["Vary"] == "Origin"


async def test_where_all_may_call_nothing_varies(server: Server) -> None:
    async with server.http.get("/health/live", headers={"Origin": "https://any.example"}) as response:
        assert "Vary" not in response.headers


async def test_a_preflight_needs_no_token(engine: Engine) -> None:
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "DELETE"}
    async with a_server(engine, settings=LISTED) as server:
        for path in ("/whip", "/whip/any"):
            async with server.http.options(path, headers=asked) as response:
                assert response.status == 204
                assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"


async def test_origins_are_taken_as_people_write_them(engine: Engine) -> None:
    settings = given(FrontSettings, allow_origin=("HTTPS://Calls.Example.org/",))
    async with (
        a_server(engine, settings=settings) as server,
        server.http.get("/health/live", headers={"Origin": "https://calls.example.org"}) as response,
    ):
        assert response.headers["Access-Control-Allow-Origin"] == "https://calls.example.org"


@pytest.mark.parametrize(
    "origin",
    ["calls.example.org", "https://calls.example.org/page", "https://*.example.org", "https://u@h", "null", ""],
)
def test_what_no_browser_would_send_as_its_origin_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match="--allow-origin"):
        cors_middleware([origin])

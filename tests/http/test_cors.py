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


async def test_headers_that_a_pages_monitoring_adds_are_let_through(engine: Engine) -> None:
    """Sentry and OpenTelemetry add headers to every fetch of a page: the preflight was refused."""
    asked = "content-type,traceparent,tracestate,baggage,sentry-trace,x-datadog-trace-id,X-Request-Id"
    headers = {"Origin": "https://calls.example.org", "Access-Control-Request-Headers": asked}
    for settings in (None, LISTED):
        async with a_server(engine, settings=settings or FrontSettings()) as server:
            for path, method in (("/whip", "POST"), ("/whip/x", "PATCH"), ("/whip/x/events", "GET")):
                request = headers | {"Access-Control-Request-Method": method}
                async with server.http.options(path, headers=request) as response:
                    assert response.status == 204
                    assert method in response.headers["Access-Control-Allow-Methods"]
                    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
                    assert set(asked.lower().split(",")) <= set(allowed)
                    assert {"authorization", "if-match", "last-event-id"} <= set(allowed)
                    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "name",
    ["X-Forwarded-For", "x-forwarded-prefix", "Forwarded", "X-Real-IP", "True-Client-IP", "a b", "a\tb", "x" * 65, ""],
)
async def test_headers_by_which_proxies_speak_and_such_as_are_none_are_not(server: Server, name: str) -> None:
    headers = {"Origin": "https://calls.example.org", "Access-Control-Request-Headers": f"traceparent, {name}"}
    async with server.http.options("/whip", headers=headers) as response:
        assert response.status == 204
        allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert "traceparent" in allowed
    assert name.lower() not in allowed


async def test_an_origin_that_may_not_call_is_told_of_no_header(engine: Engine) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Headers": "traceparent"}
    async with a_server(engine, settings=LISTED) as server, server.http.options("/whip", headers=headers) as response:
        assert "Access-Control-Allow-Headers" not in response.headers

"""Bearer tokens on what needs one, and none on what does not."""

import pytest

from tests.rtc import SDP, ToneTrack, a_peer, a_server
from voxgender.analysis import Analyzer
from voxgender.settings import Settings

LOCKED = Settings(token="open sesame")


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic open sesame", "open sesame", "Bearer öpen", "Bearer \udcff\udcfe"],
)
async def test_a_call_needs_the_token(analyzer: Analyzer, authorization: str | None) -> None:
    headers = SDP | ({} if authorization is None else {"Authorization": authorization})
    async with a_server(analyzer, settings=LOCKED) as server:
        for method, path in (("POST", "/whip"), ("GET", "/sessions")):
            async with server.http.request(method, path, data="v=0", headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                body = await response.json()
                assert body["code"] == "unauthorized"
                assert "sesame" not in str(body)


async def test_with_the_token_a_call_is_placed_and_its_url_alone_ends_it(analyzer: Analyzer) -> None:
    """Some WHIP clients send no Authorization on DELETE."""
    shown = {"Authorization": "bearer open sesame"}
    async with a_server(analyzer, settings=LOCKED) as server, a_peer(ToneTrack()) as peer:
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP | shown) as response:
            assert response.status == 201
            location = response.headers["Location"]
        async with server.http.get("/sessions", headers=shown) as response:
            (session,) = (await response.json())["sessions"]
            assert session["session"] not in ("", location.rpartition("/")[2])
        async with server.http.delete(location) as response:
            assert response.status == 200


async def test_health_and_the_page_need_no_token(analyzer: Analyzer) -> None:
    async with a_server(analyzer, settings=LOCKED) as server:
        for path in ("/", "/health/live", "/health/ready", "/client/index.html"):
            async with server.http.get(path) as response:
                assert response.status == 200, path

"""Bearer tokens on what needs one, and none on what does not."""

import logging
from pathlib import Path

import pytest
from aiohttp import web

from tests.http.signing import SECRET, Signer, by_secret, key_set
from tests.options import given
from tests.rtc import SDP, Server, ToneTrack, a_peer, a_server
from voxgender.engine import Engine
from voxgender.errors import SettingsError
from voxgender.http.app import create_app
from voxgender.media.node import MediaNode
from voxgender.settings import FrontSettings

LOCKED = given(FrontSettings, token="open sesame")
BY_TOKEN = given(FrontSettings, jwt_secret=SECRET)


def shown(token: str) -> dict[str, str]:
    return SDP | {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic open sesame", "open sesame", "Bearer öpen", "Bearer \udcff\udcfe"],
)
@pytest.mark.parametrize("settings", [LOCKED, BY_TOKEN], ids=["shared", "own"])
async def test_a_call_needs_the_token(engine: Engine, settings: FrontSettings, authorization: str | None) -> None:
    headers = SDP | ({} if authorization is None else {"Authorization": authorization})
    async with a_server(engine, settings=settings) as server:
        for method, path in (("POST", "/whip"), ("GET", "/sessions")):
            async with server.http.request(method, path, data="v=0", headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"].startswith('Bearer realm="voxgender"')
                body = await response.json()
                assert body["code"] == "unauthorized"
                assert "sesame" not in str(body)


async def test_with_the_token_a_call_is_placed_and_its_url_alone_ends_it(engine: Engine) -> None:
    """Some WHIP clients send no Authorization on DELETE."""
    headers = {"Authorization": "bearer open sesame"}
    async with a_server(engine, settings=LOCKED) as server, a_peer(ToneTrack()) as peer:
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP | headers) as response:
            assert response.status == 201
            location = response.headers["Location"]
        async with server.http.get("/sessions", headers=headers) as response:
            (session,) = (await response.json())["sessions"]
            assert session["session"] not in ("", location.rpartition("/")[2])
        async with server.http.delete(location) as response:
            assert response.status == 200


async def test_health_and_the_page_need_no_token(engine: Engine) -> None:
    async with a_server(engine, settings=LOCKED) as server:
        for path in ("/", "/health/live", "/health/ready", "/client/index.html"):
            async with server.http.get(path) as response:
                assert response.status == 200, path


async def test_only_a_token_that_was_tried_gets_an_error_in_the_challenge(engine: Engine) -> None:
    """RFC 6750 section 3.1."""
    async with a_server(engine, settings=BY_TOKEN) as server:
        async with server.http.post("/whip", data="v=0", headers=SDP) as response:
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="voxgender"'
        async with server.http.post("/whip", data="v=0", headers=shown(by_secret(aud="billing"))) as response:
            assert response.headers["WWW-Authenticate"] == (
                'Bearer realm="voxgender", error="invalid_token", '
                'error_description="The token is meant for another audience."'
            )
            assert (await response.json())["detail"] == "The token is meant for another audience."


async def place(server: Server, token: str) -> tuple[int, str]:
    """Offer a call; the status, and where the session is or what the problem's code is."""
    async with (
        a_peer(ToneTrack()) as peer,
        server.http.post("/whip", data=await peer.offer(), headers=shown(token)) as response,
    ):
        if response.status == 201:
            return 201, response.headers["Location"]
        assert response.status != 429 or int(response.headers["Retry-After"]) > 0
        return response.status, (await response.json())["code"]


async def test_the_shared_token_and_callers_own_are_taken_side_by_side(engine: Engine, tmp_path: Path) -> None:
    signer, path = Signer("EdDSA", "key"), tmp_path / "keys.json"
    path.write_bytes(key_set([signer]))
    settings = given(FrontSettings, token="open sesame", jwt_secret=SECRET, jwt_keys=str(path))
    async with a_server(engine, settings=settings) as server:
        for token in ("open sesame", by_secret(), signer.token()):
            assert (await place(server, token))[0] == 201
        assert (await place(server, "open says me"))[0] == 401


async def test_a_caller_s_own_token_is_no_operator_s(engine: Engine) -> None:
    async with a_server(engine, settings=BY_TOKEN) as server:
        async with server.http.get("/sessions", headers=shown(by_secret())) as response:
            assert response.status == 403
            assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]
            assert (await response.json())["code"] == "insufficient_scope"
        async with server.http.get("/sessions", headers=shown(by_secret(scope="operator"))) as response:
            assert response.status == 200


async def test_a_subject_has_so_many_calls_at_once_and_others_their_own(engine: Engine) -> None:
    async with a_server(engine, settings=BY_TOKEN, max_sessions_per_subject=2) as server:
        placed = [await place(server, by_secret(sub="ann")) for _ in range(2)]
        assert [status for status, _ in placed] == [201, 201]
        assert await place(server, by_secret(sub="ann", jti="another token of hers")) == (429, "too_many_sessions")
        assert (await place(server, by_secret(sub="bob")))[0] == 201
        async with server.http.delete(placed[0][1]) as response:
            assert response.status == 200
        assert (await place(server, by_secret(sub="ann")))[0] == 201


async def test_an_offer_that_is_refused_takes_no_place(engine: Engine) -> None:
    async with a_server(engine, settings=BY_TOKEN, max_sessions_per_subject=1) as server:
        for _ in range(3):
            async with server.http.post("/whip", data="v=0\r\n", headers=shown(by_secret())) as response:
                assert response.status == 422
        assert (await place(server, by_secret()))[0] == 201
        assert len(server.node.places.sessions()) == 1


async def test_keys_that_cannot_be_had_are_the_server_s_trouble_not_the_caller_s(engine: Engine) -> None:
    settings = given(FrontSettings, jwt_keys="http://127.0.0.1:1/jwks.json")
    async with a_server(engine, settings=settings) as server:
        assert await place(server, Signer("ES256", "key").token()) == (503, "keys_unavailable")
        assert (await place(server, by_secret()))[0] == 401
        async with server.http.options("/whip", headers=shown(Signer("ES256", "key").token())) as response:
            assert response.status == 204


async def test_no_token_gets_into_the_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = [
        "open sesame",
        "open says me",
        by_secret(),
        by_secret(exp=1),
        by_secret("another secret, as long as it is"),
    ]
    settings = given(FrontSettings, token="open sesame", jwt_secret=SECRET)
    async with a_server(engine, settings=settings) as server:
        for token in tokens:
            await place(server, token)
    assert caplog.records
    for secret in (*tokens, SECRET):
        assert secret not in caplog.text


def test_options_that_check_nothing_by_themselves_are_refused() -> None:
    with pytest.raises(SettingsError, match="--jwt-issuer"):
        create_app(given(FrontSettings, jwt_issuer="https://id.example.org"), MediaNode())


async def test_cleaning_up_does_not_need_tokens(engine: Engine) -> None:
    for settings in (FrontSettings(), LOCKED, BY_TOKEN):
        runner = web.AppRunner(create_app(settings, MediaNode()))
        await runner.setup()
        await runner.cleanup()

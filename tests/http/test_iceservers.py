"""ICE servers as they are given and as they are told."""

import base64
import hashlib
import hmac
import re
from typing import Any

import pytest

from tests.http.signing import SECRET, by_secret
from tests.options import given
from tests.rtc import SDP, ToneTrack, a_peer, a_server
from voxgender.engine import Engine
from voxgender.errors import SettingsError
from voxgender.http.iceservers import IceServers
from voxgender.settings import FrontSettings

EXPIRING = "turn:turn.example.org:3478?transport=udp"


def links(servers: list[str], **options: Any) -> list[str]:
    return IceServers(servers, **options).links(subject=None)


def login(link: str) -> tuple[str, str]:
    found = re.fullmatch(
        r'<[^>]+>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"; credential-type="password"', link
    )
    assert found, link
    return found[1], found[2]


@pytest.mark.parametrize(
    ("server", "link"),
    [
        ("stun:192.0.2.1", '<stun:192.0.2.1>; rel="ice-server"'),
        ("stun:[2001:db8::1]:3478", '<stun:[2001:db8::1]:3478>; rel="ice-server"'),
        (
            'turns:a:p"\\@turn.example.org:5349?transport=tcp',
            '<turns:turn.example.org:5349?transport=tcp>; rel="ice-server"; username="a"; credential="p\\"\\\\"; '
            'credential-type="password"',
        ),
    ],
)
def test_a_server_becomes_a_link(server: str, link: str) -> None:
    assert links([server]) == [link]


@pytest.mark.parametrize(
    "server",
    [
        *("", "stun", "http://x", "turn:turn.example.org", "stun:a:b@host", "stun:a b", "turn:u:p@h>;x"),
        # Browsers refuse all of a call's servers for one of these.
        *("stun:host:0", "stun:host:65536", f"stun:host:{'9' * 5_000}", "stun:host:\u0661"),
    ],
)
def test_what_is_no_server_is_refused_by_name(server: str) -> None:
    with pytest.raises(SettingsError, match="--ice-server"):
        links([server])


@pytest.mark.parametrize("server", ["stun:ann:hunter2@host", "turn:ann:hunter2@ho st", "http://ann:hunter2@host"])
def test_a_password_is_not_repeated_in_the_error(server: str) -> None:
    with pytest.raises(SettingsError) as caught:
        links([server])
    assert "hunter2" not in str(caught.value)


def test_a_login_that_expires_is_made_as_turn_servers_make_it() -> None:
    """draft-uberti-behave-turn-rest-00 section 2.2, and coturn's use-auth-secret."""
    servers = IceServers([EXPIRING], turn_secret="north", turn_ttl_s=600, clock=lambda: 1_700_000_000.9)
    (link,) = servers.links(subject="ann", session_tag="0c1d")
    username, credential = login(link)
    assert username == "1700000600:ann/0c1d"
    assert base64.b64decode(credential) == hmac.digest(b"north", username.encode(), hashlib.sha1)
    assert link.startswith(f"<{EXPIRING}>; ")


def test_servers_with_a_login_of_their_own_keep_it_beside_those_without() -> None:
    servers = ["stun:stun.example.org", "turn:ann:s3cr3t@old.example.org", EXPIRING]
    stun, static, expiring = IceServers(servers, turn_secret="north").links(subject=None)
    assert "username" not in stun
    assert login(static) == ("ann", "s3cr3t")
    assert re.fullmatch(r"\d+:[0-9a-f]{16}", login(expiring)[0])


def test_callers_without_a_name_are_told_apart() -> None:
    servers = IceServers([EXPIRING], turn_secret="north")
    assert servers.links(subject=None) != servers.links(subject=None)


def test_a_secret_that_nothing_uses_is_refused() -> None:
    for useless in (["stun:stun.example.org"], ["turn:a:b@turn.example.org"], []):
        with pytest.raises(SettingsError, match="--turn-secret"):
            links(useless, turn_secret="north")


async def test_each_caller_gets_a_login_of_its_own_and_none_without_a_token(engine: Engine) -> None:
    settings = given(FrontSettings, ice_server=(EXPIRING,), turn_secret="north", jwt_secret=SECRET)
    shown = {"Authorization": f"Bearer {by_secret(sub='bob')}"}
    async with a_server(engine, settings=settings) as server, a_peer(ToneTrack()) as peer:
        async with server.http.options("/whip") as response:
            assert "Link" not in response.headers
        async with server.http.options("/whip", headers=shown) as response:
            assert ":bob/" in login(response.headers["Link"])[0]
        async with server.http.post("/whip", data=await peer.offer(), headers=SDP | shown) as response:
            username, _ = login(response.headers["Link"])
            session = response.headers["Location"].rpartition("/")[2]
    assert ":bob/" in username
    # TURN servers log user names; a session's id opens the session.
    assert session[:8] not in username

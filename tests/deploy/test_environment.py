"""Whatever a file gives a role to start with, the role takes."""

import re

import pytest

from tests.deploy.artifacts import DEPLOYMENT, Start, starts
from voxgender import settings
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import source_of
from voxgender.http.auth import Authenticator
from voxgender.http.cors import cors_middleware
from voxgender.http.iceservers import IceServers
from voxgender.roles.media import node_url
from voxgender.settings import Settings

STARTS = list(starts())
KNOWN = {settings.PREFIX + name.upper() for name in settings.fields()}


def of(role: str) -> pytest.MarkDecorator:
    chosen = [start for start in STARTS if start.role == role]
    return pytest.mark.parametrize("start", chosen, ids=[start.where for start in chosen])


def test_both_roles_are_started_everywhere() -> None:
    assert [start.role for start in STARTS].count("signaling") >= 4
    assert [start.role for start in STARTS].count("media") >= 4


@pytest.mark.parametrize("start", STARTS, ids=[f"{start.where}-{start.role}" for start in STARTS])
def test_each_variable_is_an_option_of_the_role(start: Start) -> None:
    for variable in start.environment:
        assert variable in KNOWN, variable
        commands = settings.commands(variable.removeprefix(settings.PREFIX).lower())
        assert start.role in (commands or (start.role,)), f"{variable} is none of {start.role}'s"
    Settings.load({}, start.environment)


@of("signaling")
async def test_signaling_starts_with_it(start: Start) -> None:
    loaded = Settings.load({}, start.environment)
    secret = Secret(loaded.secret)
    await source_of(loaded, secret).close()
    cors_middleware(loaded.allow_origin)
    IceServers(loaded.ice_server, turn_secret=loaded.turn_secret, turn_ttl_s=loaded.turn_ttl_s)
    Authenticator(loaded)


@of("media")
def test_media_starts_with_it(start: Start) -> None:
    loaded = Settings.load({}, start.environment)
    assert loaded.secret
    low, high = loaded.udp_port_range or (0, 0)
    assert high - low + 1 >= loaded.max_sessions, "too few ports for so many calls"
    # Above the system's own choice of ports, a range may be taken by anything.
    assert high < 32_768
    assert node_url(loaded, loaded.port) == loaded.node_address
    assert loaded.advertise_address


def test_what_pages_and_files_name_exists() -> None:
    flags = {f"--{name.replace('_', '-')}" for name in settings.fields()}
    for path in DEPLOYMENT.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert set(re.findall(r"VOXGENDER_[A-Z_]*[A-Z]", text)) <= KNOWN, path
            used = re.findall(r"voxgender (?:serve|signaling|media)((?:[^\n|`]|\\\n)*)", text)
            assert {flag for line in used for flag in re.findall(r"(?<!\S)--[a-z][a-z-]+", line)} <= flags, path

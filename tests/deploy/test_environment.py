"""Roles accept the environments that the files of ``docs/deployment`` give them."""

import re

import pytest

from tests.deploy.artifacts import DEPLOYMENT, Start, starts
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import source_of
from voxgender.http.auth import Authenticator
from voxgender.http.cors import cors_middleware
from voxgender.http.iceservers import IceServers
from voxgender.http.proxies import Proxies
from voxgender.options import options_of, read
from voxgender.roles.media import node_url
from voxgender.settings import ROLES, MediaSettings, SignalingSettings

STARTS = list(starts())
VARIABLES = {role: {option.variable for option in options_of(kind)} for role, kind in ROLES.items()}
KNOWN = set().union(*VARIABLES.values())


def of(role: str) -> pytest.MarkDecorator:
    chosen = [start for start in STARTS if start.role == role]
    return pytest.mark.parametrize("start", chosen, ids=[start.where for start in chosen])


def test_both_roles_are_started_everywhere() -> None:
    assert [start.role for start in STARTS].count("signaling") >= 4
    assert [start.role for start in STARTS].count("media") >= 4


@pytest.mark.parametrize("start", STARTS, ids=[f"{start.where}-{start.role}" for start in STARTS])
def test_each_variable_is_an_option_of_the_role(start: Start) -> None:
    for variable in start.environment:
        assert variable in VARIABLES[start.role], f"{variable} is none of {start.role}'s"
    read(ROLES[start.role], {}, start.environment)


@of("signaling")
async def test_signaling_starts_with_it(start: Start) -> None:
    loaded = read(SignalingSettings, {}, start.environment)
    await source_of(loaded.fleet.registry, loaded.node_list.nodes, Secret(loaded.fleet.secret)).close()
    cors_middleware(loaded.origins.allow_origin)
    turn = loaded.ice_servers
    IceServers(turn.ice_server, turn_secret=turn.turn_secret, turn_ttl_s=turn.turn_ttl_s)
    Authenticator(loaded.auth)


@of("signaling")
def test_signaling_behind_a_load_balancer_counts_callers_and_not_the_balancer(start: Start) -> None:
    """Without it all callers of a platform were one client: 429 for everybody after 20 offers a second."""
    trusted = read(SignalingSettings, {}, start.environment).proxies
    Proxies(trusted)
    # A laptop's Docker publishes the port without a proxy.
    assert bool(trusted.trusted_proxy) is ("laptop" not in start.where)


@of("media")
def test_media_starts_with_it(start: Start) -> None:
    loaded = read(MediaSettings, {}, start.environment)
    assert loaded.fleet.secret
    low, high = loaded.media.udp_port_range or (0, 0)
    assert high - low + 1 >= loaded.media.max_sessions, "too few ports for so many calls"
    # Above the system's own choice of ports, a range may be taken by anything.
    assert high < 32_768
    assert node_url(loaded, loaded.http.port) == loaded.node.node_address
    assert loaded.media.advertise_address


def test_what_pages_and_files_name_exists() -> None:
    flags = {option.flag for kind in ROLES.values() for option in options_of(kind)}
    for path in DEPLOYMENT.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert set(re.findall(r"VOXGENDER_[A-Z_]*[A-Z]", text)) <= KNOWN, path
            used = re.findall(r"voxgender (?:serve|signaling|media)((?:[^\n|`]|\\\n)*)", text)
            assert {flag for line in used for flag in re.findall(r"(?<!\S)--[a-z][a-z-]+", line)} <= flags, path

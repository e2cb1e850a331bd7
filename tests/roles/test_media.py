"""A media node says at which address it is reached."""

import socket

import pytest

from tests.options import given
from tests.redisserver import a_redis
from voxgender.errors import SettingsError
from voxgender.roles.media import make_node, node_url
from voxgender.settings import MediaSettings


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"host": "192.0.2.1"}, "http://192.0.2.1:7"),
        ({"host": "2001:db8::1"}, "http://[2001:db8::1]:7"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:7"),
        ({"host": "0.0.0.0", "registry": "redis://127.0.0.1:9/0"}, "http://127.0.0.1:7"),
        ({"host": "0.0.0.0", "node_address": "https://node-1.internal:8443/"}, "https://node-1.internal:8443"),
    ],
)
def test_it_is_where_it_listens_unless_told_otherwise(options: dict[str, str], url: str) -> None:
    assert node_url(given(MediaSettings, **options), 7) == url


@pytest.mark.parametrize("address", ["node-1", "10.0.0.1:80", "ftp://node", "http://node/path"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^--node-address"):
        node_url(given(MediaSettings, node_address=address), 7)


def test_where_there_is_no_way_to_the_registry_the_address_has_to_be_told() -> None:
    with pytest.raises(SettingsError, match="--node-address"):
        node_url(given(MediaSettings, host="::", registry="redis://nowhere.invalid"), 7)


async def test_the_address_on_the_way_to_the_registry_reaches_this_machine() -> None:
    async with a_redis() as redis:
        url = node_url(
            given(MediaSettings, host="0.0.0.0", registry=redis.url.replace("127.0.0.1", "localhost")), redis.port
        )
        with socket.create_connection((url.split("//")[1].rpartition(":")[0].strip("[]"), redis.port), 1):
            pass


async def test_options_reach_the_node() -> None:
    node = await make_node(given(MediaSettings, max_sessions=3, udp_ports="40000-40001"))
    assert node.capacity == 3

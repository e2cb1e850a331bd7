"""Signaling finds nodes in a list, by DNS or in a registry."""

import pytest

from voxgender.errors import SettingsError
from voxgender.fleet.secret import Secret
from voxgender.fleet.sources import RedisNodes, StaticNodes, source_of

SECRET = Secret("shared")


async def test_a_list_may_be_parted_by_commas_or_repeated() -> None:
    for nodes in (("http://a:1,http://b:2/",), ("http://a:1", "http://b:2")):
        source = source_of("", nodes, SECRET)
        assert isinstance(source, StaticNodes)
        assert (await source.read()).urls == ["http://a:1", "http://b:2"]


async def test_names_and_addresses_may_be_mixed_and_each_node_is_listed_once() -> None:
    source = source_of("", ("http://127.0.0.1:5", "dns:127.0.0.1:5", "dns:::1:5"), SECRET)
    assert sorted((await source.read()).urls) == ["http://127.0.0.1:5", "http://[::1]:5"]


async def test_a_registry_is_one() -> None:
    source = source_of("redis://localhost:1", (), SECRET)
    assert isinstance(source, RedisNodes)
    await source.close()


@pytest.mark.parametrize(
    "nodes",
    [
        "ftp://a:1",
        "a:1",
        "dns:a",
        "dns:a:b",
        "dns::1",
        "dns:a:0",
        "http://",
        "http://a/b",
        "http://[a",
        ",",
        "http://a:0",
        "http://a:65536",
        f"http://{64 * 'x'}",
        f"dns:{64 * 'x'}:1",
        "dns:a:²",
    ],
)
def test_what_is_no_address_is_refused(nodes: str) -> None:
    with pytest.raises(SettingsError, match=r"^--nodes"):
        source_of("", (nodes,), SECRET)


@pytest.mark.parametrize(("registry", "nodes"), [("", ()), ("redis://a", ("http://a:1",))])
def test_one_of_both_has_to_be_named(registry: str, nodes: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="one of --registry"):
        source_of(registry, nodes, SECRET)

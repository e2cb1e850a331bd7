"""The metadata server is a real one, on loopback, as ``GCE_METADATA_HOST`` lets it be."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import pytest
from aiohttp import web

from voxgender.errors import SettingsError
from voxgender.roles.publicaddress import public_addresses


def interface(*external: str | None) -> dict[str, object]:
    """Write an interface as the metadata server does: an access config without an address has an empty one."""
    configs = [{"externalIp": address or "", "type": "ONE_TO_ONE_NAT"} for address in external]
    return {"accessConfigs": configs, "ip": "10.128.0.7", "mac": "42:01:0a:80:00:07", "mtu": 1460}


@dataclass
class Metadata:
    """Answers that the server will give, and requests that it got."""

    interfaces: object = field(default_factory=lambda: [interface("203.0.113.7")])
    flavor: str = "Google"
    failures: int = 0
    asked: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.failures:
            self.failures -= 1
            raise web.HTTPServiceUnavailable
        if request.headers.get("Metadata-Flavor") != "Google":
            raise web.HTTPForbidden
        return web.Response(text=json.dumps(self.interfaces), headers={"Metadata-Flavor": self.flavor})


addresses = partial(public_addresses, pauses_s=(0.0, 0.0))


@pytest.fixture
async def metadata(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Metadata]:
    metadata = Metadata()
    app = web.Application()
    app.router.add_get("/computeMetadata/v1/instance/network-interfaces/", metadata.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{runner.addresses[0][1]}")
        yield metadata
    finally:
        await runner.cleanup()


async def test_an_address_is_itself_and_nothing_is_asked(metadata: Metadata) -> None:
    assert await addresses(["198.51.100.1", "2001:db8::1"]) == ("198.51.100.1", "2001:db8::1")
    assert await addresses([]) == ()
    assert not metadata.asked


async def test_gcp_is_the_machines_public_address(metadata: Metadata) -> None:
    assert await addresses(["gcp"]) == ("203.0.113.7",)
    assert metadata.asked[0].query["recursive"] == "true"


async def test_each_interface_counts_and_no_address_twice(metadata: Metadata) -> None:
    metadata.interfaces = [interface("203.0.113.7"), interface(None), interface("203.0.113.8")]
    assert await addresses(["203.0.113.8", "gcp"]) == ("203.0.113.8", "203.0.113.7")


async def test_a_server_that_is_not_up_yet_is_asked_again(metadata: Metadata) -> None:
    metadata.failures = 2
    assert await addresses(["gcp"]) == ("203.0.113.7",)
    assert len(metadata.asked) == 3


async def test_it_is_not_asked_for_ever(metadata: Metadata) -> None:
    metadata.failures = 100
    with pytest.raises(SettingsError, match="no metadata server"):
        await addresses(["gcp"])
    assert len(metadata.asked) == 3


@pytest.mark.parametrize("interfaces", [[], [interface()], [interface(None)], {"not": "a list"}, [7]])
async def test_a_machine_without_a_public_address_is_told_so(metadata: Metadata, interfaces: object) -> None:
    metadata.interfaces = interfaces
    with pytest.raises(SettingsError, match="no public IPv4 address"):
        await addresses(["gcp"])


async def test_something_else_at_that_address_is_not_believed(metadata: Metadata) -> None:
    metadata.flavor = "Captive portal"
    with pytest.raises(SettingsError, match="no metadata server"):
        await addresses(["gcp"])


@pytest.mark.parametrize("value", ["", "this one", "example.org", "203.0.113.7/32"])
async def test_a_value_that_is_no_address_is_refused(value: str) -> None:
    """It used to be told to every peer as a candidate that leads nowhere."""
    with pytest.raises(SettingsError, match=r"^--advertise-address"):
        await addresses([value])


async def test_elsewhere_than_on_google_cloud_it_says_what_to_do(metadata: Metadata, unused_tcp_port: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{unused_tcp_port}")
        with pytest.raises(SettingsError, match="name the address itself"):
            await addresses(["gcp"])

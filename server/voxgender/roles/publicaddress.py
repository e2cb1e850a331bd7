"""Find the public addresses to advertise. On Google Cloud, ask the metadata server for those of the 1:1 NAT."""

import asyncio
import ipaddress
import os
from collections.abc import Iterable, Sequence

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from voxgender import received
from voxgender.errors import SettingsError

GCP = "gcp"
"""The value that stands for "my public IPv4 addresses on Google Cloud". IPv6 needs none: it is on the interface."""

METADATA_HOST = "169.254.169.254"
"""Address of the metadata server. Not a name, because a machine's DNS may not be up yet. ``GCE_METADATA_HOST``
overrides it, as for Google's own client libraries."""

_INTERFACES = "/computeMetadata/v1/instance/network-interfaces/?recursive=true"
# The metadata server sends this header back, which tells it from other servers at this address.
_FLAVOR = {"Metadata-Flavor": "Google"}
_TIMEOUT_S = 3.0
PAUSES_S = (0.2, 1.0, 3.0)
"""Between requests to a metadata server that does not answer yet."""


class _AccessConfig(msgspec.Struct, rename="camel"):
    external_ip: str = ""


class _Interface(msgspec.Struct, rename="camel"):
    access_configs: tuple[_AccessConfig, ...] = ()


async def public_addresses(values: Iterable[str], *, pauses_s: Sequence[float] = PAUSES_S) -> tuple[str, ...]:
    """Return the addresses that ``--advertise-address`` names, :data:`GCP` replaced by the metadata server's.

    Each address is returned once, in the order given. The metadata server is asked only for :data:`GCP`.
    https://cloud.google.com/compute/docs/metadata/overview

    Args:
        values: IP addresses and :data:`GCP`.
        pauses_s: between two requests to a metadata server that does not answer yet.

    Raises:
        SettingsError: a value is not an IP address, or no metadata server answers, or it knows no public address of
            this machine.
    """
    addresses: dict[str, None] = {}
    for value in values:
        if value != GCP and not _is_address(value):
            raise SettingsError(
                f"--advertise-address (VOXGENDER_ADVERTISE_ADDRESS) takes an IP address or {GCP}, not {value!r}"
            )
        addresses.update(dict.fromkeys(await _on_google_cloud(pauses_s) if value == GCP else [value]))
    return tuple(addresses)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


async def _on_google_cloud(pauses_s: Sequence[float]) -> list[str]:
    host = os.environ.get("GCE_METADATA_HOST") or METADATA_HOST
    async with ClientSession(timeout=ClientTimeout(total=_TIMEOUT_S)) as http:
        body = await _fetch(http, f"http://{host}{_INTERFACES}", pauses_s)
    if body is None:
        raise SettingsError(
            f"--advertise-address {GCP} (VOXGENDER_ADVERTISE_ADDRESS): no metadata server of Google Cloud answers at "
            f"{host}; name the address itself"
        )
    try:
        interfaces: list[_Interface] = received.decode(body, list[_Interface])
    except ValueError:
        interfaces = []
    found = [config.external_ip for interface in interfaces for config in interface.access_configs]
    if not any(found):
        raise SettingsError(
            f"--advertise-address {GCP} (VOXGENDER_ADVERTISE_ADDRESS): this machine has no public IPv4 address; give "
            "its network interface an access config, or leave the option out"
        )
    return [address for address in found if address]


async def _fetch(http: ClientSession, url: str, pauses_s: Sequence[float]) -> bytes | None:
    """Return the answer's body, or None. In a machine's first seconds its metadata server may not answer yet."""
    for pause_s in (*pauses_s, None):
        try:
            async with http.get(url, headers=_FLAVOR) as response:
                if response.status == 200 and response.headers.get("Metadata-Flavor") == _FLAVOR["Metadata-Flavor"]:
                    return await response.read()
        except (ClientError, TimeoutError):
            pass
        if pause_s is not None:
            await asyncio.sleep(pause_s)
    return None

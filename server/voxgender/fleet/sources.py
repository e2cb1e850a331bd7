"""Find media nodes: in a registry, in a list, or by a name in the DNS."""

import asyncio
import socket
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from voxgender.errors import SettingsError
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.registry import Registry, RegistryLost
from voxgender.fleet.remote import is_node_url
from voxgender.fleet.secret import Secret
from voxgender.received import whole_number
from voxgender.settings import is_host

_NO_NODE = "--nodes (VOXGENDER_NODES) takes http://HOST:PORT, https://… or dns:HOST:PORT"


class Snapshot(NamedTuple):
    """One reading of a source: records of nodes, and addresses whose nodes have to be asked for their record."""

    records: Sequence[NodeRecord] = ()
    urls: Sequence[str] = ()


class Source(Protocol):
    """Finds media nodes."""

    async def read(self) -> Snapshot:
        """Return the present nodes. Raises ``RegistryLost`` if the source cannot be read."""
        ...

    async def close(self) -> None: ...


class RedisNodes:
    """Finds nodes that announce themselves in Redis."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def read(self) -> Snapshot:
        return Snapshot(records=await self._registry.read())

    async def close(self) -> None:
        await self._registry.close()


class StaticNodes:
    """Finds nodes at given URLs, and at all addresses of DNS names such as a Kubernetes headless service."""

    def __init__(self, urls: Sequence[str], names: Sequence[tuple[str, int]] = ()) -> None:
        self._urls = list(urls)
        self._names = names

    def __contains__(self, url: str) -> bool:
        return url in self._urls

    def add(self, url: str) -> None:
        """Add a node."""
        self._urls.append(url)

    def remove(self, url: str) -> None:
        """Remove a node, if it is listed."""
        if url in self._urls:
            self._urls.remove(url)

    async def read(self) -> Snapshot:
        found = await asyncio.gather(*(_resolve(host, port) for host, port in self._names))
        return Snapshot(urls=list(dict.fromkeys([*self._urls, *(url for urls in found for url in urls)])))

    async def close(self) -> None:
        return


def source_of(registry: str, nodes: Sequence[str], secret: Secret) -> Source:
    """Make the source that ``--registry`` or ``--nodes`` names.

    Raises:
        SettingsError: neither is given, both are, or one cannot be used.
    """
    if bool(registry) == bool(nodes):
        raise SettingsError(
            "signaling takes one of --registry redis://… (VOXGENDER_REGISTRY) and --nodes URL,URL or dns:HOST:PORT "
            "(VOXGENDER_NODES), to know where media nodes are"
        )
    if registry:
        return RedisNodes(Registry(registry, secret))
    urls, names = [], []
    # Commas may separate them on the command line, too.
    for text in (part.strip() for item in nodes for part in item.split(",") if part.strip()):
        scheme, _, rest = text.partition(":")
        host, _, port = rest.rpartition(":")
        if scheme == "dns" and is_host(host) and (number := whole_number(port, 65_535)):
            names.append((host, number))
        elif is_node_url(text):
            urls.append(text.rstrip("/"))
        else:
            raise SettingsError(_NO_NODE)
    if not urls and not names:
        raise SettingsError(_NO_NODE)
    return StaticNodes(urls, names)


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        # A service without pods has no address either; known nodes are then queried directly.
        raise RegistryLost(f"the name {host} cannot be resolved ({error.strerror})") from None
    addresses = sorted({str(address[0]) for *_, address in found})
    return [f"http://{f'[{address}]' if ':' in address else address}:{port}" for address in addresses]

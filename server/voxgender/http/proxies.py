"""Read the headers by which proxies tell whom a request comes from, and under which path they serve this server.

Anybody can send such headers, so only those of named proxies count.
"""

import ipaddress
import re
from collections.abc import Iterable

from aiohttp import web

from voxgender.errors import SettingsError
from voxgender.settings import ProxyOptions

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")
"""Path segments of RFC 3986. None is empty, so that ``//`` cannot lead to another host, and none is a dot segment."""
_MAX_PREFIX = 256


class Proxies:
    """Tells clients' addresses and the path prefix that proxies strip.

    Args:
        options: addresses and networks of proxies, and the prefix if it is configured.

    Raises:
        SettingsError: a proxy is no address, or the prefix no path.
    """

    def __init__(self, options: ProxyOptions = ProxyOptions()) -> None:  # noqa: B008 - it cannot change
        self._trusted = list(_networks(options.trusted_proxy))
        prefix = options.path_prefix.rstrip("/")
        if not _PREFIX.fullmatch(prefix):
            raise SettingsError("--path-prefix (VOXGENDER_PATH_PREFIX) takes a path that begins with /, as /voice")
        self._prefix = prefix

    def client(self, request: web.Request) -> str:
        """Return the address that a request comes from: the nearest one that is no trusted proxy's.

        Empty where it came over no network.
        """
        address = _parsed(request.remote or "")
        if address is None:
            return ""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        for text in reversed(forwarded.split(",")):
            if not self._is_trusted(address):
                break
            further = _parsed(text)
            if further is None:
                # No proxy vouches for the addresses before it.
                break
            address = further
        return str(address)

    def prefix(self, request: web.Request) -> str:
        """Return the path under which clients find this server: ``--path-prefix``, or ``X-Forwarded-Prefix``.

        Each proxy on the way may have stripped a prefix and added it to the header, the first proxy's first.
        """
        if self._prefix:
            return self._prefix
        address = _parsed(request.remote or "")
        if address is None or not self._is_trusted(address):
            return ""
        told = [part.strip() for part in ",".join(request.headers.getall("X-Forwarded-Prefix", ())).split(",")]
        prefix = "".join(part.rstrip("/") for part in told)
        return prefix if len(prefix) <= _MAX_PREFIX and _PREFIX.fullmatch(prefix) else ""

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _networks(trusted: Iterable[str]) -> Iterable[Network]:
    for text in trusted:
        try:
            yield ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise SettingsError(
                "--trusted-proxy (VOXGENDER_TRUSTED_PROXY) takes IP addresses and networks, as 10.0.0.0/8"
            ) from None


def _parsed(text: str) -> Address | None:
    """Read an address as proxies write it: with a port or in brackets, too."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address

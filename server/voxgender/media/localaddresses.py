"""Find this machine's addresses by address, by network, or by the name of an interface."""

import ipaddress
import socket
from collections.abc import Iterator, Sequence

import ifaddr

from voxgender.errors import SettingsError


def local_addresses(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the machine's addresses that match, each once, in the order of ``wanted``.

    Args:
        wanted: IP addresses, networks (``10.0.0.0/8``) and interfaces (``eth0``). A link-local address
            has to be named itself: it leads nowhere without a scope.

    Raises:
        SettingsError: one of them matches no address; the message lists those of this machine.
    """
    here = list(_interfaces())
    found: dict[str, None] = {}
    for one in wanted:
        meant = [one] if _is_ours(one) else [address for name, address in here if one == name or _within(address, one)]
        if not meant:
            there_is = ", ".join(f"{address} ({name})" for name, address in here)
            raise SettingsError(f"--ice-address {one}: no address, network or interface of this machine ({there_is})")
        found |= dict.fromkeys(meant)
    return tuple(found)


def default_addresses() -> tuple[str, ...]:
    """Return the addresses that are offered where none is named: all but loopback."""
    return tuple(address for _, address in _interfaces() if not ipaddress.ip_address(address).is_loopback)


def _interfaces() -> Iterator[tuple[str, str]]:
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            if not ipaddress.ip_address(address).is_link_local:
                yield adapter.nice_name, address


def _is_ours(address: str) -> bool:
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return False
    try:
        with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False

"""Which local addresses are meant: by address, by network, by the name of an interface."""

import ipaddress
import socket
from collections.abc import Iterator, Sequence

import ifaddr

from voxgender.errors import SettingsError


def local_addresses(wanted: Sequence[str]) -> tuple[str, ...]:
    """The machine's addresses that are meant, each once, in the order in which they were asked for.

    Args:
        wanted: IP addresses, networks (``10.0.0.0/8``) and interfaces (``eth0``). Link-local addresses are meant only
            where they are named: they lead nowhere without a scope.

    Raises:
        SettingsError: one of them is nothing of this machine's; the message says what there is.
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

"""Check the addresses that callers are told: local ones, public ones, and those that a STUN server sees."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from aioice import stun, turn

from voxgender.doctor.finding import Finding, failed, ok, warning
from voxgender.http.iceservers import IceServer

_TIMEOUT_S = 5.0
_PORTS = {"stun": 3478, "turn": 3478, "stuns": 5349, "turns": 5349}


def candidates(local: Sequence[str], advertised: Sequence[str]) -> Finding:
    """Check that callers are told an address that they can reach."""
    check = "addresses"
    told = advertised or local
    if not told:
        return failed(check, "this machine has no address but loopback", "look at its network, or give --ice-address")
    listed = ", ".join(told)
    if any(ipaddress.ip_address(address).is_global for address in told):
        return ok(check, f"callers are told {listed}")
    return warning(
        check,
        f"callers are told {listed}, which nobody on the internet reaches",
        "for callers elsewhere give the public address with --advertise-address, or a TURN server",
    )


async def seen_by_stun(server: IceServer, local: Sequence[str], advertised: Sequence[str]) -> AsyncIterator[Finding]:
    """Ask a STUN server from which address this machine's datagrams come."""
    check = f"STUN {server.host}"
    addresses = [address for address in local if ":" not in address]
    for address in addresses:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                seen, _ = await _reflexive(address, server.host, server.port or _PORTS["stun"])
        except (OSError, TimeoutError, stun.TransactionError):
            yield warning(
                check, f"it does not answer {address}", "outgoing UDP may be blocked, or the server's name be wrong"
            )
            continue
        if seen == address or seen in advertised:
            yield ok(check, f"it sees {address} as {seen}, as callers are told")
        else:
            yield warning(
                check, f"it sees {address} as {seen}, which callers are not told", f"--advertise-address {seen}"
            )


async def turn_login(server: IceServer, username: str, credential: str) -> Finding:
    """Allocate a relay with a login as callers get it, and give it back."""
    check = f"TURN {server.uri}"
    tls = server.scheme == "turns"
    transport = "tcp" if tls or server.transport == "tcp" else "udp"
    context = ssl.create_default_context() if tls else None
    address = (server.host, server.port or _PORTS[server.scheme])
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            relay, _ = await turn.create_turn_endpoint(
                asyncio.DatagramProtocol, address, username, credential, ssl=context, transport=transport
            )
    except stun.TransactionFailed as error:
        return failed(
            check,
            f"it refuses the login ({error.response.attributes.get('ERROR-CODE', ('', ''))[0]})",
            "--turn-secret has to be its static-auth-secret, or USER:PASSWORD a user of it; compare the clocks, too",
        )
    except ssl.SSLError as error:
        return failed(check, f"its certificate is not trusted ({error.reason})", "renew it, or name it as it says")
    except (OSError, TimeoutError, stun.TransactionError):
        return failed(check, "it does not answer", "look at its address, its firewall, and whether it runs")
    relayed = relay.get_extra_info("sockname")
    # Nobody waits for the answer to the last request of the relay.
    relay.close()
    await asyncio.sleep(0)
    return ok(check, f"it takes the login and relays at {relayed[0]}")


class _Asking(asyncio.DatagramProtocol):
    """Sends one STUN request until its answer comes."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        with suppress(ValueError):
            message = stun.parse_message(data)
            mapped = message.attributes.get("XOR-MAPPED-ADDRESS") or message.attributes.get("MAPPED-ADDRESS")
            if mapped and not self.answer.done():
                self.answer.set_result(mapped)


async def _reflexive(address: str, host: str, port: int) -> tuple[str, int]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, family=socket.AF_INET)
    there = str(found[0][4][0])
    transport, asking = await loop.create_datagram_endpoint(_Asking, local_addr=(address, 0), remote_addr=(there, port))
    try:
        request = bytes(stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST))
        while True:
            transport.sendto(request)
            done, _ = await asyncio.wait((asking.answer,), timeout=0.5)
            if done:
                return asking.answer.result()
    finally:
        transport.close()

"""Parse the values of single attributes, each checked and bounded."""

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

from voxgender.received import whole_number
from voxgender.sdp.sections import Malformed, quoted

MAX_CANDIDATES = 100
"""Candidates of a call that are tried, from its offer and all its fragments (RFC 8445 section 6.1.2.5)."""
MAX_FINGERPRINTS = 8
"""Certificate fingerprints of a line; the rest are ignored."""

MID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:mid"
"""Header extension that names a packet's media line (RFC 9143 section 15)."""
HEADER_EXTENSIONS = (MID_EXTENSION, "urn:ietf:params:rtp-hdrext:ssrc-audio-level")
"""RTP header extensions that are accepted (RFC 8285)."""

_HASH_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_HASH = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")


class Candidate(NamedTuple):
    """A UDP candidate with an address that can be sent to (RFC 8839 section 5.1), of component 1."""

    foundation: str
    priority: int
    address: str
    port: int
    kind: str
    """``host``, ``srflx``, ``prflx`` or ``relay``."""


class HeaderExtension(NamedTuple):
    """An RTP header extension (RFC 8285) of :data:`HEADER_EXTENSIONS`."""

    id: int
    uri: str


def parse_fingerprint(value: str) -> str | None:
    """Parse a certificate's hash (RFC 8122 section 5); None for an unknown hash function."""
    function, _, digest = value.partition(" ")
    function, digest = function.lower(), digest.strip()
    if function not in _HASH_BYTES:
        return None
    if len(digest) != 3 * _HASH_BYTES[function] - 1 or not _HASH.fullmatch(digest):
        size = _HASH_BYTES[function]
        raise Malformed(f"An a=fingerprint line of {function} has {size} bytes in hexadecimal, with colons between.")
    return f"{function} {digest.upper()}"


def parse_header_extensions(values: list[str]) -> tuple[HeaderExtension, ...]:
    found: dict[str, HeaderExtension] = {}
    for value in values:
        number, _, rest = value.partition(" ")
        uri = rest.partition(" ")[0]
        if uri in HEADER_EXTENSIONS and (extension_id := whole_number(number.partition("/")[0], 255)):
            found.setdefault(uri, HeaderExtension(extension_id, uri))
    return tuple(found.values())


def parse_candidates(values: Sequence[str]) -> tuple[Candidate, ...]:
    """Parse the candidates that can be tried, out of the first ``MAX_CANDIDATES``."""
    return tuple(found for found in map(parse_candidate, values[:MAX_CANDIDATES]) if found is not None)


def parse_candidate(value: str) -> Candidate | None:
    """Parse a candidate (RFC 8839 section 5.1); None for one that cannot work here.

    TCP, other components than RTP's, and names cannot work: nothing is looked up, neither by DNS nor by mDNS. The peer
    is found all the same, by the address that its checks come from (RFC 8445 section 7.3.1.3).
    """
    parts = value.split(maxsplit=8)
    if len(parts) < 8 or parts[2].lower() != "udp":
        return None
    foundation, component, _, priority_text, address, port_text, _, kind = parts[:8]
    priority, port = whole_number(priority_text, 2**32 - 1), whole_number(port_text, 65_535)
    if priority is None or port is None or whole_number(component, 256) is None:
        raise Malformed(f"This is not an ICE candidate: {quoted(value)}.")
    if component != "1" or port == 0 or kind not in ("host", "srflx", "prflx", "relay"):
        return None
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and (ip.scope_id is not None or ip.ipv4_mapped is not None):
        return None
    if ip.is_multicast or ip.is_unspecified or address == "255.255.255.255":
        return None
    return Candidate(foundation[:32], priority, str(ip), port, kind)

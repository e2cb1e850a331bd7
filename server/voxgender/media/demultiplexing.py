"""Tell the protocols apart that share a call's UDP socket (RFC 7983), and the calls that STUN requests are for."""

from struct import Struct

_STUN = Struct("!HHI12x")
_ATTRIBUTE = Struct("!HH")
STUN_HEADER_SIZE = _STUN.size


def is_media(data: bytes) -> bool:
    """Tell SRTP and SRTCP from STUN and DTLS (RFC 7983 section 7)."""
    return len(data) > 1 and 127 < data[0] < 192


def requested_ufrag(data: bytes) -> str:
    """Return the user name fragment that a STUN binding request is meant for; empty for other messages (RFC 8489)."""
    if len(data) < STUN_HEADER_SIZE:
        return ""
    kind, length, cookie = _STUN.unpack_from(data)
    if kind != 0x0001 or cookie != 0x2112A442 or len(data) != STUN_HEADER_SIZE + length:
        return ""
    position = STUN_HEADER_SIZE
    while position + _ATTRIBUTE.size <= len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, position)
        position += _ATTRIBUTE.size
        if kind == 0x0006:  # USERNAME
            return data[position : position + length].partition(b":")[0].decode("ascii", "replace")
        position += length + -length % 4
    return ""

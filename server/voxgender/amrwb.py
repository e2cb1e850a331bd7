"""Read and write RTP payloads of AMR-WB (RFC 4867): speech in frames of 20 ms.

A frame here is as in a file (section 5.3): an octet with its type, then its speech bits.
"""

from collections.abc import Sequence

FRAME_S = 0.02
MAX_FRAMES = 100
"""Frames of a payload, of all channels. One without data takes an octet, so that few bytes could last for long."""
MAX_FRAME_BYTES = 61
"""Bytes of a frame at 23.85 kbit/s."""
NO_DATA = b"\x7c"
"""The frame that stands for nothing: it was not sent, as in a pause."""

_SPEECH_BITS = {0: 132, 1: 177, 2: 253, 3: 285, 4: 317, 5: 365, 6: 397, 7: 461, 8: 477, 9: 40, 14: 0, 15: 0}
"""Bits of a frame by its type: nine modes, comfort noise, a lost frame and none (3GPP TS 26.201)."""
_MODES = range(9)


def frames(payload: bytes) -> list[bytes]:
    """Return a payload's frames, of several channels in turn; none if it is no payload of AMR-WB.

    Whether the payload is octet-aligned is told in SDP, which gateways do not hand on, so it is told from the
    payload's length. Interleaving, robust sorting and checksums (section 4.4) are not taken.
    """
    return _octet_aligned(payload) or _bandwidth_efficient(payload)


def payload(parts: Sequence[bytes]) -> bytes:
    """Return the octet-aligned payload of frames (section 4.4); each may be padded at its end."""
    types = [part[0] & 0x7C for part in parts]
    contents = [0xF0, *(kind | 0x80 for kind in types[:-1]), types[-1]]
    return bytes(contents) + b"".join([part[1 : 1 + _speech_bytes(part[0] >> 3 & 15)] for part in parts])


def is_speech(frame: bytes) -> bool:
    """Tell whether a frame has sound: neither comfort noise nor nothing."""
    return frame[0] >> 3 & 15 in _MODES


def _speech_bytes(kind: int) -> int:
    return (_SPEECH_BITS[kind] + 7) // 8


def _octet_aligned(payload: bytes) -> list[bytes]:
    """Section 4.4: a mode request, an octet a frame, and the frames, each from an octet on."""
    entries: list[int] = []
    for octet in payload[1 : 1 + MAX_FRAMES]:
        entries.append(octet)
        if octet < 0x80:
            break
    kinds = [entry >> 3 & 15 for entry in entries]
    if not entries or entries[-1] >= 0x80 or not _SPEECH_BITS.keys() >= set(kinds):
        return []
    at = 1 + len(entries)
    if payload[0] & 15 or any(entry & 3 for entry in entries) or len(payload) != at + sum(map(_speech_bytes, kinds)):
        return []
    found = []
    for entry, kind in zip(entries, kinds, strict=True):
        found.append(bytes((entry & 0x7C,)) + payload[at : at + _speech_bytes(kind)])
        at += _speech_bytes(kind)
    return found


def _bandwidth_efficient(payload: bytes) -> list[bytes]:
    """Section 4.3: the same without padding between the parts."""
    bits, left = int.from_bytes(payload), 8 * len(payload) - 4
    entries: list[int] = []
    while left >= 6 and len(entries) < MAX_FRAMES:
        left -= 6
        entries.append(bits >> left & 63)
        if entries[-1] < 32:
            break
    kinds = [entry >> 1 & 15 for entry in entries]
    if not entries or entries[-1] >= 32 or not _SPEECH_BITS.keys() >= set(kinds):
        return []
    padding = left - sum(_SPEECH_BITS[kind] for kind in kinds)
    if not 0 <= padding < 8 or bits & (1 << padding) - 1:
        return []
    found = []
    for entry, kind in zip(entries, kinds, strict=True):
        count, size = _SPEECH_BITS[kind], _speech_bytes(kind)
        left -= count
        speech = (bits >> left & (1 << count) - 1) << 8 * size - count
        found.append(bytes((entry << 2 & 0x7C,)) + speech.to_bytes(size))
    return found

"""Find the codecs of an audio line that can be decoded here."""

import re
from typing import NamedTuple

from voxgender.errors import SdpRejected
from voxgender.sdp.medialines import MediaLine
from voxgender.sdp.sections import Malformed, quoted

MAX_CODECS = 8
"""Known codecs of a media line that are taken, the first ones: each gets a decoder."""

STATIC_CODECS = {0: "PCMU", 8: "PCMA", 9: "G722"}
"""Payload types that need no ``a=rtpmap`` line (RFC 3551 section 6)."""
CLOCK_RATES_HZ = {"OPUS": 48_000, "PCMU": 8_000, "PCMA": 8_000, "G722": 8_000}
"""The codecs that can be decoded here, and the rate of their RTP clocks as SDP gives it."""

_RTPMAP = re.compile(r"([0-9]{1,3})\s+([\w.-]{1,64})/([0-9]{1,10})(?:/([0-9]{1,3}))?", re.ASCII)


class Codec(NamedTuple):
    """An audio codec that can be decoded here."""

    payload_type: int
    name: str
    """In upper case."""


def known_codecs(audio: MediaLine) -> tuple[Codec, ...]:
    """Return the codecs of a line that are known here, in its order of preference.

    Raises:
        Malformed: one of its ``a=rtpmap`` lines cannot be read.
    """
    named: dict[int, tuple[str, int]] = {number: (name, CLOCK_RATES_HZ[name]) for number, name in STATIC_CODECS.items()}
    for attribute, value in audio.attributes:
        if attribute != "rtpmap":
            continue
        match = _RTPMAP.match(value)
        if match is None:
            raise Malformed(f"This is no a=rtpmap line: {quoted(value)}. It needs a number and NAME/RATE.")
        name, channels = match[2].upper(), int(match[4] or 1)
        # Opus is said to have two channels, whatever it has (RFC 7587 section 7); G.711 and G.722 are decoded in one.
        named[int(match[1])] = name, int(match[3]) if channels == 1 or name == "OPUS" else 0
    codecs = []
    for number in map(int, audio.formats):
        name, rate_hz = named.get(number, ("", 0))
        # Numbers from 96 on are free for all, those below belong to one codec each (RFC 3551 section 6).
        is_free = number >= 96 or STATIC_CODECS.get(number) == name
        if is_free and CLOCK_RATES_HZ.get(name) == rate_hz:
            codecs.append(Codec(number, name))
    return tuple(codecs[:MAX_CODECS])


def needed_codecs(audio: MediaLine) -> tuple[Codec, ...]:
    """Return the codecs of the line whose audio is received. See :func:`known_codecs`.

    Raises:
        Malformed
        SdpRejected: it has none.
    """
    codecs = known_codecs(audio)
    if not codecs:
        raise SdpRejected(
            "None of the offer's audio codecs is known here: offer Opus, G.722, PCMU or PCMA.", code="no_audio"
        )
    return codecs

"""Parse the media lines of an offer, and group them as they share a transport."""

import re
from collections.abc import Container
from dataclasses import dataclass

from voxgender.received import whole_number
from voxgender.sdp.sections import DIRECTIONS, Malformed, Section, quoted

MAX_MID = 64
"""Characters of a media line's name (RFC 5888). Those of browsers have one or two."""
PAYLOAD_TYPES = 128
"""Number of RTP payload types (RFC 3550 section 5.1: 7 bits)."""
MIN_MESSAGE_SIZE = 1200
"""Bytes that data channels have to carry in one message: as many as the longest of ours has."""

_PAYLOAD_TYPES = frozenset(map(str, range(PAYLOAD_TYPES)))
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class DataChannels:
    """The media line of the data channels (RFC 8841)."""

    sctp_port: int
    max_message_size: int
    """Bytes; 0 for no limit."""
    is_legacy: bool
    """Written as ``DTLS/SCTP 5000``, as browsers did before 2018."""


@dataclass(frozen=True)
class MediaLine:
    """A media line of an offer, as far as its answer has to repeat it."""

    kind: str
    protocol: str
    formats: tuple[str, ...]
    mid: str | None
    is_rejected: bool
    """Port 0 refuses a line, but for ``a=bundle-only`` (RFC 8843 section 6)."""
    attributes: tuple[tuple[str, str], ...]
    """Name and value of the ``rtpmap`` and ``fmtp`` attributes of its formats, one of each kind a format."""


def parse_media_line(section: Section) -> MediaLine:
    """Parse an ``m=`` line with its attributes. Raises :class:`Malformed`."""
    parts = section.media.split()
    if len(parts) < 4 or not section.media.isascii():
        raise Malformed(
            f"This is no media line: {quoted('m=' + section.media)}. It needs kind, port, protocol, format."
        )
    kind, port, protocol, *formats = parts
    port_number = whole_number(port.partition("/")[0], 65_535)
    if port_number is None:
        raise Malformed(f"The port of a media line is a number from 0 to 65535, not {quoted(port)}.")
    if len(formats) > PAYLOAD_TYPES:
        raise Malformed(f"A media line has more than {PAYLOAD_TYPES} formats: there are not so many payload types.")
    unique = dict.fromkeys(formats)
    if (kind == "audio" or "RTP/" in protocol) and not _PAYLOAD_TYPES.issuperset(formats):
        wrong = next(number for number in formats if number not in _PAYLOAD_TYPES)
        raise Malformed(f"An RTP payload type is a number from 0 to 127, not {quoted(wrong)}.")
    mid = section.first("mid")
    if mid is not None and (len(mid) > MAX_MID or not _TOKEN.fullmatch(mid)):
        raise Malformed(f"An a=mid line names its media line by 1 to {MAX_MID} characters without a space.")
    return MediaLine(
        kind=kind,
        protocol=protocol,
        formats=tuple(unique),
        mid=mid,
        is_rejected=port_number == 0 and not section.has("bundle-only"),
        attributes=_format_attributes(unique, section),
    )


def _format_attributes(formats: Container[str], section: Section) -> tuple[tuple[str, str], ...]:
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for name in ("rtpmap", "fmtp"):
        for value in section.all(name):
            number = value.partition(" ")[0]
            if number in formats:
                found.setdefault((name, number), (name, value))
    return tuple(found.values())


def direction_of(section: Section, session: Section) -> str:
    """Return the line's own direction, else the session's, else ``sendrecv`` (RFC 8866 section 6.7)."""
    for owner in (section, session):
        for name in owner.attributes:
            if name in DIRECTIONS:
                return name
    return "sendrecv"


def bundle_of(audio: MediaLine, session: Section, lines: tuple[MediaLine, ...]) -> tuple[str, ...]:
    """Return the names of the lines that share the audio's bundle (RFC 8843), its own included."""
    named: set[str] = set()
    for line in lines:
        if line.mid is not None:
            if line.mid in named:
                raise Malformed(f"Two media lines have the same name: a=mid:{line.mid}.")
            named.add(line.mid)
    usable = {line.mid for line in lines if not line.is_rejected}
    for value in session.all("group"):
        semantics, _, mids = value.partition(" ")
        if semantics == "BUNDLE" and audio.mid in (names := dict.fromkeys(mids.split())):
            return tuple(name for name in names if name in usable)
    return ()


def parse_data_channels(line: MediaLine, section: Section) -> DataChannels:
    """Parse the line of the data channels. Raises :class:`Malformed`."""
    is_legacy = line.protocol == "DTLS/SCTP"
    port = line.formats[0] if is_legacy else section.first("sctp-port") or "5000"
    size = section.first("max-message-size") or "65536"
    sctp_port, max_message_size = whole_number(port.strip(), 65_535), whole_number(size.strip(), 2**32)
    if not sctp_port:
        raise Malformed(f"An SCTP port is a number from 1 to 65535, not {quoted(port)}.")
    if max_message_size is None or 0 < max_message_size < MIN_MESSAGE_SIZE:
        raise Malformed(
            f"An a=max-message-size line holds a number of bytes of at least {MIN_MESSAGE_SIZE}, not {quoted(size)}."
        )
    return DataChannels(sctp_port, max_message_size, is_legacy)

"""Split the text of an SDP (RFC 8866) into sections, in one pass over its lines."""

import re
from typing import NamedTuple

MAX_LINES = 4096
"""Lines of one text. A browser's offer of audio, video and data has about 200."""
MAX_LINE = 4096
"""Characters of one line. The longest that browsers send are some hundred."""
MAX_MEDIA_LINES = 256
"""Media lines (``m=``) of one offer."""
MAX_NAME = 64
"""Characters of a voice's name; the rest of a longer one is left out."""

SENDING = ("sendrecv", "sendonly")
DIRECTIONS = (*SENDING, "recvonly", "inactive")
_ATTRIBUTES = frozenset(
    (
        *DIRECTIONS,
        "bundle-only",
        "candidate",
        "extmap",
        "fingerprint",
        "fmtp",
        "group",
        "ice-lite",
        "ice-pwd",
        "ice-ufrag",
        "max-message-size",
        "mid",
        "msid",
        "rtcp-mux",
        "rtcp-mux-only",
        "rtpmap",
        "sctp-port",
        "setup",
        "ssrc",
    )
)
"""Attributes that are parsed; all others are ignored."""

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\U0010ffff]")
_ORIGIN = re.compile(r"\S+ ([0-9]{1,20}) ([0-9]{1,20}) ")


class Malformed(Exception):
    """A text cannot be parsed; the message is a sentence for its sender."""


class Origin(NamedTuple):
    """The origin of an offer, by which the offers of one session are put in their order (RFC 8866 section 5.2)."""

    session: str
    """The same in all offers of a session."""
    version: int
    """Greater in each later offer that differs from the one before (RFC 3264 section 8)."""


class Section:
    """A section of an SDP, the session's or a media line's: its known attributes, in order."""

    __slots__ = ("attributes", "media", "origin", "title")

    def __init__(self, media: str = "") -> None:
        self.media = media
        self.title = ""
        self.origin: Origin | None = None
        self.attributes: dict[str, list[str]] = {}

    def has(self, name: str) -> bool:
        return name in self.attributes

    def all(self, name: str) -> list[str]:
        return self.attributes.get(name, [])

    def first(self, name: str) -> str | None:
        values = self.attributes.get(name)
        return values[0] if values else None


def split(text: str) -> tuple[Section, list[Section]]:
    """Split a text into the session section and the media sections.

    Raises:
        Malformed: it is no SDP, or is too long.
    """
    session = section = Section()
    sections: list[Section] = []
    lines = lines_of(text)
    if not lines or not lines[0].startswith("v=0"):
        raise Malformed("This is not SDP: an offer begins with v=0.")
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            if name in _ATTRIBUTES:
                section.attributes.setdefault(name, []).append(value)
        elif line.startswith("m="):
            if len(sections) == MAX_MEDIA_LINES:
                raise Malformed(f"The offer has more than {MAX_MEDIA_LINES} media lines: offer the audio alone.")
            section = Section(line[2:])
            sections.append(section)
        elif line.startswith("i=") and sections:
            section.title = line[2:].strip()[:MAX_NAME].rstrip()
        elif line.startswith("o=") and (origin := _ORIGIN.match(line, 2)):
            session.origin = Origin(origin[1], int(origin[2]))
    return session, sections


def lines_of(text: str) -> list[str]:
    """Return the lines of a text that are not blank.

    Raises:
        Malformed: it is too long, or holds characters that no SDP has.
    """
    if text.count("\n") > MAX_LINES or text.count("\r") > MAX_LINES:
        raise Malformed(f"The SDP has more than {MAX_LINES} lines: offer the audio alone.")
    forbidden = _FORBIDDEN.search(text)
    if forbidden is not None:
        raise Malformed(f"The SDP holds a control character (U+{ord(forbidden[0]):04X}), which no SDP has.")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_LINES + 1:
        raise Malformed(f"The SDP has more than {MAX_LINES} lines: offer the audio alone.")
    if max(map(len, lines)) > MAX_LINE:
        raise Malformed(f"A line of the SDP has more than {MAX_LINE} characters.")
    return [line for raw in lines if (line := raw.strip())]


def quoted(text: str) -> str:
    """Return the beginning of a text as it may stand in a message."""
    return ascii(text[:40])

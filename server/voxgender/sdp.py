"""Read the SDP of clients (RFC 8866): offers, and the fragments that trickle candidates (RFC 8840).

A text is read line by line in one pass. Only what a call needs is kept, each value checked and each list bounded, so
that the cost of a text grows with its length alone, and so that no library behind this module ever sees a word of a
client's own. Signaling and media nodes share this module: it knows neither WebRTC nor HTTP.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from voxgender.errors import SdpRejected

MAX_LINES = 4096
"""Lines of one text. A browser's offer of audio, video and data has about 200."""
MAX_LINE = 4096
"""Characters of one line. The longest that browsers send are some hundred."""
MAX_MEDIA_LINES = 256
"""Media lines (``m=``) of one offer."""
MAX_CANDIDATES = 100
"""Candidates of a call that are tried, from its offer and all its fragments (RFC 8445 section 6.1.2.5)."""
MAX_CODECS = 8
"""Known codecs of a media line that are taken, the first ones: each gets a decoder."""
MAX_VOICES = 8
"""Audio lines of one offer that send: each is a voice of its own, and costs as much as a call."""
MAX_NAME = 64
"""Characters of a voice's name; the rest of a longer one is left out."""
MAX_SSRCS = 8
"""SSRCs of one audio line that its offer may name; the rest are ignored."""
MAX_FINGERPRINTS = 8
"""Certificate fingerprints of a line; the rest are ignored."""
MAX_MID = 64
"""Characters of a media line's name (RFC 5888). Those of browsers have one or two."""
MIN_MESSAGE_SIZE = 1200
"""Bytes that data channels have to carry in one message: as many as the longest of ours has."""
MIN_ROOM_MESSAGE_SIZE = 4096
"""The same of a room, whose ``hello`` holds the names of its voices."""
PAYLOAD_TYPES = 128
"""Number of RTP payload types (RFC 3550 section 5.1: 7 bits)."""

STATIC_CODECS = {0: "PCMU", 8: "PCMA", 9: "G722"}
"""Payload types that need no ``a=rtpmap`` line (RFC 3551 section 6)."""
CLOCK_RATES_HZ = {"OPUS": 48_000, "PCMU": 8_000, "PCMA": 8_000, "G722": 8_000}
"""The codecs that can be decoded here, and the rate of their RTP clocks as SDP gives it."""
MID_EXTENSION = "urn:ietf:params:rtp-hdrext:sdes:mid"
"""Header extension that names a packet's media line (RFC 9143 section 15)."""
HEADER_EXTENSIONS = (MID_EXTENSION, "urn:ietf:params:rtp-hdrext:ssrc-audio-level")
"""RTP header extensions that are accepted (RFC 8285)."""

_SENDING = ("sendrecv", "sendonly")
_DIRECTIONS = (*_SENDING, "recvonly", "inactive")
_HASH_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_ATTRIBUTES = frozenset(
    (
        *_DIRECTIONS,
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

_PAYLOAD_TYPES = frozenset(map(str, range(PAYLOAD_TYPES)))
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\U0010ffff]")
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CREDENTIAL = re.compile(r"[\x21-\x39\x3b-\x7e]+")
_NUMBER = re.compile(r"[0-9]{1,10}")
_ORIGIN = re.compile(r"\S+ ([0-9]{1,20}) ([0-9]{1,20}) ")
_RTPMAP = re.compile(r"([0-9]{1,3})\s+([\w.-]{1,64})/([0-9]{1,10})(?:/([0-9]{1,3}))?", re.ASCII)
_HASH = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*")


class _Malformed(Exception):
    """A text cannot be parsed; the message is a sentence for its sender."""


class Candidate(NamedTuple):
    """A UDP candidate with an address that can be sent to (RFC 8839 section 5.1), of component 1."""

    foundation: str
    priority: int
    address: str
    port: int
    kind: str
    """``host``, ``srflx``, ``prflx`` or ``relay``."""


class Codec(NamedTuple):
    """An audio codec that can be decoded here."""

    payload_type: int
    name: str
    """In upper case."""


class HeaderExtension(NamedTuple):
    """An RTP header extension (RFC 8285) of :data:`HEADER_EXTENSIONS`."""

    id: int
    uri: str


@dataclass(frozen=True)
class Transport:
    """The other end of the one transport that serves a call: ICE and DTLS."""

    ufrag: str
    password: str
    fingerprints: tuple[str, ...]
    """Fingerprint of the certificate, as in SDP: ``sha-256 AB:CD:…``."""
    setup: str
    """``actpass``, ``active`` or ``passive`` (RFC 8842)."""
    ice_lite: bool


@dataclass(frozen=True)
class DataChannels:
    """The media line of the data channels (RFC 8841)."""

    sctp_port: int
    max_message_size: int
    """Bytes; 0 for no limit."""
    is_legacy: bool
    """Written as ``DTLS/SCTP 5000``, as browsers did before 2018."""


class Origin(NamedTuple):
    """The origin of an offer, by which the offers of one session are put in their order (RFC 8866 section 5.2)."""

    session: str
    """The same in all offers of a session."""
    version: int
    """Greater in each later offer that differs from the one before (RFC 3264 section 8)."""


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


@dataclass(frozen=True)
class VoiceLine:
    """An audio line that sends: a voice of its own, where the offer has several."""

    index: int
    """Index of its media line in the offer."""
    mid: str
    """Name of its media line; empty in an offer without names."""
    name: str | None
    """Name for people: the line's title (``i=``, RFC 8866 section 5.4), else its stream's (``a=msid``, RFC 8830)."""
    codecs: tuple[Codec, ...]
    """Codecs that are known here, in the offer's order of preference."""
    header_extensions: tuple[HeaderExtension, ...]
    ssrcs: tuple[int, ...]
    """SSRCs that the line alone names (``a=ssrc``, RFC 5576)."""


@dataclass(frozen=True)
class Offer:
    """An offer that can be answered. :meth:`parse` makes it."""

    lines: tuple[MediaLine, ...]
    audio_index: int
    """Index in ``lines`` of the line whose audio is received: the first that sends."""
    data_index: int | None
    """Index of the line of data channels that share the audio's transport; None without any."""
    bundle: tuple[str, ...]
    """Names of the lines that share the audio's transport, in the offer's order; empty if it has none."""
    transport: Transport
    candidates: tuple[Candidate, ...]
    codecs: tuple[Codec, ...]
    """Codecs of the audio, in the offer's order of preference; at least one."""
    header_extensions: tuple[HeaderExtension, ...]
    direction: str
    """``sendrecv`` or ``sendonly``."""
    data: DataChannels | None
    voices: tuple[VoiceLine, ...]
    """The audio line, and the others that send in its bundle."""
    is_room: bool
    """True if its voices are told apart: there are several, or the only one has a title (``i=``)."""
    origin: Origin | None
    """None without an ``o=`` line that can be read."""

    @classmethod
    def parse(cls, text: str) -> "Offer":
        """Read an SDP offer.

        Raises:
            SdpRejected: it is no SDP offer of WebRTC, is too large, or sends no audio that can be decoded here.
        """
        try:
            session, sections = _split(text)
            return _offer(session, sections)
        except _Malformed as error:
            raise SdpRejected(str(error)) from None

    @property
    def audio(self) -> MediaLine:
        """Media line whose audio is received."""
        return self.lines[self.audio_index]

    @property
    def mid_extension(self) -> int:
        """Id of the header extension that names a packet's media line; 0 without one."""
        ids = (one.id for voice in self.voices for one in voice.header_extensions if one.uri == MID_EXTENSION)
        return next(ids, 0)

    def is_before(self, other: "Offer") -> bool:
        """Return whether it is known that the client made another offer of the same session later."""
        mine, theirs = self.origin, other.origin
        if mine is None or theirs is None:
            return False
        return mine.session == theirs.session and mine.version < theirs.version

    def takes(self, mid: str | None) -> bool:
        """Return whether candidates of the line with this name belong to the call's transport."""
        return mid is None or self.audio.mid is None or mid in (self.bundle or (self.audio.mid,))


@dataclass(frozen=True)
class Fragment:
    """A trickle ICE fragment (RFC 8840 section 9)."""

    ufrags: tuple[tuple[str | None, str], ...]
    """Each with the name (``a=mid``) of its media line; None for those of all lines."""
    candidates: tuple[tuple[str | None, Candidate], ...]
    """Each with the name of its media line."""

    @classmethod
    def parse(cls, text: str) -> "Fragment":
        """Read a fragment.

        Raises:
            SdpRejected: it holds a line that no fragment has, or is too large.
        """
        try:
            return _fragment(text)
        except _Malformed as error:
            raise SdpRejected(str(error)) from None


def is_title(text: str) -> bool:
    """Return whether a voice's line can have this title as it is: it names the voice (``i=``)."""
    return 0 < len(text) <= MAX_NAME and text == text.strip() and text.isprintable()


class _Section:
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


def _offer(session: _Section, sections: list[_Section]) -> Offer:
    lines = tuple(_media_line(section) for section in sections)
    directions = [_direction(section, session) for section in sections]
    audio_index = _choose_audio(lines, directions)
    audio, section = lines[audio_index], sections[audio_index]
    bundle = _bundle_of(audio, session, lines)
    data_index = next(
        (
            index
            for index, line in enumerate(lines)
            if line.kind == "application" and not line.is_rejected and line.mid in bundle
        ),
        None,
    )
    # The first of a group has the transport of all (RFC 8843 section 7.2).
    tagged = next((sections[i] for i, line in enumerate(lines) if bundle and line.mid == bundle[0]), section)
    if not (section.has("rtcp-mux") or section.has("rtcp-mux-only")):
        raise _Malformed("The offer's audio has no a=rtcp-mux line: let RTP and RTCP share a port, as WebRTC does.")
    transport = _transport((tagged, section, session), is_lite=session.has("ice-lite"))
    voices = _voices(lines, sections, directions, audio_index, bundle)
    is_room = bool(audio.mid) and (len(voices) > 1 or bool(section.title))
    data = None if data_index is None else _data_channels(lines[data_index], sections[data_index])
    if is_room:
        _check_room(voices, data)
    return Offer(
        lines=lines,
        audio_index=audio_index,
        data_index=data_index,
        bundle=bundle,
        transport=transport,
        candidates=_candidates((tagged if tagged.has("ice-ufrag") else section).all("candidate")),
        codecs=voices[0].codecs,
        header_extensions=voices[0].header_extensions,
        direction=directions[audio_index],
        data=data,
        voices=voices,
        is_room=is_room,
        origin=session.origin,
    )


def _voices(
    lines: tuple[MediaLine, ...],
    sections: list[_Section],
    directions: list[str],
    audio_index: int,
    bundle: tuple[str, ...],
) -> tuple[VoiceLine, ...]:
    """Return the audio line and the others that send by its transport, of a codec that is known here."""
    sending = [
        index
        for index, line in enumerate(lines)
        if index > audio_index and line.kind == "audio" and not line.is_rejected and line.mid in bundle
        and directions[index] in _SENDING
    ]  # fmt: skip
    if len(sending) >= MAX_VOICES:
        raise SdpRejected(
            f"The offer sends {len(sending) + 1} audio lines, and a call takes {MAX_VOICES} voices: "
            "send the others in a call of their own.",
            code="too_many_voices",
        )
    voices = [_voice(audio_index, lines[audio_index], sections[audio_index], _codecs(lines[audio_index]))]
    voices += [
        _voice(index, lines[index], sections[index], codecs)
        for index in sending
        if (codecs := _known_codecs(lines[index]))
    ]
    # A stream cannot belong to two lines: their packets are told apart by the header extension alone.
    named = Counter(ssrc for voice in voices for ssrc in voice.ssrcs)
    return tuple(
        replace(voice, ssrcs=tuple(ssrc for ssrc in voice.ssrcs if named[ssrc] == 1)) if voice.ssrcs else voice
        for voice in voices
    )


def _voice(index: int, line: MediaLine, section: _Section, codecs: tuple[Codec, ...]) -> VoiceLine:
    stream = (section.first("msid") or "").split(" ", 1)[0]
    ssrcs = dict.fromkeys(value.partition(" ")[0] for value in section.all("ssrc"))
    numbers = [number for text in list(ssrcs)[:MAX_SSRCS] if (number := _number(text, 2**32 - 1)) is not None]
    name = section.title or ("" if stream == "-" else stream[:MAX_NAME])
    return VoiceLine(
        index=index,
        mid=line.mid or "",
        name=name or None,
        codecs=codecs,
        header_extensions=_header_extensions(section.all("extmap")),
        ssrcs=tuple(dict.fromkeys(numbers)),
    )


def _check_room(voices: tuple[VoiceLine, ...], data: DataChannels | None) -> None:
    """Check that the packets of voices can be told apart (RFC 8843 section 9.2), and that their names can be sent."""
    extensions = {one.id for voice in voices for one in voice.header_extensions if one.uri == MID_EXTENSION}
    if len(extensions) > 1:
        raise _Malformed("The audio lines of a bundle give one a=extmap number to each header extension.")
    formats = Counter(codec.payload_type for voice in voices for codec in voice.codecs)
    for voice in voices if len(voices) > 1 else ():
        is_named = any(one.uri == MID_EXTENSION for one in voice.header_extensions)
        if not (is_named or voice.ssrcs or all(formats[codec.payload_type] == 1 for codec in voice.codecs)):
            raise _Malformed(
                "The offer's audio lines cannot be told apart: "
                f"give each a line a=extmap:1 {MID_EXTENSION}, or a=ssrc lines."
            )
    if data is not None and 0 < data.max_message_size < MIN_ROOM_MESSAGE_SIZE:
        raise _Malformed(f"The names of several voices need an a=max-message-size of {MIN_ROOM_MESSAGE_SIZE} bytes.")


def _choose_audio(lines: tuple[MediaLine, ...], directions: list[str]) -> int:
    audio = [index for index, line in enumerate(lines) if line.kind == "audio"]
    if not audio:
        raise SdpRejected(
            "The offer has no audio (no m=audio line): add a microphone track to the connection.", code="no_audio"
        )
    for index in audio:
        if directions[index] in _SENDING and not lines[index].is_rejected:
            return index
    raise SdpRejected(
        "The offer's audio is not sent (recvonly, inactive or port 0): make it sendonly or sendrecv.", code="no_audio"
    )


def _media_line(section: _Section) -> MediaLine:
    parts = section.media.split()
    if len(parts) < 4 or not section.media.isascii():
        raise _Malformed(
            f"This is no media line: {_quoted('m=' + section.media)}. It needs kind, port, protocol, format."
        )
    kind, port, protocol, *formats = parts
    port_number = _number(port.partition("/")[0], 65_535)
    if port_number is None:
        raise _Malformed(f"The port of a media line is a number from 0 to 65535, not {_quoted(port)}.")
    if len(formats) > PAYLOAD_TYPES:
        raise _Malformed(f"A media line has more than {PAYLOAD_TYPES} formats: there are not so many payload types.")
    unique = dict.fromkeys(formats)
    if (kind == "audio" or "RTP/" in protocol) and not _PAYLOAD_TYPES.issuperset(formats):
        wrong = next(number for number in formats if number not in _PAYLOAD_TYPES)
        raise _Malformed(f"An RTP payload type is a number from 0 to 127, not {_quoted(wrong)}.")
    mid = section.first("mid")
    if mid is not None and (len(mid) > MAX_MID or not _TOKEN.fullmatch(mid)):
        raise _Malformed(f"An a=mid line names its media line by 1 to {MAX_MID} characters without a space.")
    return MediaLine(
        kind=kind,
        protocol=protocol,
        formats=tuple(unique),
        mid=mid,
        is_rejected=port_number == 0 and not section.has("bundle-only"),
        attributes=_format_attributes(unique, section),
    )


def _format_attributes(formats: Container[str], section: _Section) -> tuple[tuple[str, str], ...]:
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for name in ("rtpmap", "fmtp"):
        for value in section.all(name):
            number = value.partition(" ")[0]
            if number in formats:
                found.setdefault((name, number), (name, value))
    return tuple(found.values())


def _direction(section: _Section, session: _Section) -> str:
    """Return the line's own direction, else the session's, else ``sendrecv`` (RFC 8866 section 6.7)."""
    for owner in (section, session):
        for name in owner.attributes:
            if name in _DIRECTIONS:
                return name
    return "sendrecv"


def _bundle_of(audio: MediaLine, session: _Section, lines: tuple[MediaLine, ...]) -> tuple[str, ...]:
    """Return the names of the lines that share the audio's bundle (RFC 8843), its own included."""
    named: set[str] = set()
    for line in lines:
        if line.mid is not None:
            if line.mid in named:
                raise _Malformed(f"Two media lines have the same name: a=mid:{line.mid}.")
            named.add(line.mid)
    usable = {line.mid for line in lines if not line.is_rejected}
    for value in session.all("group"):
        semantics, _, mids = value.partition(" ")
        if semantics == "BUNDLE" and audio.mid in (names := dict.fromkeys(mids.split())):
            return tuple(name for name in names if name in usable)
    return ()


def _transport(owners: tuple[_Section, ...], *, is_lite: bool) -> Transport:
    identified = next((owner for owner in owners if owner.has("ice-ufrag")), None)
    if identified is None:
        raise _Malformed("The offer has no a=ice-ufrag line, so it is not a WebRTC offer.")
    ufrag = identified.first("ice-ufrag") or ""
    password = next((value for owner in (identified, *owners) if (value := owner.first("ice-pwd"))), "")
    # RFC 8839 section 5.4, but with a wider alphabet, which some clients use.
    if not (4 <= len(ufrag) <= 256 and _CREDENTIAL.fullmatch(ufrag)):
        raise _Malformed("An a=ice-ufrag line has 4 to 256 letters, digits, + or /.")
    if not (22 <= len(password) <= 256 and _CREDENTIAL.fullmatch(password)):
        raise _Malformed("The offer needs an a=ice-pwd line of 22 to 256 letters, digits, + or /.")
    setup = next((value for owner in owners if (value := owner.first("setup"))), None)
    if setup not in ("actpass", "active", "passive"):
        said = "has no a=setup line" if setup is None else f"says a=setup:{_quoted(setup)}"
        raise _Malformed(f"The offer {said}: say a=setup:actpass, so that DTLS can begin.")
    fingerprints = next((values for owner in owners if (values := owner.all("fingerprint"))), [])
    usable = tuple(f for f in map(_fingerprint, fingerprints[:MAX_FINGERPRINTS]) if f is not None)
    if not usable:
        raise _Malformed("The offer has no a=fingerprint line of sha-256: name the certificate that DTLS will show.")
    return Transport(ufrag, password, usable, setup, is_lite)


def _fingerprint(value: str) -> str | None:
    """Parse a certificate's hash (RFC 8122 section 5); None for an unknown hash function."""
    function, _, digest = value.partition(" ")
    function, digest = function.lower(), digest.strip()
    if function not in _HASH_BYTES:
        return None
    if len(digest) != 3 * _HASH_BYTES[function] - 1 or not _HASH.fullmatch(digest):
        size = _HASH_BYTES[function]
        raise _Malformed(f"An a=fingerprint line of {function} has {size} bytes in hexadecimal, with colons between.")
    return f"{function} {digest.upper()}"


def _codecs(audio: MediaLine) -> tuple[Codec, ...]:
    codecs = _known_codecs(audio)
    if not codecs:
        raise SdpRejected(
            "None of the offer's audio codecs is known here: offer Opus, G.722, PCMU or PCMA.", code="no_audio"
        )
    return codecs


def _known_codecs(audio: MediaLine) -> tuple[Codec, ...]:
    named: dict[int, tuple[str, int]] = {number: (name, CLOCK_RATES_HZ[name]) for number, name in STATIC_CODECS.items()}
    for attribute, value in audio.attributes:
        if attribute != "rtpmap":
            continue
        match = _RTPMAP.match(value)
        if match is None:
            raise _Malformed(f"This is no a=rtpmap line: {_quoted(value)}. It needs a number and NAME/RATE.")
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


def _header_extensions(values: list[str]) -> tuple[HeaderExtension, ...]:
    found: dict[str, HeaderExtension] = {}
    for value in values:
        number, _, rest = value.partition(" ")
        uri = rest.partition(" ")[0]
        if uri in HEADER_EXTENSIONS and (extension_id := _number(number.partition("/")[0], 255)):
            found.setdefault(uri, HeaderExtension(extension_id, uri))
    return tuple(found.values())


def _data_channels(line: MediaLine, section: _Section) -> DataChannels:
    is_legacy = line.protocol == "DTLS/SCTP"
    port = line.formats[0] if is_legacy else section.first("sctp-port") or "5000"
    size = section.first("max-message-size") or "65536"
    sctp_port, max_message_size = _number(port.strip(), 65_535), _number(size.strip(), 2**32)
    if not sctp_port:
        raise _Malformed(f"An SCTP port is a number from 1 to 65535, not {_quoted(port)}.")
    if max_message_size is None or 0 < max_message_size < MIN_MESSAGE_SIZE:
        raise _Malformed(
            f"An a=max-message-size line holds a number of bytes of at least {MIN_MESSAGE_SIZE}, not {_quoted(size)}."
        )
    return DataChannels(sctp_port, max_message_size, is_legacy)


def _candidates(values: Sequence[str]) -> tuple[Candidate, ...]:
    """Parse the candidates that can be tried, out of the first ``MAX_CANDIDATES``."""
    return tuple(found for found in map(_candidate, values[:MAX_CANDIDATES]) if found is not None)


def _candidate(value: str) -> Candidate | None:
    """Parse a candidate (RFC 8839 section 5.1); None for one that cannot work here.

    TCP, other components than RTP's, and names cannot work: nothing is looked up, neither by DNS nor by mDNS. The peer
    is found all the same, by the address that its checks come from (RFC 8445 section 7.3.1.3).
    """
    parts = value.split(maxsplit=8)
    if len(parts) < 8 or parts[2].lower() != "udp":
        return None
    foundation, component, _, priority_text, address, port_text, _, kind = parts[:8]
    priority, port = _number(priority_text, 2**32 - 1), _number(port_text, 65_535)
    if priority is None or port is None or _number(component, 256) is None:
        raise _Malformed(f"This is not an ICE candidate: {_quoted(value)}.")
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


def _fragment(text: str) -> Fragment:
    mid = None
    found: dict[str, list[tuple[str | None, str]]] = {"ice-ufrag": [], "candidate": []}
    in_section: list[tuple[str, str]] = []
    for line in [*_lines(text), "m="]:
        if not re.match(r"[a-z]=", line):
            raise _Malformed(f"This is not an SDP line: {_quoted(line)}.")
        name, _, value = line[2:].partition(":")
        if line.startswith("m="):
            # The name of a line may stand behind its candidates.
            for attribute, said in in_section:
                found[attribute].append((mid, said))
            mid, in_section = None, []
        elif name == "mid":
            mid = value
        elif name in found:
            in_section.append((name, value))
    candidates = ((mid, _candidate(value)) for mid, value in found["candidate"][:MAX_CANDIDATES])
    return Fragment(
        tuple(found["ice-ufrag"]), tuple((mid, candidate) for mid, candidate in candidates if candidate is not None)
    )


def _split(text: str) -> tuple[_Section, list[_Section]]:
    """Split a text into the session section and the media sections."""
    session = section = _Section()
    sections: list[_Section] = []
    lines = _lines(text)
    if not lines or not lines[0].startswith("v=0"):
        raise _Malformed("This is not SDP: an offer begins with v=0.")
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            if name in _ATTRIBUTES:
                section.attributes.setdefault(name, []).append(value)
        elif line.startswith("m="):
            if len(sections) == MAX_MEDIA_LINES:
                raise _Malformed(f"The offer has more than {MAX_MEDIA_LINES} media lines: offer the audio alone.")
            section = _Section(line[2:])
            sections.append(section)
        elif line.startswith("i=") and sections:
            section.title = line[2:].strip()[:MAX_NAME].rstrip()
        elif line.startswith("o=") and (origin := _ORIGIN.match(line, 2)):
            session.origin = Origin(origin[1], int(origin[2]))
    return session, sections


def _lines(text: str) -> list[str]:
    if text.count("\n") > MAX_LINES or text.count("\r") > MAX_LINES:
        raise _Malformed(f"The SDP has more than {MAX_LINES} lines: offer the audio alone.")
    forbidden = _FORBIDDEN.search(text)
    if forbidden is not None:
        raise _Malformed(f"The SDP holds a control character (U+{ord(forbidden[0]):04X}), which no SDP has.")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_LINES + 1:
        raise _Malformed(f"The SDP has more than {MAX_LINES} lines: offer the audio alone.")
    if max(map(len, lines)) > MAX_LINE:
        raise _Malformed(f"A line of the SDP has more than {MAX_LINE} characters.")
    return [line for raw in lines if (line := raw.strip())]


def _number(text: str, most: int) -> int | None:
    """Parse a whole number from 0 to ``most``; None for other texts."""
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if number <= most else None


def _quoted(text: str) -> str:
    return ascii(text[:40])

"""Parse an offer into what a call needs of it."""

import re
from dataclasses import dataclass, replace

from voxgender.errors import SdpRejected
from voxgender.sdp.attributes import (
    MAX_FINGERPRINTS,
    MID_EXTENSION,
    Candidate,
    HeaderExtension,
    parse_candidates,
    parse_fingerprint,
)
from voxgender.sdp.codecs import Codec
from voxgender.sdp.medialines import (
    DataChannels,
    MediaLine,
    bundle_of,
    direction_of,
    parse_data_channels,
    parse_media_line,
)
from voxgender.sdp.sections import SENDING, Malformed, Origin, Section, quoted, split
from voxgender.sdp.voices import VoiceLine, check_room, parse_voices

_CREDENTIAL = re.compile(r"[\x21-\x39\x3b-\x7e]+")


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
            session, sections = split(text)
            return _offer(session, sections)
        except Malformed as error:
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

    def of_room(self) -> "Offer":
        """Return it as a later offer of a room, whose voices are told apart though one is left, without a title."""
        return replace(self, is_room=bool(self.audio.mid))

    def is_before(self, other: "Offer") -> bool:
        """Return whether it is known that the client made another offer of the same session later."""
        mine, theirs = self.origin, other.origin
        if mine is None or theirs is None:
            return False
        return mine.session == theirs.session and mine.version < theirs.version

    def takes(self, mid: str | None) -> bool:
        """Return whether candidates of the line with this name belong to the call's transport."""
        return mid is None or self.audio.mid is None or mid in (self.bundle or (self.audio.mid,))


def _offer(session: Section, sections: list[Section]) -> Offer:
    lines = tuple(parse_media_line(section) for section in sections)
    directions = [direction_of(section, session) for section in sections]
    audio_index = _choose_audio(lines, directions)
    audio, section = lines[audio_index], sections[audio_index]
    bundle = bundle_of(audio, session, lines)
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
        raise Malformed("The offer's audio has no a=rtcp-mux line: let RTP and RTCP share a port, as WebRTC does.")
    transport = _transport((tagged, section, session), is_lite=session.has("ice-lite"))
    voices = parse_voices(lines, sections, directions, audio_index, bundle)
    is_room = bool(audio.mid) and (len(voices) > 1 or bool(section.title))
    data = None if data_index is None else parse_data_channels(lines[data_index], sections[data_index])
    if is_room:
        check_room(voices, data)
    return Offer(
        lines=lines,
        audio_index=audio_index,
        data_index=data_index,
        bundle=bundle,
        transport=transport,
        candidates=parse_candidates((tagged if tagged.has("ice-ufrag") else section).all("candidate")),
        codecs=voices[0].codecs,
        header_extensions=voices[0].header_extensions,
        direction=directions[audio_index],
        data=data,
        voices=voices,
        is_room=is_room,
        origin=session.origin,
    )


def _choose_audio(lines: tuple[MediaLine, ...], directions: list[str]) -> int:
    audio = [index for index, line in enumerate(lines) if line.kind == "audio"]
    if not audio:
        raise SdpRejected(
            "The offer has no audio (no m=audio line): add a microphone track to the connection.", code="no_audio"
        )
    for index in audio:
        if directions[index] in SENDING and not lines[index].is_rejected:
            return index
    raise SdpRejected(
        "The offer's audio is not sent (recvonly, inactive or port 0): make it sendonly or sendrecv.", code="no_audio"
    )


def _transport(owners: tuple[Section, ...], *, is_lite: bool) -> Transport:
    identified = next((owner for owner in owners if owner.has("ice-ufrag")), None)
    if identified is None:
        raise Malformed("The offer has no a=ice-ufrag line, so it is not a WebRTC offer.")
    ufrag = identified.first("ice-ufrag") or ""
    password = next((value for owner in (identified, *owners) if (value := owner.first("ice-pwd"))), "")
    # RFC 8839 section 5.4, but with a wider alphabet, which some clients use.
    if not (4 <= len(ufrag) <= 256 and _CREDENTIAL.fullmatch(ufrag)):
        raise Malformed("An a=ice-ufrag line has 4 to 256 letters, digits, + or /.")
    if not (22 <= len(password) <= 256 and _CREDENTIAL.fullmatch(password)):
        raise Malformed("The offer needs an a=ice-pwd line of 22 to 256 letters, digits, + or /.")
    setup = next((value for owner in owners if (value := owner.first("setup"))), None)
    if setup not in ("actpass", "active", "passive"):
        said = "has no a=setup line" if setup is None else f"says a=setup:{quoted(setup)}"
        raise Malformed(f"The offer {said}: say a=setup:actpass, so that DTLS can begin.")
    fingerprints = next((values for owner in owners if (values := owner.all("fingerprint"))), [])
    usable = tuple(f for f in map(parse_fingerprint, fingerprints[:MAX_FINGERPRINTS]) if f is not None)
    if not usable:
        raise Malformed("The offer has no a=fingerprint line of sha-256: name the certificate that DTLS will show.")
    return Transport(ufrag, password, usable, setup, is_lite)

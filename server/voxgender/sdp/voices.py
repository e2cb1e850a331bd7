"""Parse the audio lines that send: each is a voice, and they have to be told apart."""

from collections import Counter
from dataclasses import dataclass, replace

from voxgender.errors import SdpRejected
from voxgender.received import is_line, whole_number
from voxgender.sdp.attributes import MID_EXTENSION, HeaderExtension, parse_header_extensions
from voxgender.sdp.codecs import Codec, known_codecs, needed_codecs
from voxgender.sdp.medialines import DataChannels, MediaLine
from voxgender.sdp.sections import MAX_NAME, SENDING, Malformed, Section

MAX_VOICES = 8
"""Audio lines of one offer that send: each is a voice of its own, and costs as much as a call."""
MAX_SSRCS = 8
"""SSRCs of one audio line that its offer may name; the rest are ignored."""
MIN_ROOM_MESSAGE_SIZE = 4096
"""Bytes that the data channels of a room have to carry in one message: its ``hello`` holds the names of its voices."""


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


def is_title(text: str) -> bool:
    """Return whether a voice's line can have this title as it is: it names the voice (``i=``)."""
    return 0 < len(text) <= MAX_NAME and text == text.strip() and is_line(text)


def parse_voices(
    lines: tuple[MediaLine, ...],
    sections: list[Section],
    directions: list[str],
    audio_index: int,
    bundle: tuple[str, ...],
) -> tuple[VoiceLine, ...]:
    """Parse the audio line and the others that send by its transport, of a codec that is known here.

    Raises:
        Malformed
        SdpRejected: there are too many, or the audio line has no codec that is known here.
    """
    sending = [
        index
        for index, line in enumerate(lines)
        if index > audio_index and line.kind == "audio" and not line.is_rejected and line.mid in bundle
        and directions[index] in SENDING
    ]  # fmt: skip
    if len(sending) >= MAX_VOICES:
        raise SdpRejected(
            f"The offer sends {len(sending) + 1} audio lines, and a call takes {MAX_VOICES} voices: "
            "send the others in a call of their own.",
            code="too_many_voices",
        )
    voices = [_voice(audio_index, lines[audio_index], sections[audio_index], needed_codecs(lines[audio_index]))]
    voices += [
        _voice(index, lines[index], sections[index], codecs)
        for index in sending
        if (codecs := known_codecs(lines[index]))
    ]
    # A stream cannot belong to two lines: their packets are told apart by the header extension alone.
    named = Counter(ssrc for voice in voices for ssrc in voice.ssrcs)
    return tuple(
        replace(voice, ssrcs=tuple(ssrc for ssrc in voice.ssrcs if named[ssrc] == 1)) if voice.ssrcs else voice
        for voice in voices
    )


def _voice(index: int, line: MediaLine, section: Section, codecs: tuple[Codec, ...]) -> VoiceLine:
    stream = (section.first("msid") or "").split(" ", 1)[0]
    ssrcs = dict.fromkeys(value.partition(" ")[0] for value in section.all("ssrc"))
    numbers = [number for text in list(ssrcs)[:MAX_SSRCS] if (number := whole_number(text, 2**32 - 1)) is not None]
    name = section.title or ("" if stream == "-" else stream[:MAX_NAME])
    return VoiceLine(
        index=index,
        mid=line.mid or "",
        name=name or None,
        codecs=codecs,
        header_extensions=parse_header_extensions(section.all("extmap")),
        ssrcs=tuple(dict.fromkeys(numbers)),
    )


def check_room(voices: tuple[VoiceLine, ...], data: DataChannels | None) -> None:
    """Check that the packets of voices can be told apart (RFC 8843 section 9.2), and that their names can be sent."""
    extensions = {one.id for voice in voices for one in voice.header_extensions if one.uri == MID_EXTENSION}
    if len(extensions) > 1:
        raise Malformed("The audio lines of a bundle give one a=extmap number to each header extension.")
    formats = Counter(codec.payload_type for voice in voices for codec in voice.codecs)
    for voice in voices if len(voices) > 1 else ():
        is_named = any(one.uri == MID_EXTENSION for one in voice.header_extensions)
        if not (is_named or voice.ssrcs or all(formats[codec.payload_type] == 1 for codec in voice.codecs)):
            raise Malformed(
                "The offer's audio lines cannot be told apart: "
                f"give each a line a=extmap:1 {MID_EXTENSION}, or a=ssrc lines."
            )
    if data is not None and 0 < data.max_message_size < MIN_ROOM_MESSAGE_SIZE:
        raise Malformed(f"The names of several voices need an a=max-message-size of {MIN_ROOM_MESSAGE_SIZE} bytes.")

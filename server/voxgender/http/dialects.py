"""Read the messages of phone gateways: JSON with audio in base64 (Twilio, Telnyx), or binary audio (Vonage).

https://www.twilio.com/docs/voice/media-streams/websocket-messages
https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket
https://developer.vonage.com/en/voice/voice-api/concepts/websockets
"""

import binascii
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec

from voxgender.audiostream import DEFAULT_RATE_HZ, MIN_RATE_HZ, Encoding, StreamFormat, parse
from voxgender.errors import StreamEnded, StreamRejected
from voxgender.received import whole_number

_TELNYX: Mapping[str, Encoding] = {
    "PCMU": "mulaw",
    "PCMA": "alaw",
    "G722": "g722",
    "L16": "s16le",
    "AMR-WB": "amrwb",
    "OPUS": "opus",
}
"""Codecs of Telnyx."""
_MAX_RATE_HZ = 48_000
_MAX_NUMBER = 10**15 - 1


class AudioMessage(msgspec.Struct):
    """Audio of one track."""

    payload: str
    """Audio in base64."""
    track: str = "inbound"
    chunk: int | str | None = None
    """Number of the message in its track."""
    timestamp: int | str | None = None
    """Time of its first sample in milliseconds."""

    def audio(self) -> bytes:
        """Return the audio.

        Raises:
            StreamEnded: it is not base64.
        """
        try:
            return b64decode(self.payload, validate=True)
        except (binascii.Error, ValueError):
            raise StreamEnded("malformed", "The payload is not base64.") from None


class Event(msgspec.Struct):
    """A text of any gateway."""

    event: str
    start: dict[str, Any] = {}
    media: AudioMessage | None = None
    content_type: str = msgspec.field(default="", name="content-type")


class StreamStart(msgspec.Struct, frozen=True):
    """The beginning of a media stream, which says what it holds."""

    encoding: Encoding
    rate_hz: int
    tracks: tuple[str, ...]
    """Tracks that are announced; none if the gateway does not say."""
    parameters: dict[str, str]
    is_l16: bool = False
    """True if the samples may be in either byte order."""


class Gateway(ABC):
    """One gateway's dialect."""

    name: str
    starts: str = "start"
    """The event that begins a media stream."""
    is_binary: bool = False
    """True if audio comes in binary messages."""

    @abstractmethod
    def read(self, event: Event) -> StreamStart:
        """Read the event that begins a media stream.

        Raises:
            StreamEnded: it has audio that is not taken.
        """


class Twilio(Gateway):
    """Media Streams of Twilio: µ-law alone, 8 kHz, with tracks announced."""

    name = "twilio"

    def read(self, event: Event) -> StreamStart:
        start = event.start
        encoding = str(_within(start, "mediaFormat").get("encoding", "audio/x-mulaw"))
        if encoding != "audio/x-mulaw":
            raise StreamEnded("unsupported", "Of Twilio's streams audio/x-mulaw is taken.")
        tracks = start.get("tracks")
        names = tuple(map(str, tracks)) if isinstance(tracks, list) else ("inbound",)
        return StreamStart("mulaw", 8_000, names, _texts(_within(start, "customParameters")))


class Telnyx(Gateway):
    """Media Streaming of Telnyx: other codecs too, and tracks that are not announced."""

    name = "telnyx"

    def read(self, event: Event) -> StreamStart:
        start = event.start
        media = _within(start, "media_format")
        codec = str(media.get("encoding", "PCMU")).upper()
        if codec not in _TELNYX:
            raise StreamEnded("unsupported", f"Ask for another stream_codec: {', '.join(_TELNYX)} are taken.")
        encoding = _TELNYX[codec]
        # The clocks of the others are fixed, whatever rate a gateway names.
        is_pcm = encoding in ("mulaw", "alaw", "s16le")
        rate = number(media.get("sample_rate", 8_000)) if is_pcm else DEFAULT_RATE_HZ[encoding]
        if rate is None or not MIN_RATE_HZ <= rate <= _MAX_RATE_HZ:
            raise StreamEnded("unsupported", "The sample rate is not taken: 8000 to 48000 Hz are.")
        parameters = _texts(_within(start, "custom_parameters"))
        return StreamStart(encoding, rate, (), parameters, is_l16=codec == "L16")


class Vonage(Gateway):
    """WebSockets of Vonage's Voice API: one track of PCM."""

    name = "vonage"
    starts = "websocket:connected"
    is_binary = True

    def read(self, event: Event) -> StreamStart:
        kind, _, rate = event.content_type.replace(" ", "").partition(";rate=")
        rate_hz = number(rate or "16000")
        if kind != "audio/l16" or rate_hz is None or not MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
            raise StreamEnded("unsupported", "Of Vonage's WebSockets audio/l16 is taken, at 8000 to 48000 Hz.")
        return StreamStart("s16le", rate_hz, ("inbound",), {})


def stream_format(start: StreamStart, wishes: StreamFormat, *, many: bool) -> StreamFormat:
    """Return the format of a media stream that comes without a ticket.

    Args:
        start: its beginning.
        wishes: the format that the URL's query asks for.
        many: whether that names the number of channels.

    Raises:
        StreamEnded: it has tracks that are not taken, or its parameters have such values.
    """
    channels = wishes.channels if many or not start.tracks else len(start.tracks)
    if start.encoding == "opus" and channels > 1:
        raise StreamEnded("unsupported", "Of OPUS one track is taken: ask for another stream_codec.")
    if channels > 2:
        raise StreamEnded("unsupported", "A phone call has two tracks at most.")
    name = start.parameters.get("name", "")
    try:
        checked = parse({"name": name, "interim": start.parameters.get("interim", "true")})
    except StreamRejected as refused:
        raise StreamEnded("policy", str(refused)) from None
    return msgspec.structs.replace(
        wishes,
        encoding=start.encoding,
        rate_hz=start.rate_hz,
        channels=channels,
        name=wishes.name or checked.name,
        interim=wishes.interim and checked.interim,
    )


def number(value: object) -> int | None:
    """Return a number, which some gateways send as a text; None for others."""
    if isinstance(value, str):
        return whole_number(value)
    return value if isinstance(value, int) and 0 <= value <= _MAX_NUMBER else None


def _within(start: dict[str, Any], name: str) -> dict[str, Any]:
    found = start.get(name)
    return found if isinstance(found, dict) else {}


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in values.items() if isinstance(value, str)}

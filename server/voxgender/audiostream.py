"""Describe the audio that a client streams to ``/listen``: parse the query of its URL into bounded values."""

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from voxgender.calloptions import PARAMETERS
from voxgender.errors import StreamRejected
from voxgender.received import is_line, whole_number

Encoding = Literal["s16le", "f32le", "mulaw", "alaw", "g722", "amrwb", "opus"]
"""Little-endian PCM of 16-bit integers or 32-bit floats, G.711 in both laws, G.722; or one packet a message, of AMR-WB
(RFC 4867) or Opus."""
PACKETS: tuple[Encoding, ...] = ("amrwb", "opus")
"""Encodings whose messages are packets; those of the others may be cut anywhere."""

SAMPLE_BYTES: Mapping[Encoding, int] = {"s16le": 2, "f32le": 4, "mulaw": 1, "alaw": 1, "g722": 1}
"""Bytes of one channel in a tick of the rate: a sample, of G.722 two samples. Packets have no such."""
DEFAULT_RATE_HZ: Mapping[Encoding, int] = {
    "s16le": 16_000,
    "f32le": 16_000,
    "mulaw": 8_000,
    "alaw": 8_000,
    "g722": 8_000,
    "amrwb": 16_000,
    "opus": 48_000,
}
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000
MAX_CHANNELS = 8
"""Channels of one stream; each is judged apart, and takes a place of its own."""
MAX_OPUS_CHANNELS = 2
MAX_NAME = 100
"""Characters of a stream's name."""
MAX_FROM_MS = 7 * 86_400_000
"""Latest time at which a stream's clock may start, a week."""
MAX_MESSAGE = 65_536
"""Bytes of a message of audio, or one second of audio if that is more."""
LEAST_S = 0.0025
"""Audio that a message holds at least: the shortest Opus packet. Those that hold less are bounded in number."""
OTHERS_PER_S = 50.0
"""Messages in a second that hold no audio, or next to none."""

_OWN = ("encoding", "rate", "channels", "name", "interim", "from_ms")
_PARAMETERS = (*_OWN, *(option for option in PARAMETERS if option not in _OWN))


class StreamFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The format of a stream, and what its client wants to be told.

    Attributes:
        rate_hz: samples of a channel in a second; of G.722 half of them (RFC 3551 section 4.5.2).
        channels: number of interleaved channels, each judged apart.
        name: name of the stream, such as that of a participant; told to the stream's client and followers alone.
        interim: whether ``result`` messages are sent; otherwise only events that are final.
        from_ms: time at which the stream's clock starts; a client that resumes goes on from there.
    """

    encoding: Encoding = "s16le"
    rate_hz: int = 16_000
    channels: int = 1
    name: str = ""
    interim: bool = True
    from_ms: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels; 1 for packets."""
        return SAMPLE_BYTES[self.encoding] * self.channels if self.encoding in SAMPLE_BYTES else 1

    @property
    def max_message(self) -> int:
        """Greatest size of a message of audio in bytes: ``MAX_MESSAGE``, or one second."""
        return MAX_MESSAGE if self.encoding in PACKETS else max(MAX_MESSAGE, self.frame_bytes * self.rate_hz)

    @property
    def least_message(self) -> float:
        """Least bytes of audio in a message; one with fewer counts as a message with next to no audio."""
        return 1 if self.encoding in PACKETS else LEAST_S * self.rate_hz * self.frame_bytes


def parse(query: Mapping[str, str]) -> StreamFormat:
    """Parse a URL's query.

    Raises:
        StreamRejected: a parameter is unknown, or has a value that is not taken.
    """
    if unknown := [name for name in query if name not in _PARAMETERS]:
        if any(name in ("token", "access_token", "authorization") for name in unknown):
            raise StreamRejected(
                "A token does not go into the URL, which is logged: send it as 'Authorization: Bearer TOKEN', or from "
                "a browser as the subprotocol 'bearer.TOKEN' beside 'voxgender'."
            )
        raise StreamRejected(f"The query has a parameter that is not known; it takes {', '.join(_PARAMETERS)}.")
    if len(query) > len(set(query)):
        raise StreamRejected("The query has a parameter twice: give each one once.")
    encoding = _encoding(query.get("encoding", "s16le"))
    rate_hz = _whole(query, "rate", DEFAULT_RATE_HZ[encoding], MIN_RATE_HZ, MAX_RATE_HZ)
    if encoding == "opus" and rate_hz != DEFAULT_RATE_HZ["opus"]:
        raise StreamRejected("Opus has a clock of 48000 Hz: leave rate out.")
    if encoding == "g722" and rate_hz != DEFAULT_RATE_HZ["g722"]:
        raise StreamRejected("G.722 has a clock of 8000 Hz and samples at 16000 Hz: leave rate out.")
    if encoding == "amrwb" and rate_hz != DEFAULT_RATE_HZ["amrwb"]:
        raise StreamRejected("AMR-WB has a clock of 16000 Hz: leave rate out.")
    most = MAX_OPUS_CHANNELS if encoding == "opus" else MAX_CHANNELS
    name = query.get("name", "")
    if len(name) > MAX_NAME or not is_line(name):
        raise StreamRejected(f"name takes up to {MAX_NAME} printable characters.")
    return StreamFormat(
        encoding=encoding,
        rate_hz=rate_hz,
        channels=_whole(query, "channels", 1, 1, most),
        name=name,
        interim=_truth(query, "interim"),
        from_ms=_whole(query, "from_ms", 0, 0, MAX_FROM_MS),
    )


def _encoding(text: str) -> Encoding:
    for encoding in get_args(Encoding):
        if text == encoding:
            found: Encoding = encoding
            return found
    raise StreamRejected(f"encoding takes one of {', '.join(get_args(Encoding))}.", code="unsupported_encoding")


def _whole(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    number = whole_number(text, high)
    if number is None or number < low:
        raise StreamRejected(f"{name} takes a whole number from {low} to {high}.")
    return number


def _truth(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "true").lower()
    if text not in ("true", "false", "1", "0"):
        raise StreamRejected(f"{name} takes true or false.")
    return text in ("true", "1")

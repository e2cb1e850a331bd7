"""Rewrite offers for aiortc, and complete its answers (RFC 3264).

aiortc fails a whole offer over one video codec that it does not know, would receive video that nobody reads, and
whose parser raises all kinds of errors. So it is given an offer that is written here from the parsed one: one line of
audio, and the data channels if they share its transport. The other audio lines of a room are answered here: their
packets come by the same transport, and are told apart by ``media.room``. Every other line is answered as inactive,
which costs nothing. (A line refused with port 0, RFC 3264 section 6, makes an aiortc client take the answer for
malformed. So only lines that are not bundled are refused that way.)
"""

from collections.abc import Iterable, Iterator

from voxgender.errors import SdpRejected
from voxgender.sdp import CLOCK_RATES_HZ, Codec, MediaLine, Offer, VoiceLine

OPUS_PARAMETERS = (
    "minptime=10;useinbandfec=1;usedtx=1;stereo=0;sprop-stereo=0;maxplaybackrate=16000;maxaveragebitrate=24000"
)
"""Opus as a classifier needs it (RFC 7587 section 6.1): mono, 16 kHz at the bit rate of full speech, no silence.

Wideband takes half the time to decode of what browsers send of their own accord.
"""

PTIME_MS = 40
"""Audio in a packet (RFC 8866 section 6.4): half as many packets as browsers send of their own accord.

The 20 ms of delay more are little beside the half second that a voice takes to be told.
"""

_NEWLINE = "\r\n"
_AUDIO_MID = "0"
"""The audio's ``mid`` in aiortc's offer if the client's offer has none."""
_CREDENTIALS = ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:")
_CANDIDATES = ("a=candidate:", "a=end-of-candidates")


def aiortc_offer(offer: Offer) -> str:
    """Write the offer for aiortc.

    It has no candidates, which are given to the transport one by one, and no ``end-of-candidates``: with it, aiortc
    would give up if it can use none of them, although checks of the peer still come.
    """
    audio = offer.audio
    mids = [mid for mid in (audio.mid, _data_mid(offer)) if mid is not None] or [_AUDIO_MID]
    return _join(
        [
            "v=0",
            "o=- 0 0 IN IP4 0.0.0.0",
            "s=-",
            "t=0 0",
            *(["a=ice-lite"] if offer.transport.ice_lite else []),
            " ".join(["a=group:BUNDLE", *mids]),
            f"m=audio 9 UDP/TLS/RTP/SAVPF {' '.join(str(codec.payload_type) for codec in offer.codecs)}",
            f"a=mid:{mids[0]}",
            f"a={offer.direction}",
            *_transport(offer),
            "a=rtcp-mux",
            *(f"a=rtpmap:{number} {name}/{CLOCK_RATES_HZ[name]}" for number, name in offer.codecs),
            *(f"a=extmap:{extension.id} {extension.uri}" for extension in offer.header_extensions),
            *_data(offer),
        ]
    )


def complete(offer: Offer, answer: str) -> str:
    """Complete aiortc's answer to :func:`aiortc_offer`: one line for each line of the client's offer, in its order.

    Adds ``ice-options:trickle`` (RFC 8840 section 4.1), ``rtcp-mux-only`` (RFC 8858) and our parameters of Opus. Gives
    one hash of the certificate, and groups lines only if the offer did (RFC 8843 section 7.3). Later offers of a room
    are answered from the first answer of aiortc's: its transport goes on.
    """
    head, *sections = _split(answer)
    transport = [line for line in sections[0] if line.startswith((*_CREDENTIALS, *_CANDIDATES))]
    credentials = [line for line in transport if line.startswith(_CREDENTIALS)]
    voices = {voice.index: voice for voice in offer.voices} if offer.is_room else {}
    lines: list[str] = []
    live: set[str | None] = set()
    for index, line in enumerate(offer.lines):
        if index in voices:
            lines += _voice(line, voices[index], transport if not live else credentials)
        elif index == offer.audio_index:
            lines += _audio(offer, sections[0])
        elif index == offer.data_index:
            lines += sections[1]
        else:
            lines += _unused(line, offer)
            if line.mid in offer.bundle:
                # Browsers and aiortc look for the group's addresses at its first line.
                lines += transport if line.mid == offer.bundle[0] or not live else credentials
        if index in (offer.audio_index, offer.data_index) or line.mid in offer.bundle:
            live.add(line.mid)
    if offer.bundle:
        head.append(" ".join(["a=group:BUNDLE", *(mid for mid in offer.bundle if mid in live)]))
    return _join([*head, "a=ice-options:trickle", *lines])


def check_update(before: Offer, offer: Offer) -> None:
    """Check that a later offer belongs to the same connection: it changes nothing but its audio lines.

    An offer that comes again is answered again. One that was overtaken by a later one on its way is not taken: the
    client has given it up, and the voices that it adds would stay.

    Raises:
        SdpRejected: it does not, or was overtaken.
    """
    if (offer.transport.ufrag, offer.transport.fingerprints) != (before.transport.ufrag, before.transport.fingerprints):
        raise SdpRejected("ICE restarts are not supported: make a new call.", code="ice_restart")
    if offer.is_before(before):
        raise SdpRejected(
            "A later offer of the session has been answered already: offer anew what there is now.", code="stale_offer"
        )
    if not (offer.is_room and offer.bundle):
        raise SdpRejected("An offer in a call of several voices has them all in one bundle, each with an a=mid line.")
    # A line that was stopped may become one of another kind (RFC 9429 section 5.2.2).
    kept = zip(before.lines, offer.lines, strict=False)
    is_kept = all(line.is_rejected or line.kind == later.kind for line, later in kept)
    if not is_kept or len(offer.lines) < len(before.lines) or offer.data_index != before.data_index:
        raise SdpRejected("A later offer has the lines of the one before, in their order, and new ones after them.")


def _data_mid(offer: Offer) -> str | None:
    return None if offer.data_index is None else offer.lines[offer.data_index].mid


def _transport(offer: Offer) -> Iterator[str]:
    transport = offer.transport
    yield f"a=ice-ufrag:{transport.ufrag}"
    yield f"a=ice-pwd:{transport.password}"
    for fingerprint in transport.fingerprints:
        yield f"a=fingerprint:{fingerprint}"
    yield f"a=setup:{transport.setup}"


def _data(offer: Offer) -> Iterator[str]:
    data = offer.data
    if data is None:
        return
    if data.is_legacy:
        yield f"m=application 9 DTLS/SCTP {data.sctp_port}"
        yield f"a=sctpmap:{data.sctp_port} webrtc-datachannel 1024"
    else:
        yield "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"
        yield f"a=sctp-port:{data.sctp_port}"
    yield f"a=max-message-size:{data.max_message_size}"
    yield f"a=mid:{_data_mid(offer)}"
    yield from _transport(offer)


def _audio(offer: Offer, section: list[str]) -> list[str]:
    """Write the answer to the audio line, with the offer's payload types and ``mid``."""
    line = offer.audio
    kind, port, _, formats = section[0].split(" ", 3)
    lines = [f"{kind} {port} {line.protocol} {formats}", *section[1:]]
    if line.mid is None:
        lines.remove(f"a=mid:{_AUDIO_MID}")
    return [*lines, *_receiving(offer.codecs)]


def _voice(line: MediaLine, voice: VoiceLine, transport: list[str]) -> list[str]:
    """Write the answer to an audio line of a room."""
    return [
        f"m=audio 9 {line.protocol} {' '.join(str(codec.payload_type) for codec in voice.codecs)}",
        "c=IN IP4 0.0.0.0",
        "a=recvonly",
        *(f"a=extmap:{extension.id} {extension.uri}" for extension in voice.header_extensions),
        f"a=mid:{voice.mid}",
        "a=rtcp-mux",
        *(f"a=rtpmap:{number} {_encoding(name)}" for number, name in voice.codecs),
        *transport,
        *_receiving(voice.codecs),
    ]


def _encoding(name: str) -> str:
    # RFC 7587 section 7: Opus is said to have two channels, whatever it has.
    return "opus/48000/2" if name == "OPUS" else f"{name}/{CLOCK_RATES_HZ[name]}"


def _receiving(codecs: Iterable[Codec]) -> Iterator[str]:
    """Yield how audio is wanted."""
    for codec in codecs:
        if codec.name == "OPUS":
            yield f"a=fmtp:{codec.payload_type} {OPUS_PARAMETERS}"
    yield f"a=ptime:{PTIME_MS}"
    yield "a=rtcp-mux-only"


def _unused(line: MediaLine, offer: Offer) -> list[str]:
    """Write the answer to a line that is not used, inactive or refused."""
    port = "9" if line.mid in offer.bundle else "0"
    lines = [
        f"m={line.kind} {port} {line.protocol} {' '.join(line.formats)}",
        "c=IN IP4 0.0.0.0",
        "a=inactive",
        "a=rtcp-mux",
        *(f"a={name}:{value}" for name, value in line.attributes),
    ]
    return lines if line.mid is None else [*lines, f"a=mid:{line.mid}"]


def _split(answer: str) -> list[list[str]]:
    """Split aiortc's answer into session lines and each media section, without the lines that are written anew."""
    parts: list[list[str]] = [[]]
    for line in answer.splitlines():
        if line.startswith(("a=group:BUNDLE", "a=fingerprint:sha-384", "a=fingerprint:sha-512", "a=fmtp:")):
            continue
        if line.startswith("m="):
            parts.append([])
        parts[-1].append(line)
    return parts


def _join(lines: list[str]) -> str:
    return _NEWLINE.join([*lines, ""])

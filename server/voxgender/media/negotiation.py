"""Turn offers into ones that aiortc answers well, and complete its answers (RFC 3264).

aiortc fails a whole offer over one video codec that it does not know, would receive video that nobody reads, and
raises whatever its parser stumbles over. So it is shown an SDP of our own, written from what was understood of the
offer: one line of audio, and the data channels where they share its transport. Every other line is answered here, as
inactive, which costs nothing. (Refused with port 0, RFC 3264 section 6, an aiortc client would take the answer for
malformed; so that is done only where it must be, with lines that are not bundled.)
"""

from collections.abc import Iterator

from voxgender.sdp import CLOCK_RATES_HZ, MediaLine, Offer

OPUS_PARAMETERS = (
    "minptime=10;useinbandfec=1;usedtx=1;stereo=0;sprop-stereo=0;maxplaybackrate=16000;maxaveragebitrate=24000"
)
"""What suits a classifier (RFC 7587 section 6.1): mono, 16 kHz at a bit rate that keeps all of speech, no silence.

Wideband takes half the time to decode of what browsers send of their own accord.
"""

PTIME_MS = 40
"""Audio in a packet (RFC 8866 section 6.4): half as many packets as browsers send of their own accord.

The 20 ms of delay more are little beside the half second that a voice takes to be told.
"""

_NEWLINE = "\r\n"
_AUDIO_MID = "0"
"""The audio's name towards aiortc where the offer gives it none."""
_CREDENTIALS = ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:")
_CANDIDATES = ("a=candidate:", "a=end-of-candidates")


def shown(offer: Offer) -> str:
    """Write the offer that aiortc is shown.

    It names no candidates, which are given to the transport one by one, and never says that they are complete: aiortc
    would give up where it can use none of them, though the peer's own checks still come.
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
    """Complete aiortc's answer to :func:`shown`: a line for each of the offer's, in its order.

    Adds ``ice-options:trickle`` (RFC 8840 section 4.1), ``rtcp-mux-only`` (RFC 8858) and what we want of Opus. Names
    the certificate by one hash, and groups lines only where the offer did (RFC 8843 section 7.3).
    """
    head, *sections = _split(answer)
    transport = [line for line in sections[0] if line.startswith((*_CREDENTIALS, *_CANDIDATES))]
    credentials = [line for line in transport if line.startswith(_CREDENTIALS)]
    lines: list[str] = []
    live: set[str | None] = set()
    for index, line in enumerate(offer.lines):
        if index == offer.audio_index:
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
    """aiortc's answer to the audio, in the offer's words."""
    line = offer.audio
    kind, port, _, formats = section[0].split(" ", 3)
    lines = [f"{kind} {port} {line.protocol} {formats}", *section[1:]]
    if line.mid is None:
        lines.remove(f"a=mid:{_AUDIO_MID}")
    return [
        *lines,
        *(f"a=fmtp:{codec.payload_type} {OPUS_PARAMETERS}" for codec in offer.codecs if codec.name == "OPUS"),
        f"a=ptime:{PTIME_MS}",
        "a=rtcp-mux-only",
    ]


def _unused(line: MediaLine, offer: Offer) -> list[str]:
    """Answer a line that nobody here wants, but for the transport that it shares."""
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
    """The session's lines of aiortc's answer, and those of each media line, without what is said anew."""
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

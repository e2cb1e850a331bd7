"""Offers as they come, made into offers that aiortc answers well, and its answers completed.

aiortc fails a whole offer over one video codec that it does not know, and would receive video that nobody reads.
So only the first audio line and the data channel are shown to it. Every other line is answered here, as inactive,
which costs nothing. (Refused with port 0, RFC 3264 section 6, an aiortc client would take the answer for malformed;
so that is done only where it must be, with lines that are not bundled.)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from voxgender.errors import FragmentRejected, OfferRejected

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
_BUNDLE = "a=group:BUNDLE"
_TRANSPORT = ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:", "a=candidate:", "a=end-of-candidates")


@dataclass(frozen=True)
class Offer:
    """An offer: ``sdp`` as aiortc shall see it, and which of the original lines that keeps."""

    sdp: str
    ufrag: str
    _others: tuple[tuple[str, ...] | None, ...]
    """A line for each of the offer's: None where aiortc answers it, else the answer that we give."""

    @classmethod
    def parse(cls, text: str) -> "Offer":
        """Read an SDP offer.

        Raises:
            OfferRejected: it is no SDP, or it sends no audio.
        """
        head, *sections = _split(text)
        if not head or not head[0].startswith("v=0"):
            raise OfferRejected("This is not SDP: an offer begins with v=0.", malformed=True)
        kept = _choose(sections)
        body = [section for section, keep in zip(sections, kept, strict=True) if keep]
        ufrags = [
            line.partition(":")[2] for line in (*head, *chain.from_iterable(body)) if line.startswith("a=ice-ufrag:")
        ]
        if not ufrags:
            raise OfferRejected("The offer has no a=ice-ufrag line, so it is not a WebRTC offer.", malformed=True)
        mids = {_attribute(section, "mid") for section in body}
        lines = [_bundle_of(line, mids) for line in head]
        lines += [line for line in chain.from_iterable(body) if not _is_useless(line)]
        bundled = {mid for line in head if line.startswith(_BUNDLE) for mid in line.split()[1:]}
        others = tuple(
            None if keep else tuple(_unused(section, bundled)) for section, keep in zip(sections, kept, strict=True)
        )
        return cls(_join(lines), ufrags[0], others)

    def complete(self, answer: str) -> str:
        """aiortc's answer to :attr:`sdp`, with the lines that were left out added and what it lacks said.

        Adds ``ice-options:trickle`` (RFC 8840 section 4.1), ``rtcp-mux-only`` (RFC 8858) and what we want of Opus.
        """
        head, *sections = _split(answer)
        transport = [line for line in sections[0] if line.startswith(_TRANSPORT)]
        accepted = iter(sections)
        lines: list[str] = []
        mids: list[str] = []
        for other in self._others:
            section = _finish(next(accepted)) if other is None else [*other, *(transport if _is_live(other) else ())]
            if _is_live(section) and (mid := _attribute(section, "mid")) is not None:
                mids.append(mid)
            lines += section
        head = [" ".join([_BUNDLE, *mids]) if line.startswith(_BUNDLE) else line for line in head]
        return _join([*head, "a=ice-options:trickle", *lines])


@dataclass(frozen=True)
class Fragment:
    """A trickle ICE fragment (RFC 8840 section 9): candidates by ``a=mid``."""

    ufrag: str | None
    candidates: tuple[tuple[str | None, str], ...]
    """``(mid, candidate)``, the candidate without ``a=candidate:``."""

    @classmethod
    def parse(cls, text: str) -> "Fragment":
        """Read a fragment.

        Raises:
            FragmentRejected: it holds a line that no fragment has.
        """
        ufrag = mid = None
        candidates = []
        for line in _lines(text):
            if not re.match(r"^[a-z]=", line):
                raise FragmentRejected(f"This is not an SDP line: {line[:40]!r}", malformed=True)
            name, _, value = line[2:].partition(":")
            if line.startswith("m="):
                mid = None
            elif name == "ice-ufrag":
                ufrag = value
            elif name == "mid":
                mid = value
            elif name == "candidate" and not _is_useless(line):
                candidates.append((mid, value))
        return cls(ufrag, tuple(candidates))


def _choose(sections: list[list[str]]) -> list[bool]:
    """Which media lines to keep: the first audio that sends, and the first data channel."""
    kept = [False] * len(sections)
    audio = [i for i, section in enumerate(sections) if section[0].startswith("m=audio ")]
    if not audio:
        raise OfferRejected("The offer has no audio (no m=audio line): add a microphone track to the connection.")
    sending = [i for i in audio if not _sends_nothing(sections[i])]
    if not sending:
        raise OfferRejected(
            "The offer's audio is not sent (recvonly, inactive or port 0): make it sendonly or sendrecv."
        )
    kept[sending[0]] = True
    data = [i for i, section in enumerate(sections) if section[0].startswith("m=application ")]
    if data and not _is_rejected(sections[data[0]]):
        kept[data[0]] = True
    return kept


def _sends_nothing(section: list[str]) -> bool:
    return "a=recvonly" in section or "a=inactive" in section or _is_rejected(section)


def _unused(section: list[str], bundled: set[str]) -> list[str]:
    """The answer to a line that nobody here wants, but for the transport that it shares."""
    kind, _, rest = section[0].partition(" ")
    mid = _attribute(section, "mid")
    port = "9" if mid in bundled and not _is_rejected(section) else "0"
    codecs = [line for line in section if line.startswith(("a=rtpmap:", "a=fmtp:", "a=sctp-port:"))]
    lines = [f"{kind} {port} {rest.partition(' ')[2]}", "c=IN IP4 0.0.0.0", "a=inactive", "a=rtcp-mux", *codecs]
    return lines if mid is None else [*lines, f"a=mid:{mid}"]


def _is_live(section: Sequence[str]) -> bool:
    return section[0].split()[1] != "0"


def _is_rejected(section: Sequence[str]) -> bool:
    """Port 0 refuses a line, but for a=bundle-only (RFC 8843 section 6)."""
    return section[0].split()[1:2] == ["0"] and "a=bundle-only" not in section


def _finish(section: list[str]) -> list[str]:
    if not section[0].startswith("m=audio "):
        return section
    opus = [m[1] for line in section if (m := re.match(r"^a=rtpmap:(\d+) opus/", line, re.IGNORECASE))]
    lines = [line for line in section if not any(line.startswith(f"a=fmtp:{number} ") for number in opus)]
    return [
        *lines,
        *(f"a=fmtp:{number} {OPUS_PARAMETERS}" for number in opus),
        f"a=ptime:{PTIME_MS}",
        "a=rtcp-mux-only",
    ]


def _bundle_of(line: str, mids: set[str | None]) -> str:
    if not line.startswith(_BUNDLE):
        return line
    return " ".join([_BUNDLE, *(mid for mid in line.split()[1:] if mid in mids)])


def _is_useless(line: str) -> bool:
    """Candidates that can never work here: TCP, and names that only the sender's own network resolves.

    The peer is found all the same, by the address that its checks come from (RFC 8445 section 7.3.1.3).
    """
    if not line.startswith("a=candidate:"):
        return False
    parts = line.split()
    return len(parts) < 8 or parts[2].lower() != "udp" or parts[4].endswith(".local")


def _attribute(section: list[str], name: str) -> str | None:
    prefix = f"a={name}:"
    return next((line.removeprefix(prefix) for line in section if line.startswith(prefix)), None)


def _split(text: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in _lines(text):
        if line.startswith("m="):
            parts.append([])
        parts[-1].append(line)
    return parts


def _lines(text: str) -> list[str]:
    return [line for raw in text.splitlines() if (line := raw.strip())]


def _join(lines: list[str]) -> str:
    return _NEWLINE.join([*lines, ""])

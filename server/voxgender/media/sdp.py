"""Offers as they come, made into offers that aiortc answers well, and its answers completed.

aiortc fails a whole offer over one video codec that it does not know, and would receive video that nobody reads.
So only the first audio line and the data channel are shown to it; every other line is refused in the answer with
port 0 (RFC 3264 section 6), which costs nothing.
"""

import re
from dataclasses import dataclass
from itertools import chain

from voxgender.errors import FragmentRejected, OfferRejected

OPUS_PARAMETERS = "minptime=10;useinbandfec=1;stereo=0;sprop-stereo=0;maxaveragebitrate=32000"
"""What suits a classifier (RFC 7587 section 6.1): mono, at a bit rate that keeps all of speech."""

_NEWLINE = "\r\n"


@dataclass(frozen=True)
class Offer:
    """An offer: ``sdp`` as aiortc shall see it, and which of the original lines that keeps."""

    sdp: str
    ufrag: str
    _media: tuple[tuple[str, bool], ...]
    """The original ``m=`` lines with their ``a=mid``, in order, and whether each is kept."""

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
        lines = [_bundle_of(line, mids) for line in head] + [
            line for line in chain.from_iterable(body) if not _is_useless(line)
        ]
        media = tuple((_NEWLINE.join(_stub(section)), keep) for section, keep in zip(sections, kept, strict=True))
        return cls(_join(lines), ufrags[0], media)

    def complete(self, answer: str) -> str:
        """aiortc's answer to :attr:`sdp`, with the lines that were left out refused and what it lacks said.

        Adds ``ice-options:trickle`` (RFC 8840 section 4.1), ``rtcp-mux-only`` (RFC 8858) and what we want of Opus.
        """
        head, *sections = _split(answer)
        accepted = iter(sections)
        lines = [*head, "a=ice-options:trickle"]
        for stub, keep in self._media:
            lines += _finish(next(accepted)) if keep else [stub]
        return _join(lines)


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
    sending = [i for i in audio if not _is_refused(sections[i])]
    if not sending:
        raise OfferRejected(
            "The offer's audio is not sent (recvonly, inactive or port 0): make it sendonly or sendrecv."
        )
    kept[sending[0]] = True
    data = [i for i, section in enumerate(sections) if section[0].startswith("m=application ")]
    if data and sections[data[0]][0].split()[1:2] != ["0"]:
        kept[data[0]] = True
    return kept


def _is_refused(section: list[str]) -> bool:
    bundled = "a=bundle-only" in section
    return "a=recvonly" in section or "a=inactive" in section or (section[0].split()[1:2] == ["0"] and not bundled)


def _stub(section: list[str]) -> list[str]:
    kind, _, rest = section[0].partition(" ")
    mid = _attribute(section, "mid")
    stub = [f"{kind} 0 {rest.partition(' ')[2]}", "c=IN IP4 0.0.0.0", "a=inactive"]
    return stub if mid is None else [*stub, f"a=mid:{mid}"]


def _finish(section: list[str]) -> list[str]:
    if not section[0].startswith("m=audio "):
        return section
    opus = [m[1] for line in section if (m := re.match(r"^a=rtpmap:(\d+) opus/", line, re.IGNORECASE))]
    lines = [line for line in section if not any(line.startswith(f"a=fmtp:{number} ") for number in opus)]
    return [*lines, *(f"a=fmtp:{number} {OPUS_PARAMETERS}" for number in opus), "a=ptime:20", "a=rtcp-mux-only"]


def _bundle_of(line: str, mids: set[str | None]) -> str:
    if not line.startswith("a=group:BUNDLE"):
        return line
    return " ".join(["a=group:BUNDLE", *(mid for mid in line.split()[1:] if mid in mids)])


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

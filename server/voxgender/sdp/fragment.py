"""Parse the fragments that trickle candidates (RFC 8840)."""

import re
from dataclasses import dataclass

from voxgender.errors import SdpRejected
from voxgender.sdp.attributes import MAX_CANDIDATES, Candidate, parse_candidate
from voxgender.sdp.sections import Malformed, lines_of, quoted


@dataclass(frozen=True)
class Fragment:
    """A trickle ICE fragment (RFC 8840 section 9)."""

    ufrag: str | None
    candidates: tuple[tuple[str | None, Candidate], ...]
    """Each with the name (``a=mid``) of its media line."""

    @classmethod
    def parse(cls, text: str) -> "Fragment":
        """Read a fragment.

        Raises:
            SdpRejected: it holds a line that no fragment has, or is too large.
        """
        try:
            return _fragment(text)
        except Malformed as error:
            raise SdpRejected(str(error)) from None


def _fragment(text: str) -> Fragment:
    ufrag = mid = None
    values: list[tuple[str | None, str]] = []
    for line in lines_of(text):
        if not re.match(r"[a-z]=", line):
            raise Malformed(f"This is not an SDP line: {quoted(line)}.")
        name, _, value = line[2:].partition(":")
        if line.startswith("m="):
            mid = None
        elif name == "ice-ufrag":
            ufrag = value
        elif name == "mid":
            mid = value
        elif name == "candidate":
            values.append((mid, value))
    found = ((mid, parse_candidate(value)) for mid, value in values[:MAX_CANDIDATES])
    return Fragment(ufrag, tuple((mid, candidate) for mid, candidate in found if candidate is not None))

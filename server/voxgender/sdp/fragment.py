"""Parse the fragments that trickle candidates (RFC 8840)."""

import re
from dataclasses import dataclass

from voxgender.errors import SdpRejected
from voxgender.sdp.attributes import MAX_CANDIDATES, Candidate, parse_candidate
from voxgender.sdp.sections import Malformed, lines_of, quoted


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
        except Malformed as error:
            raise SdpRejected(str(error)) from None


def _fragment(text: str) -> Fragment:
    mid = None
    found: dict[str, list[tuple[str | None, str]]] = {"ice-ufrag": [], "candidate": []}
    in_section: list[tuple[str, str]] = []
    for line in [*lines_of(text), "m="]:
        if not re.match(r"[a-z]=", line):
            raise Malformed(f"This is not an SDP line: {quoted(line)}.")
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
    candidates = ((mid, parse_candidate(value)) for mid, value in found["candidate"][:MAX_CANDIDATES])
    return Fragment(
        tuple(found["ice-ufrag"]), tuple((mid, candidate) for mid, candidate in candidates if candidate is not None)
    )

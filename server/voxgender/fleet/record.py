"""Define the record that a media node keeps in the registry and sends with each of its answers."""

from typing import Annotated

import msgspec
from msgspec import Meta

from voxgender import received


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node's state at one moment."""

    id: str
    """Random, new with each start, because a node loses its sessions when it restarts."""
    url: str
    """Private URL of its HTTP API; empty if signaling knows it from elsewhere."""
    capacity: Annotated[int, Meta(ge=1)]
    """Greatest number of concurrent sessions."""
    sessions: Annotated[int, Meta(ge=0)]
    load: Annotated[float, Meta(ge=0)]
    """Share of its cores in use lately, 0 to 1."""
    version: str
    region: str = ""
    draining: bool = False
    overloaded: bool = False
    """True while the node refuses calls because it does not keep up."""
    beat: int = 0
    """Sequence number of the node's records; only the newest record counts."""

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(text: bytes | str) -> "NodeRecord":
        """Read a record from JSON.

        Raises:
            ValueError: the text is no record.
        """
        return received.decode(text, NodeRecord)

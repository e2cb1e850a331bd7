"""The record of a media node, in a registry and with each of its answers."""

from typing import Annotated

import msgspec
from msgspec import Meta


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node's state at one moment."""

    id: str
    """Random, new with each start: a node that has started again has none of its old sessions."""
    url: str
    """The private address of its HTTP API; empty where signaling was told it otherwise."""
    capacity: Annotated[int, Meta(ge=1)]
    """Sessions that it takes at once."""
    sessions: Annotated[int, Meta(ge=0)]
    load: Annotated[float, Meta(ge=0)]
    """Share of its cores that it has used lately, 0 to 1."""
    version: str
    region: str = ""
    draining: bool = False
    beat: int = 0
    """Goes up with each record of a node: the newest is the one to believe."""

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(text: bytes | str) -> "NodeRecord":
        """
        Raises:
            ValueError: it is no record.
        """
        return msgspec.json.decode(text, type=NodeRecord)

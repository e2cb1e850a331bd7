"""Options of the synthetic caller: ``voxgender call`` and ``voxgender load``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from voxgender.options import Display, FromEnvironment
from voxgender.peer.faults import Faults


@dataclass(frozen=True, kw_only=True)
class TokenOptions(FromEnvironment):
    """Authentication."""

    token: str = field(default="", repr=False)
    """Bearer token, if the server asks for one."""


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """Options of ``voxgender call``."""

    url: Annotated[str, Display(metavar="URL", positional=True)]
    """Server, as http://localhost:8080."""
    audio: Annotated[Path | None, Display(metavar="FILE", unset="a man, a pause, a woman; synthesised")] = None
    """Audio file to play."""
    relay_only: bool = False
    """Use the server's TURN server and no other path."""
    json: bool = False
    """Print one JSON object a line: every message, then a report."""
    auth: TokenOptions = TokenOptions()
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Options of ``voxgender load``."""

    url: Annotated[str, Display(metavar="URL", positional=True)]
    """Server, as http://localhost:8080."""
    peers: Annotated[int, Meta(ge=1, le=2_000)] = 10
    """Concurrent calls."""
    seconds: Annotated[float, Meta(gt=0, le=86_400), Display(metavar="S")] = 10.0
    """Time to hold the calls once all are up, in seconds."""
    audio: Annotated[tuple[Path, ...], Display(metavar="FILE", unset="synthesised dialogues")] = ()
    """Audio file to play; may be repeated."""
    allow_remote: bool = False
    """Load a server that is not on this machine."""
    json: bool = False
    """Print the report as JSON."""
    auth: TokenOptions = TokenOptions()
    faults: Faults = field(default_factory=Faults)

"""Options of the synthetic caller: ``voxgender call`` and ``voxgender load``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from voxgender.audiostream import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from voxgender.options import Display, FromEnvironment
from voxgender.peer.faults import Faults


@dataclass(frozen=True, kw_only=True)
class TokenOptions(FromEnvironment):
    """Authentication."""

    token: str = field(default="", repr=False)
    """Bearer token, if the server asks for one."""


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """The call as the server keeps it."""

    name: Annotated[str, Display(unset="none")] = ""
    """Name by which the call can be followed."""
    tag: tuple[str, ...] = ()
    """Tag of the call, told back in its messages; may be repeated."""
    hop_ms: Annotated[int, Meta(ge=0, le=999_999), Display(unset="the server's")] = 0
    """Time between two results, a multiple of the server's, in ms."""

    @property
    def query(self) -> dict[str, str]:
        """The options in a query."""
        given = {"name": self.name, "tags": ",".join(self.tag), "hop_ms": str(self.hop_ms or "")}
        return {name: value for name, value in given.items() if value}


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
    session: SessionOptions = SessionOptions()
    auth: TokenOptions = TokenOptions()
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True, kw_only=True)
class ListenOptions:
    """Options of ``voxgender listen``."""

    url: Annotated[str, Display(metavar="URL", positional=True)]
    """Server, as http://localhost:8080."""
    file: Annotated[Path, Display(metavar="FILE", positional=True)]
    """Audio file in any format that FFmpeg reads, or - for raw audio from stdin."""
    apart: bool = False
    """Judge each channel of the file apart."""
    encoding: Literal["s16le", "f32le", "mulaw", "alaw"] = "s16le"
    """Encoding of raw audio."""
    rate: Annotated[int, Meta(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)] = 16_000
    """Sample rate of raw audio, in Hz."""
    channels: Annotated[int, Meta(ge=1, le=MAX_CHANNELS)] = 1
    """Interleaved channels of raw audio, each judged apart."""
    json: bool = False
    """Print one JSON object a line: every message."""
    session: SessionOptions = SessionOptions()
    auth: TokenOptions = TokenOptions()


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
    transport: Literal["webrtc", "websocket"] = "webrtc"
    """Way of the audio: WebRTC over UDP, or Opus over a WebSocket."""
    allow_remote: bool = False
    """Load a server that is not on this machine."""
    json: bool = False
    """Print the report as JSON."""
    auth: TokenOptions = TokenOptions()
    faults: Faults = field(default_factory=Faults)

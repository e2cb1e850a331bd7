"""Options of the synthetic caller: ``voxgender call`` and ``voxgender load``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from voxgender.audiostream import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ
from voxgender.errors import SettingsError
from voxgender.options import Display, FromEnvironment
from voxgender.peer.faults import Faults
from voxgender.sdp import MAX_NAME, MAX_VOICES, is_title


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
class CallSettings:
    """Options of ``voxgender call``."""

    url: Annotated[str, Display(metavar="URL", positional=True)]
    """Server, as http://localhost:8080."""
    voices: Annotated[tuple[str, ...], Display(metavar="NAME=FILE", positional=True)] = ()
    """Voice of a room and the audio file that it plays, as alice=a.wav; up to 8, by one connection."""
    audio: Annotated[Path | None, Display(metavar="FILE", unset="a man, a pause, a woman; synthesised")] = None
    """Audio file to play."""
    relay_only: bool = False
    """Use the server's TURN server and no other path."""
    json: bool = False
    """Print one JSON object a line: every message, then a report."""
    session: SessionOptions = SessionOptions()
    auth: TokenOptions = TokenOptions()
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        if self.voices and self.audio is not None:
            raise SettingsError("--audio is the file of a call of one voice: leave it out, or the NAME=FILE")
        if len(self.voices) > MAX_VOICES:
            raise SettingsError(f"a call takes {MAX_VOICES} voices: place another one for the others")
        for voice in self.voices:
            name, sign, path = voice.partition("=")
            if not (sign and path):
                raise SettingsError("NAME=FILE takes a name, = and an audio file, as alice=a.wav; or give --audio FILE")
            if not is_title(name):
                raise SettingsError(
                    f"the name of NAME=FILE takes 1 to {MAX_NAME} characters, none of them a control character, and no "
                    "space at its ends"
                )
        if len(self.files) < len(self.voices):
            raise SettingsError("NAME=FILE: two voices have the same name; give each its own")

    @property
    def files(self) -> dict[str, Path]:
        """The file of each voice of a room, by name."""
        return {name: Path(path) for name, _, path in (voice.partition("=") for voice in self.voices)}


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
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
class LoadSettings:
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

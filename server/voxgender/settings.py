"""Every option, once: its type, default, unit and meaning.

Each field is a command-line flag (``--max-sessions``) and an environment variable (``VOXGENDER_MAX_SESSIONS``);
the flag wins. Lists are separated by commas in the environment and by repeating the flag on the command line.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from voxgender.errors import SettingsError

PREFIX = "VOXGENDER_"

# Which commands know an option; all of them, where nothing is said.
_SERVE = {"commands": ("serve",)}
_MEDIA = {"commands": ("serve", "media")}
_SIGNALING = {"commands": ("serve", "signaling")}
_FLEET = {"commands": ("signaling", "media")}
_ROUTING = {"commands": ("signaling",)}
_NODE = {"commands": ("media",)}
# Where `serve` is alone there is nowhere to move to, and whoever stops it seldom waits for more than ten seconds.
_DRAIN = _MEDIA | {"defaults": {"serve": 5.0}}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a server. Values are checked by :meth:`load`."""

    host: Annotated[str, Meta(description="address the HTTP server listens on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="its TCP port; 0 takes a free one")] = 8080
    model: Annotated[
        str,
        Meta(
            description="embedded, off (no classification), a local directory or a hub id of a wav2vec2",
            extra=_MEDIA,
        ),
    ] = "embedded"
    workers: Annotated[
        int, Meta(ge=1, le=256, description="media processes on this machine; calls are spread over them", extra=_SERVE)
    ] = 1
    ice_address: Annotated[
        tuple[str, ...],
        Meta(
            description="local IP address, network or interface to offer for media, as 10.0.0.5, 10.0.0.0/8 or eth0; "
            "may be repeated (default: all but loopback)",
            extra=_MEDIA,
        ),
    ] = ()
    advertise_address: Annotated[
        tuple[str, ...],
        Meta(
            description="public IP address of --ice-address (NAT 1:1), or gcp to ask Google Cloud; may be repeated",
            extra=_MEDIA,
        ),
    ] = ()
    udp_ports: Annotated[
        str,
        Meta(
            pattern=r"^(\d{1,5}-\d{1,5})?$",
            description="LOW-HIGH, UDP ports for media, both included (default: any)",
            extra=_MEDIA,
        ),
    ] = ""
    ice_server: Annotated[
        tuple[str, ...],
        Meta(
            description="STUN or TURN server told to clients: stun:HOST, turn:HOST[?transport=tcp] with --turn-secret, "
            "or turn:USER:PASSWORD@HOST",
            extra=_SIGNALING,
        ),
    ] = ()
    turn_secret: Annotated[
        str,
        Meta(
            description="secret of the TURN server (coturn: static-auth-secret), for logins that expire",
            extra=_SIGNALING,
        ),
    ] = ""
    turn_ttl_s: Annotated[
        int, Meta(ge=60, description="how long a login made from that secret can be used, seconds", extra=_SIGNALING)
    ] = 86_400
    token: Annotated[
        str, Meta(description="bearer token that a client must show (default: none)", extra=_SIGNALING)
    ] = ""
    jwt_secret: Annotated[
        str,
        Meta(
            description="secret of callers' own tokens (JWT) signed with HS256, 32 bytes or more (default: none)",
            extra=_SIGNALING,
        ),
    ] = ""
    jwt_keys: Annotated[
        str,
        Meta(
            description="JSON Web Key Set of callers' own tokens signed with RS256, ES256 or EdDSA: a URL or a file",
            extra=_SIGNALING,
        ),
    ] = ""
    jwt_audience: Annotated[
        str, Meta(min_length=1, description="what the audience of callers' own tokens has to name", extra=_SIGNALING)
    ] = "voxgender"
    jwt_issuer: Annotated[
        str, Meta(description="who has to have issued callers' own tokens (default: anyone)", extra=_SIGNALING)
    ] = ""
    allow_origin: Annotated[
        tuple[str, ...],
        Meta(description="web origin that may call from a browser; may be repeated", extra=_SIGNALING),
    ] = ("*",)
    secret: Annotated[
        str, Meta(description="what signaling and media nodes know each other by; the same for all", extra=_FLEET)
    ] = ""
    registry: Annotated[
        str, Meta(description="Redis where media nodes announce themselves: redis://HOST[:PORT][/DB]", extra=_FLEET)
    ] = ""
    nodes: Annotated[
        tuple[str, ...],
        Meta(
            description="media nodes in place of a registry: their URLs, or dns:HOST:PORT for all addresses of a name",
            extra=_ROUTING,
        ),
    ] = ()
    node_address: Annotated[
        str,
        Meta(
            description="private URL at which signaling reaches this node (default: by --host and --port)", extra=_NODE
        ),
    ] = ""
    region: Annotated[
        str, Meta(description="where this runs; signaling takes nodes of its own region first", extra=_FLEET)
    ] = ""
    max_sessions: Annotated[int, Meta(ge=1, description="calls taken at once; more get 503", extra=_MEDIA)] = 100
    max_sessions_per_subject: Annotated[
        int,
        Meta(
            ge=0,
            description="of them with tokens of one subject; more get 429; 0 for no such limit",
            extra={"commands": ("serve", "signaling", "media")},
        ),
    ] = 0
    inference_threads: Annotated[
        int,
        Meta(
            ge=0,
            description="threads of a large model, small ones take one; 0 leaves one core to the media",
            extra=_MEDIA,
        ),
    ] = 0
    precision: Annotated[
        str,
        Meta(
            pattern="^(auto|fp32|int8)$",
            description="auto (int8 for large models), fp32 or int8: how the model multiplies",
            extra=_MEDIA,
        ),
    ] = "auto"
    device: Annotated[
        str,
        Meta(pattern="^(cpu|cuda)$", description="cpu or cuda (by torch, in float16): runs the model", extra=_MEDIA),
    ] = "cpu"
    window_ms: Annotated[
        int, Meta(ge=500, le=10_000, description="audio the model hears at once, ms", extra=_MEDIA)
    ] = 1_000
    hop_ms: Annotated[int, Meta(ge=64, le=2_000, description="time between two results, ms", extra=_MEDIA)] = 192
    connect_timeout_s: Annotated[
        float, Meta(gt=0, description="a call that is not connected by then ends, seconds", extra=_MEDIA)
    ] = 15.0
    silence_timeout_s: Annotated[
        float,
        Meta(
            gt=0, description="a peer that sends neither packet nor message for so long is gone, seconds", extra=_MEDIA
        ),
    ] = 15.0
    drain_timeout_s: Annotated[
        float,
        Meta(ge=0, description="time that SIGTERM leaves calls to move to another server, seconds", extra=_DRAIN),
    ] = 30.0
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    ] = "info"

    @property
    def udp_port_range(self) -> tuple[int, int] | None:
        """The first and the last UDP port for media; None for any.

        Raises:
            SettingsError: there are no such ports.
        """
        if not self.udp_ports:
            return None
        low, high = map(int, self.udp_ports.split("-"))
        if not 0 < low <= high <= 65_535:
            raise SettingsError("--udp-ports (VOXGENDER_UDP_PORTS) takes LOW-HIGH, 1 to 65535, the lower one first")
        return low, high

    @classmethod
    def load(
        cls,
        flags: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        command: str = "",
    ) -> "Settings":
        """Merge defaults, those of ``command`` where it has its own, environment and flags (``None``: not given).

        Raises:
            SettingsError: a value cannot be used; the message names the option and what it takes.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {name: default(name, command) for name in fields()}
        said: dict[str, str] = {}
        # Cloud Run and most other platforms say the port this way.
        sources = [("port", "PORT"), *((name, PREFIX + name.upper()) for name in fields())]
        for name, variable in sources:
            if (text := environ.get(variable)) is not None:
                values[name] = _split(text) if is_list(name) else text
                said[name] = variable
        for name, value in (flags or {}).items():
            if value is not None:
                values[name] = value
                said[name] = f"--{name.replace('_', '-')}"
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(_explain(error, said)) from None


def fields() -> dict[str, Meta]:
    """Every option's name and its constraints and description, in order."""
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in Settings.__struct_fields__}


def commands(name: str) -> tuple[str, ...] | None:
    """The commands that know an option; None for all that serve."""
    found: tuple[str, ...] | None = (fields()[name].extra or {}).get("commands")
    return found


def is_list(name: str) -> bool:
    return isinstance(default(name), tuple)


def default(name: str, command: str = "") -> Any:
    """An option's default; for a command that has its own, that."""
    own: dict[str, Any] = (fields()[name].extra or {}).get("defaults", {})
    if command in own:
        return own[command]
    return dict(zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True))[name]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _explain(error: msgspec.ValidationError, said: Mapping[str, str]) -> str:
    """Which option has a value that cannot be used, and what it takes. Never the value: it may be a secret."""
    problem, _, path = str(error).partition(" - at `$.")
    name = path.rstrip("`").partition("[")[0]
    if not name:
        return problem
    meta = fields()[name]
    if meta.pattern:
        return f"{said[name]} takes {meta.description}"
    return f"{said[name]} takes {_kind(name)}{_range(meta)}: {meta.description}"


def _kind(name: str) -> str:
    if is_list(name):
        return "a list of texts"
    return {int: "a whole number", float: "a number"}.get(type(default(name)), "text")


def _range(meta: Meta) -> str:
    bounds = ((" of at least", meta.ge), (" above", meta.gt), (" of at most", meta.le))
    return " and".join(f"{words} {limit}" for words, limit in bounds if limit is not None)

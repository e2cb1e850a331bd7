"""Options of the server's roles and of the analysis, in groups; a role is a set of groups.

Names, limits, help, environment variables and errors are made from these classes by :mod:`voxgender.options`.
"""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from voxgender.errors import SettingsError
from voxgender.options import Display, FromEnvironment
from voxgender.received import whole_number

HERE = "local"
"""Place of a model that runs in the process that takes the calls."""
POOL_PORT = 8_000
"""Default port of a pool, that of Ray Serve's HTTP proxy."""
_POOL = re.compile(r"ray://(?P<host>\[[0-9a-fA-F:.]+\]|[^\s/:@?#\[\]]+)(:(?P<port>[0-9]{1,5}))?")
MAX_TIMEOUT_S = 86_400
"""Longest time that a timeout may be set to: a day."""


def is_host(text: str) -> bool:
    """Tell whether a text may be an IP address or a host name; the resolver fails in its own way (IDNA) for others."""
    try:
        return bool(text.encode("idna"))
    except UnicodeError:
        return False


def check_token(token: str) -> None:
    """Check that an HTTP header can carry a token as it is.

    Raises:
        SettingsError: its ends would be lost, or it holds a control character.
    """
    if token != token.strip() or not token.isprintable():
        raise SettingsError(
            "--token (VOXGENDER_TOKEN) has a control character, or a space or a line's end at its ends, with which "
            "nobody can send it: is it read from a file that ends in a line's end?"
        )


@dataclass(frozen=True, kw_only=True)
class HttpOptions(FromEnvironment):
    """HTTP server."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all of IPv4, :: for all of both kinds."""
    port: Annotated[int, Meta(ge=0, le=65_535), Display(fallback_variable="PORT")] = 8080
    """TCP port to listen on; 0 takes a free one."""

    def __post_init__(self) -> None:
        if not is_host(self.host):
            raise SettingsError("--host (VOXGENDER_HOST) takes an IP address or a host name")


@dataclass(frozen=True, kw_only=True)
class MetricsOptions(FromEnvironment):
    """Metrics."""

    metrics_address: Annotated[str, Display(metavar="HOST:PORT", unset="that of --host and --port")] = ""
    """Address of its own for GET /metrics, as 127.0.0.1:9090; it is served nowhere else then."""

    def __post_init__(self) -> None:
        if self.metrics_address and self.host_and_port is None:
            raise SettingsError("--metrics-address (VOXGENDER_METRICS_ADDRESS) takes HOST:PORT, as 127.0.0.1:9090")

    @property
    def host_and_port(self) -> tuple[str, int] | None:
        """The host and the TCP port; None for those of the server."""
        host, _, port = self.metrics_address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        number = whole_number(port, 65_535)
        return (host, number) if is_host(host) and number is not None else None


@dataclass(frozen=True, kw_only=True)
class LogOptions(FromEnvironment):
    """Log."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages to log."""


@dataclass(frozen=True, kw_only=True)
class OriginOptions(FromEnvironment):
    """Cross-origin requests (CORS)."""

    allow_origin: tuple[str, ...] = ("*",)
    """Web origin that may call from a browser, as https://www.example.org, or * for all; may be repeated."""


@dataclass(frozen=True, kw_only=True)
class AuthOptions(FromEnvironment):
    """Authentication of callers."""

    token: str = field(default="", repr=False)
    """Bearer token that every client must show."""
    jwt_secret: str = field(default="", repr=False)
    """Secret of callers' own tokens (JWT) signed with HS256, 32 bytes or more."""
    jwt_keys: str = field(default="", repr=False)
    """JSON Web Key Set (URL or file) of callers' own tokens signed with RS256, ES256 or EdDSA."""
    jwt_audience: Annotated[str, Meta(min_length=1)] = "voxgender"
    """Audience that callers' own tokens must name."""
    jwt_issuer: Annotated[str, Display(unset="any")] = ""
    """Issuer that callers' own tokens must name."""

    def __post_init__(self) -> None:
        check_token(self.token)


@dataclass(frozen=True, kw_only=True)
class SubjectOptions(FromEnvironment):
    """Calls of one caller."""

    max_sessions_per_subject: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Concurrent calls per JWT subject; excess offers get 429; 0 sets no limit."""


@dataclass(frozen=True, kw_only=True)
class RateOptions(FromEnvironment):
    """Rates of requests."""

    offers_per_minute: Annotated[int, Meta(ge=0, le=1_000_000)] = 1_200
    """Offers from one client address, and of one JWT subject, in a minute; excess offers get 429; 0 sets no limit."""


@dataclass(frozen=True, kw_only=True)
class ProxyOptions(FromEnvironment):
    """Proxies in front."""

    trusted_proxy: tuple[str, ...] = ()
    """Address or network of a proxy whose X-Forwarded-For and X-Forwarded-Prefix are believed, as 10.0.0.0/8; may be
    repeated."""
    path_prefix: Annotated[str, Display(metavar="PATH")] = ""
    """Path that a proxy strips before requests get here, as /voice; for proxies that send no X-Forwarded-Prefix."""


@dataclass(frozen=True, kw_only=True)
class IceServerOptions(FromEnvironment):
    """STUN and TURN servers for clients."""

    ice_server: tuple[str, ...] = field(default=(), repr=False)
    """STUN or TURN server to tell to clients: stun:HOST, turn:HOST[?transport=tcp] with --turn-secret, or
    turn:USER:PASSWORD@HOST; may be repeated."""
    turn_secret: str = field(default="", repr=False)
    """Secret shared with the TURN server (coturn: static-auth-secret), to make logins that expire."""
    turn_ttl_s: Annotated[int, Meta(ge=60, le=31_536_000)] = 86_400
    """Lifetime of a TURN login made from --turn-secret, in seconds."""


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(FromEnvironment):
    """Model."""

    model: Annotated[str, Meta(min_length=1)] = "embedded"
    """Classifier: embedded, off (no classification), a local directory or a hub id."""
    model_revision: Annotated[str, Display(unset="the main branch")] = ""
    """Branch, tag or commit of the hub's repository; a commit's id pins the model."""
    labels: Annotated[tuple[str, ...], Display(metavar="LABEL=OUTPUT", unset="guessed")] = ()
    """Labels of the model's outputs, as female=LABEL_0,male=LABEL_1; other=OUTPUT for no voice; may be repeated."""
    inference_threads: Annotated[int, Meta(ge=0, le=1_024)] = 0
    """Threads of a large model (a small one takes one); 0 leaves one core to the media."""
    precision: Literal["auto", "fp32", "int8", "fp16", "bf16"] = "auto"
    """Number format of the model's products; auto chooses int8 for large models, and bf16 on a GPU."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Processor of the model; cuda runs it in torch."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions(ClassifierOptions):
    """Analysis."""

    inference: Annotated[str, Display(metavar="ADDRESS")] = HERE
    """Place where the model runs: local, ray://HOST[:PORT] for a pool, or ray for one on this machine."""
    window_ms: Annotated[int, Meta(ge=500, le=10_000)] = 1_000
    """Length of the audio that the model classifies at once, in ms; at least --hop-ms."""
    hop_ms: Annotated[int, Meta(ge=64, le=1_984, multiple_of=64)] = 192
    """Time between two results, in ms."""

    def __post_init__(self) -> None:
        if self.inference != HERE and self.pool is None:
            raise SettingsError("--inference (VOXGENDER_INFERENCE) takes local, ray, or ray://HOST[:PORT]")
        if self.pool is not None and any(
            getattr(self, name.name) != name.default for name in fields(ClassifierOptions)
        ):
            raise SettingsError(
                f"with --inference {self.inference} the pool's model is used: leave out --model and the options of a "
                "model, which are for voxgender pool"
            )
        if self.hop_ms > self.window_ms:
            raise SettingsError(
                f"--hop-ms (VOXGENDER_HOP_MS) takes at most --window-ms, which is {self.window_ms}: "
                "the model would miss what lies between two windows"
            )

    @property
    def pool(self) -> tuple[str, int] | None:
        """Host and TCP port of the pool that runs the model; None if it runs in this process."""
        if self.inference == "ray":
            return "127.0.0.1", POOL_PORT
        found = _POOL.fullmatch(self.inference)
        if found is None or not is_host(found["host"]) or not int(found["port"] or POOL_PORT) <= 65_535:
            return None
        return found["host"].strip("[]"), int(found["port"] or POOL_PORT)


@dataclass(frozen=True, kw_only=True)
class MediaOptions(FromEnvironment):
    """Media and sessions."""

    ice_address: Annotated[tuple[str, ...], Display(unset="all but loopback")] = ()
    """Local IP address, network or interface to offer for media, as 10.0.0.5, 10.0.0.0/8 or eth0; may be repeated."""
    advertise_address: tuple[str, ...] = ()
    """Public IP address that leads to --ice-address (NAT 1:1), or gcp to ask Google Cloud; may be repeated."""
    udp_ports: Annotated[
        str,
        Meta(pattern=r"^([0-9]{1,5}-[0-9]{1,5})?\Z"),
        Display(metavar="LOW-HIGH", unset="any", takes="LOW-HIGH, from 1 to 65535, the lower one first"),
    ] = ""
    """UDP ports for media, both ends included."""
    no_udp: bool = False
    """Take calls over WebSockets alone, because no UDP reaches this server."""
    max_sessions: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    """Concurrent calls; excess offers get 503."""
    connect_timeout_s: Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_S)] = 15.0
    """Time for a call to connect before it is ended, in seconds."""
    silence_timeout_s: Annotated[float, Meta(gt=0, le=MAX_TIMEOUT_S)] = 15.0
    """Time without any packet or message after which a peer is taken to be gone, in seconds."""

    def __post_init__(self) -> None:
        low, high = self.udp_port_range or (1, 1)
        if not 0 < low <= high <= 65_535:
            raise SettingsError(
                "--udp-ports (VOXGENDER_UDP_PORTS) takes LOW-HIGH, from 1 to 65535, the lower one first"
            )

    @property
    def udp_port_range(self) -> tuple[int, int] | None:
        """The first and the last UDP port for media; None for any."""
        if not self.udp_ports:
            return None
        low, high = map(int, self.udp_ports.split("-"))
        return low, high


@dataclass(frozen=True, kw_only=True)
class DrainOptions(FromEnvironment):
    """Shutdown."""

    drain_timeout_s: Annotated[float, Meta(ge=0, le=MAX_TIMEOUT_S)] = 30.0
    """Time that SIGTERM leaves calls to move to another server, in seconds."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(FromEnvironment):
    """Processes."""

    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """Media processes on this machine; calls are spread over them."""


@dataclass(frozen=True, kw_only=True)
class FleetOptions(FromEnvironment):
    """Fleet: signaling and its media nodes."""

    secret: str = field(default="", repr=False)
    """Secret by which signaling and media nodes know each other; the same for all."""
    registry: Annotated[str, Display(metavar="URL")] = field(default="", repr=False)
    """Redis where media nodes announce themselves: redis://HOST[:PORT][/DB], rediss://… with TLS."""
    region: str = ""
    """Region of this process; signaling prefers media nodes of its own region."""


@dataclass(frozen=True, kw_only=True)
class NodeListOptions(FromEnvironment):
    """Media nodes without a registry."""

    nodes: Annotated[tuple[str, ...], Display(metavar="URL")] = ()
    """Media nodes' URLs, or dns:HOST:PORT for all addresses of a name; may be repeated."""


@dataclass(frozen=True, kw_only=True)
class NodeAddressOptions(FromEnvironment):
    """This media node."""

    node_address: Annotated[str, Display(metavar="URL", unset="made from --host and --port")] = ""
    """Private URL at which signaling reaches this node."""


@dataclass(frozen=True, kw_only=True)
class WebhookOptions(FromEnvironment):
    """Webhooks."""

    webhook: Annotated[str, Display(metavar="URL")] = field(default="", repr=False)
    """URL that is told, signed, where calls begin, change and end."""
    webhook_secret: tuple[str, ...] = field(default=(), repr=False)
    """Secret that signs webhooks: whsec_ and base64; may be repeated, while one is replaced by another."""


@dataclass(frozen=True, kw_only=True)
class FrontSettings:
    """Options of the roles that answer callers over HTTP."""

    http: HttpOptions = HttpOptions()
    origins: OriginOptions = OriginOptions()
    auth: AuthOptions = AuthOptions()
    ice_servers: IceServerOptions = IceServerOptions()
    rates: RateOptions = RateOptions()
    proxies: ProxyOptions = ProxyOptions()
    subjects: SubjectOptions = SubjectOptions()
    metrics: MetricsOptions = MetricsOptions()
    log: LogOptions = LogOptions()


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """Options of the roles that take calls. Their only secrets are those of webhooks, which these roles send."""

    model: ModelOptions = ModelOptions()
    media: MediaOptions = MediaOptions()
    subjects: SubjectOptions = SubjectOptions()
    drain: DrainOptions = DrainOptions()
    webhooks: WebhookOptions = WebhookOptions()
    log: LogOptions = LogOptions()


@dataclass(frozen=True, kw_only=True)
class ServeSettings(NodeSettings, FrontSettings):
    """Options of ``voxgender serve``."""

    # There is no other server to move to, and those who stop this one seldom wait for more than ten seconds.
    drain: DrainOptions = DrainOptions(drain_timeout_s=5.0)
    processes: WorkerOptions = WorkerOptions()


@dataclass(frozen=True, kw_only=True)
class SignalingSettings(FrontSettings):
    """Options of ``voxgender signaling``."""

    fleet: FleetOptions = FleetOptions()
    node_list: NodeListOptions = NodeListOptions()


@dataclass(frozen=True, kw_only=True)
class MediaSettings(NodeSettings):
    """Options of ``voxgender media``."""

    http: HttpOptions = HttpOptions()
    metrics: MetricsOptions = MetricsOptions()
    fleet: FleetOptions = FleetOptions()
    node: NodeAddressOptions = NodeAddressOptions()


@dataclass(frozen=True, kw_only=True)
class DoctorSettings(ServeSettings, SignalingSettings, MediaSettings):
    """Options of ``voxgender doctor``: those of all roles, and which of them is meant."""

    role: Literal["serve", "signaling", "media"] = "serve"
    """Role whose options are examined."""
    json: bool = False
    """Print one JSON object."""


ROLES: dict[str, type] = {"serve": ServeSettings, "signaling": SignalingSettings, "media": MediaSettings}
"""The options of each role of the server."""


@dataclass(frozen=True, kw_only=True)
class PoolOptions(FromEnvironment):
    """Pool."""

    replicas: Annotated[
        str,
        Meta(pattern=r"^[1-9][0-9]{0,2}(-[1-9][0-9]{0,2})?\Z"),
        Display(metavar="MIN-MAX", takes="MIN-MAX or a number, from 1 to 999, the lower one first"),
    ] = "1-4"
    """Processes that run the model: MIN at all times, up to MAX as windows queue up."""

    def __post_init__(self) -> None:
        low, high = self.replica_range
        if low > high:
            raise SettingsError("--replicas (VOXGENDER_REPLICAS) takes MIN-MAX, the lower one first")

    @property
    def replica_range(self) -> tuple[int, int]:
        """The least and the greatest number of replicas."""
        low, _, high = self.replicas.partition("-")
        return int(low), int(high or low)


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Options of ``voxgender pool``."""

    model: ClassifierOptions = ClassifierOptions()
    pool: PoolOptions = PoolOptions()
    http: HttpOptions = HttpOptions(port=POOL_PORT)
    log: LogOptions = LogOptions()


@dataclass(frozen=True, kw_only=True)
class ClassifySettings:
    """Options of ``voxgender classify``."""

    files: Annotated[tuple[Path, ...], Display(metavar="FILE", positional=True)]
    """Audio file in any format that FFmpeg reads."""
    json: bool = False
    """Print one JSON object a file and line."""
    model: ModelOptions = ModelOptions()


@dataclass(frozen=True, kw_only=True)
class BenchModelSettings:
    """Options of ``voxgender bench-model``."""

    model: Annotated[str, Display(metavar="MODEL", positional=True)]
    """Classifier: embedded, a local directory or a hub id."""
    files: Annotated[tuple[Path, ...], Display(metavar="FILE", positional=True)] = ()
    """Recording of speech on whose windows the runtimes have to agree; without one, the built-in voices."""
    revision: Annotated[str, Display(unset="the main branch")] = ""
    """Branch, tag or commit of the hub's repository."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Processor that is measured; cuda adds the GPU."""
    seconds: Annotated[float, Meta(gt=0, le=600)] = 2.0
    """Time for each figure, in seconds."""
    json: bool = False
    """Print the figures as JSON."""

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


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a server. Values are checked by :meth:`load`."""

    host: Annotated[str, Meta(description="address the HTTP server listens on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="its TCP port; 0 takes a free one")] = 8080
    model: Annotated[
        str,
        Meta(description="embedded, off (no classification), a local directory or a hub id of a wav2vec2"),
    ] = "embedded"
    ice_address: Annotated[
        tuple[str, ...],
        Meta(description="local IP address to offer for media; may be repeated (default: all but loopback)"),
    ] = ()
    ice_server: Annotated[
        tuple[str, ...],
        Meta(description="STUN or TURN server told to clients: stun:HOST or turn:USER:PASSWORD@HOST[?transport=tcp]"),
    ] = ()
    token: Annotated[str, Meta(description="bearer token that a client must show (default: none)")] = ""
    allow_origin: Annotated[
        tuple[str, ...],
        Meta(description="web origin that may call from a browser; may be repeated"),
    ] = ("*",)
    max_sessions: Annotated[int, Meta(ge=1, description="calls taken at once; more get 503")] = 100
    inference_threads: Annotated[
        int, Meta(ge=0, description="threads of the model; 0 leaves one core to the media")
    ] = 0
    window_ms: Annotated[int, Meta(ge=500, le=10_000, description="audio the model hears at once, ms")] = 1_000
    hop_ms: Annotated[int, Meta(ge=64, le=2_000, description="time between two results, ms")] = 192
    connect_timeout_s: Annotated[
        float, Meta(gt=0, description="a call that is not connected by then ends, seconds")
    ] = 15.0
    silence_timeout_s: Annotated[
        float, Meta(gt=0, description="a peer that sends neither packet nor message for so long is gone, seconds")
    ] = 15.0
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    ] = "info"

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> "Settings":
        """Merge defaults, environment and flags (``None``: flag not given).

        Raises:
            SettingsError: a value cannot be used; the message names the option and what it takes.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
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


def is_list(name: str) -> bool:
    return isinstance(default(name), tuple)


def default(name: str) -> Any:
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

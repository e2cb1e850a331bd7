"""Read the URL of ``--registry``, and refuse at the start what Redis' client would refuse with each command.

The client takes any parameter of a URL, and fails only when it connects. Clouds and other libraries write the same
things in several forms (``?ssl=true``, ``CERT_NONE``), so the usual ones are understood.
"""

import ssl
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from voxgender.errors import SettingsError
from voxgender.received import whole_number

_PLAIN = ("redis", "valkey")
_SECURE = ("rediss", "valkeys")
_PORT = 6379
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_CHECKS = {
    "none": "none",
    "cert_none": "none",
    "optional": "optional",
    "cert_optional": "optional",
    "required": "required",
    "cert_required": "required",
}
"""Values of ``ssl_cert_reqs``: redis-py's own, and Python's names, which Celery and Heroku's guides use."""
PARAMETERS = ("db", "ssl", "ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""Parameters that the URL may have behind the ``?``."""

_NAMED = "--registry (VOXGENDER_REGISTRY)"
_FORM = f"{_NAMED} takes redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://… with TLS, or unix://PATH"


@dataclass(frozen=True)
class RedisAddress:
    """One Redis, and how to log in there."""

    host: str = ""
    port: int = _PORT
    path: str = ""
    """Unix domain socket; empty for ``host`` and ``port``."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: dict[str, Any] | None = None
    """Arguments of redis-py for TLS; None without TLS."""

    @property
    def name(self) -> str:
        """The host or the socket, for messages."""
        return self.host or self.path

    def at(self, host: str, port: int) -> "RedisAddress":
        """Return the address of another server of the same cluster; without a host, only the port is another."""
        return replace(self, host=host or self.host, port=port)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``redis.asyncio.Redis``."""
        where = {"unix_socket_path": self.path} if self.path else {"host": self.host, "port": self.port}
        tls = {} if self.tls is None else {"ssl": True, **self.tls}
        return {**where, "db": self.db, "username": self.username, "password": self.password, **tls}


def parse(url: str) -> RedisAddress:
    """Read a URL.

    Raises:
        SettingsError: it is malformed, has a parameter that is not taken, or names a file that cannot be used. The
            message repeats nothing of it, because a password may stand anywhere in a malformed URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise SettingsError(_FORM) from None
    if parts.fragment or url.endswith("#"):
        raise SettingsError(f"{_FORM}; write a # in the password as %23")
    secure = parts.scheme in _SECURE
    if parts.scheme == "unix":
        where = RedisAddress(path=unquote(parts.path))
        if parts.hostname or not parts.path:
            raise SettingsError(_FORM)
    elif secure or parts.scheme in _PLAIN:
        if not parts.hostname or "," in parts.netloc:
            raise SettingsError(f"{_FORM}: one host; write / ? # @ in the password as %2F %3F %23 %40")
        where = RedisAddress(host=parts.hostname, port=port or _PORT, db=_number(unquote(parts.path).strip("/") or "0"))
    else:
        raise SettingsError(_FORM)
    where = replace(
        where,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )
    return _with_parameters(where, parts, secure=secure)


def _with_parameters(where: RedisAddress, parts: SplitResult, *, secure: bool) -> RedisAddress:
    given: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in PARAMETERS or name in given:
            raise SettingsError(f"{_NAMED} takes {', '.join(PARAMETERS)} behind the ?, each once, and nothing else")
        given[name] = value
    if "db" in given:
        where = replace(where, db=_number(given.pop("db")))
    if "ssl" in given:
        if secure and not _flag("ssl", given["ssl"]):
            raise SettingsError(f"{_NAMED} cannot have both rediss:// and ssl=false")
        secure = _flag("ssl", given.pop("ssl"))
    if not secure:
        if given:
            raise SettingsError(f"{_NAMED}: {', '.join(given)} needs rediss:// or ssl=true")
        return where
    if where.path:
        raise SettingsError(f"{_NAMED}: no TLS goes over a unix:// socket")
    return replace(where, tls=_tls(given))


def _tls(given: dict[str, str]) -> dict[str, Any]:
    checks = _CHECKS.get(given.pop("ssl_cert_reqs", "required").lower())
    if checks is None:
        raise SettingsError(f"{_NAMED}: ssl_cert_reqs takes required, optional or none")
    is_named = _flag("ssl_check_hostname", given.pop("ssl_check_hostname", "true"))
    context = ssl.create_default_context()
    try:
        if "ssl_ca_certs" in given:
            context.load_verify_locations(cafile=given["ssl_ca_certs"])
        if "ssl_certfile" in given:
            # Without a password the library would ask for it on the terminal.
            context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"), password="")
        elif "ssl_keyfile" in given:
            raise SettingsError(f"{_NAMED}: ssl_keyfile needs ssl_certfile")
    except (OSError, ValueError) as error:
        # ssl.SSLError is an OSError, and its words are OpenSSL's.
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = str(error.strerror)
        else:
            reason = "it is no such file in PEM form"
        raise SettingsError(f"{_NAMED}: a certificate or key that it names cannot be read ({reason})") from None
    return {"ssl_cert_reqs": checks, "ssl_check_hostname": is_named, **given}


def _number(text: str) -> int:
    number = whole_number(text, 99_999)
    if number is None:
        raise SettingsError(f"{_NAMED}: the database is a number, as in redis://HOST/0")
    return number


def _flag(name: str, text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise SettingsError(f"{_NAMED}: {name} takes true or false")
    return text.lower() in _YES

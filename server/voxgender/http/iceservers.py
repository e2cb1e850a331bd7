"""Tell clients STUN and TURN servers in ``Link`` headers (RFC 9725 section 4.6, syntax of RFC 8288).

For a TURN server that is configured without a login, a short-lived login is made from a secret that it shares with this
server: draft-uberti-behave-turn-rest-00, which coturn calls ``use-auth-secret``.
"""

import base64
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from time import time
from typing import NamedTuple

from voxgender.errors import SettingsError

_FORM = re.compile(
    r"(?P<scheme>stuns?|turns?):(?:(?P<username>[^:@]+):(?P<credential>[^@]+)@)?"
    r"(?P<host>\[[0-9A-Fa-f:]+\]|[^\s:@/?;\"<>]+)(?P<port>:[0-9]{1,5})?(?P<query>\?transport=(?:udp|tcp))?"
)


class IceServer(NamedTuple):
    """One STUN or TURN server."""

    scheme: str
    host: str
    port: int | None
    transport: str
    """``udp`` or ``tcp``; empty if the URI does not say."""
    fixed_login: tuple[str, str] | None

    @property
    def is_relay(self) -> bool:
        """True for TURN."""
        return self.scheme.startswith("turn")

    @property
    def uri(self) -> str:
        """The URI, without the login."""
        port = "" if self.port is None else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}:{host}{port}{f'?transport={self.transport}' if self.transport else ''}"


class IceServers:
    """Makes the ``Link`` headers.

    Args:
        servers: ``stun:HOST``, ``turn:HOST`` or ``turn:USER:PASSWORD@HOST``; port and ``?transport=`` may follow.
        turn_secret: secret shared with the TURN servers that have no login; empty for none.
        turn_ttl_s: lifetime of a login made from the secret. Servers check it when a relay is allocated, some also when
            it is refreshed, so it has to be longer than calls.
        clock: returns seconds since 1970.

    Raises:
        SettingsError: a server is malformed, or a secret or a login is missing or useless.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        turn_secret: str = "",
        turn_ttl_s: int = 86_400,
        clock: Callable[[], float] = time,
    ) -> None:
        self.servers = [_parse(server, bool(turn_secret)) for server in servers]
        self._secret = turn_secret.encode()
        self._ttl_s = turn_ttl_s
        self._clock = clock
        if turn_secret and not any(server.is_relay and server.fixed_login is None for server in self.servers):
            raise SettingsError(
                "--turn-secret (VOXGENDER_TURN_SECRET) is of no use without an --ice-server turn:HOST that has no login"
            )

    def links(self, *, subject: str | None, session_tag: str | None = None) -> list[str]:
        """Return the ``Link`` header values for one caller.

        Args:
            subject: the caller's subject, if known; it is part of the login's name, for the TURN server's log.
            session_tag: tells the caller's sessions apart without giving access to them; random if None.
        """
        tag = session_tag or secrets.token_hex(8)
        return [self._link(server, tag if subject is None else f"{subject}/{tag}") for server in self.servers]

    def login(self, server: IceServer, user: str) -> tuple[str, str]:
        """Return the name and the password with which a caller goes to a TURN server."""
        return server.fixed_login or self._login(user)

    def _link(self, server: IceServer, user: str) -> str:
        link = f'<{server.uri}>; rel="ice-server"'
        if not server.is_relay:
            return link
        username, credential = self.login(server, user)
        return f'{link}; username={_quoted(username)}; credential={_quoted(credential)}; credential-type="password"'

    def _login(self, user: str) -> tuple[str, str]:
        username = f"{int(self._clock()) + self._ttl_s}:{user}"
        password = base64.b64encode(hmac.digest(self._secret, username.encode(), "sha1")).decode()
        return username, password


def _parse(server: str, has_secret: bool) -> IceServer:
    form = _FORM.fullmatch(server)
    if form is None or not 0 < int((form["port"] or ":1")[1:]) <= 65_535:
        raise SettingsError(
            # The message leaves out the value, which may hold a password.
            "--ice-server (VOXGENDER_ICE_SERVER) takes stun:HOST[:PORT] or "
            "turn:[USER:PASSWORD@]HOST[:PORT][?transport=udp|tcp]"
        )
    is_relay = form["scheme"].startswith("turn")
    login = None if form["username"] is None else (form["username"], form["credential"])
    named = f"--ice-server (VOXGENDER_ICE_SERVER): {form['scheme']}:{form['host']}"
    if is_relay and login is None and not has_secret:
        raise SettingsError(f"{named} needs USER:PASSWORD@ before the host, or --turn-secret for logins that expire")
    if login is not None and not is_relay:
        raise SettingsError(f"{named} takes no user and password")
    port = form["port"]
    return IceServer(
        form["scheme"],
        form["host"].strip("[]"),
        int(port[1:]) if port else None,
        (form["query"] or "").removeprefix("?transport="),
        login,
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

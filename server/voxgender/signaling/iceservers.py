"""STUN and TURN servers for clients, as ``Link`` headers (RFC 9725 section 4.6)."""

import re
from collections.abc import Iterable

from voxgender.errors import SettingsError

_FORM = re.compile(
    r"(?P<scheme>stuns?|turns?):(?:(?P<username>[^:@]+):(?P<credential>[^@]+)@)?"
    r"(?P<host>\[[0-9A-Fa-f:]+\]|[^\s:@/?;\"<>]+)(?P<port>:\d+)?(?P<query>\?transport=(?:udp|tcp))?"
)


def links(servers: Iterable[str]) -> list[str]:
    """``Link`` header values of servers given as ``stun:HOST`` or ``turn:USER:PASSWORD@HOST[?transport=tcp]``.

    Raises:
        SettingsError: a server is not of that form.
    """
    return [_link(server) for server in servers]


def _link(server: str) -> str:
    form = _FORM.fullmatch(server)
    if form is None:
        raise SettingsError(
            f"--ice-server (VOXGENDER_ICE_SERVER): {_without_login(server)!r} is neither stun:HOST[:PORT] "
            "nor turn:USER:PASSWORD@HOST[:PORT][?transport=udp|tcp]"
        )
    needs_login = form["scheme"].startswith("turn")
    if needs_login != (form["username"] is not None):
        raise SettingsError(
            f"--ice-server (VOXGENDER_ICE_SERVER): {form['scheme']}:{form['host']} "
            f"{'needs USER:PASSWORD@ before the host' if needs_login else 'takes no user and password'}"
        )
    link = f'<{form["scheme"]}:{form["host"]}{form["port"] or ""}{form["query"] or ""}>; rel="ice-server"'
    if needs_login:
        username, credential = _quoted(form["username"]), _quoted(form["credential"])
        link += f'; username={username}; credential={credential}; credential-type="password"'
    return link


def _without_login(server: str) -> str:
    """For error messages: passwords do not belong in them."""
    head, at, tail = server.rpartition("@")
    return f"{head.partition(':')[0]}:…@{tail}" if at else server


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

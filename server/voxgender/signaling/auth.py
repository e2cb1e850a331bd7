"""Bearer tokens (RFC 6750): who may open a call, and who may look at the operators' pages."""

import hmac

from aiohttp import web

from voxgender.signaling.problems import Problem


class Bearer:
    """Checks one shared token; an empty one lets everybody in.

    A session's own URL needs none: it is unguessable, and some WHIP clients send no token on ``DELETE``.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def check(self, request: web.Request) -> None:
        """Let a request pass, or raise :class:`Problem` 401."""
        if not self._token:
            return
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(
            shown.strip().encode(errors="surrogateescape"), self._token
        ):
            return
        raise Problem(
            401,
            "unauthorized",
            "A valid bearer token is needed: send it as 'Authorization: Bearer TOKEN'.",
            {"WWW-Authenticate": 'Bearer realm="voxgender"'},
        )

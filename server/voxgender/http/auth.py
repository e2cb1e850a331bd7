"""Check the bearer tokens (RFC 6750) of callers and operators."""

import hmac
from urllib.parse import unquote

from aiohttp import web

from voxgender.errors import SettingsError, TokenRejected
from voxgender.http.problems import Problem
from voxgender.settings import AuthOptions

BEARER_PROTOCOL = "bearer."
"""Beginning of the WebSocket subprotocol that holds a token."""
_CHALLENGE = 'Bearer realm="voxgender"'


class Authenticator:
    """Checks one shared token, callers' own JSON Web Tokens, or both; with neither, lets everybody in.

    Requests to a session's own URL need no token: the URL is unguessable, and some WHIP clients send no token on
    ``DELETE``.

    Raises:
        SettingsError: a secret or keys cannot be used, or an issuer is given without either.
    """

    def __init__(self, settings: AuthOptions) -> None:
        self._token = settings.token.encode()
        self._tokens = None
        if settings.jwt_secret or settings.jwt_keys:
            # Imported on demand, because cryptography takes a tenth of a second to import.
            from voxgender.http.keys import JwkSet
            from voxgender.http.tokens import JwtVerifier

            self._tokens = JwtVerifier(
                settings.jwt_secret,
                JwkSet(settings.jwt_keys) if settings.jwt_keys else None,
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
            )
        elif settings.jwt_issuer:
            raise SettingsError("--jwt-issuer (VOXGENDER_JWT_ISSUER) lets nobody in without --jwt-secret or --jwt-keys")

    async def authenticate(self, request: web.Request, shown: str = "") -> str | None:
        """Authenticate a caller; return the subject of its own token, or None if it has the shared token or needs none.

        Args:
            request: the caller's request.
            shown: token that did not come in its headers, if any.

        Raises:
            Problem: 401.
            NotReady: the keys cannot be read now.
        """
        subject, _ = await self._check(request, shown)
        return subject

    async def require_operator(self, request: web.Request) -> None:
        """Require the shared token, or a caller's own token with the scope ``operator``.

        Raises:
            Problem: 401, or 403 if the caller is no operator.
            NotReady: the keys cannot be read now.
        """
        _, is_operator = await self._check(request)
        if not is_operator:
            raise Problem(
                403,
                "insufficient_scope",
                "This is for operators: the token's scope has to have 'operator'.",
                {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="operator"'},
            )

    def require_tokens(self) -> None:
        """Require that the server asks for tokens at all.

        Raises:
            Problem: 403.
        """
        if not self._token and self._tokens is None:
            raise Problem(
                403,
                "tokens_required",
                "This is for operators, and the server asks nobody for a token: start it with --token or --jwt-keys.",
            )

    async def close(self, _: web.Application) -> None:
        """Close the key set (an ``on_cleanup`` signal)."""
        if self._tokens is not None:
            await self._tokens.close()

    async def _check(self, request: web.Request, shown: str = "") -> tuple[str | None, bool]:
        if not self._token and self._tokens is None:
            return None, True
        shown = shown or _shown(request)
        if not shown:
            # RFC 6750 section 3.1: no error code for a request without a token.
            raise _unauthorized("A bearer token is needed: send it as 'Authorization: Bearer TOKEN'.", _CHALLENGE)
        if self._token and hmac.compare_digest(shown.encode(errors="surrogateescape"), self._token):
            return None, True
        why = "The bearer token is not the server's."
        if self._tokens is not None:
            try:
                return await self._tokens.check(shown)
            except TokenRejected as error:
                why = str(error)
        raise _unauthorized(why, f'{_CHALLENGE}, error="invalid_token", error_description="{why}"')


def _shown(request: web.Request) -> str:
    """Return the token of a request: of its ``Authorization``, else of a WebSocket's subprotocols; or nothing.

    A page cannot give a WebSocket headers, so it offers the token as a subprotocol, percent-encoded, beside the one
    that is meant: ``voxgender, bearer.TOKEN``.
    """
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    if scheme:
        return shown.strip() if scheme.lower() == "bearer" else ""
    for offered in ",".join(request.headers.getall("Sec-WebSocket-Protocol", ())).split(","):
        if offered.strip().startswith(BEARER_PROTOCOL):
            return unquote(offered.strip().removeprefix(BEARER_PROTOCOL))
    return ""


def _unauthorized(why: str, challenge: str) -> Problem:
    return Problem(401, "unauthorized", why, {"WWW-Authenticate": challenge})

"""Check bearer tokens (RFC 6750): who may open a call, and who may see operators' pages."""

import hmac

from aiohttp import web

from voxgender.errors import SettingsError, TokenRejected
from voxgender.http.problems import Problem
from voxgender.settings import AuthOptions

_CHALLENGE = 'Bearer realm="voxgender"'


class Authenticator:
    """Checks one shared token, callers' own tokens (JSON Web JwtVerifier), or both; with neither, lets everybody in.

    A session's own URL needs none: it is unguessable, and some WHIP clients send no token on ``DELETE``.

    Raises:
        SettingsError: a secret or keys that cannot be used, or options that say how to check tokens and not by what.
    """

    def __init__(self, settings: AuthOptions) -> None:
        self._token = settings.token.encode()
        self._tokens = None
        if settings.jwt_secret or settings.jwt_keys:
            # Cryptography takes a tenth of a second to import: for those alone who use it.
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

    async def caller(self, request: web.Request) -> str | None:
        """Let a caller pass: the subject of its own token; None with the shared one, or where none is asked for.

        Raises:
            Problem: 401.
            NotReady: the keys of tokens cannot be had now.
        """
        subject, _ = await self._check(request)
        return subject

    async def operator(self, request: web.Request) -> None:
        """Let an operator pass: the shared token, or a caller's own one with the scope ``operator``.

        Raises:
            Problem: 401, or 403 for a caller who is no operator.
            NotReady: the keys of tokens cannot be had now.
        """
        _, is_operator = await self._check(request)
        if not is_operator:
            raise Problem(
                403,
                "insufficient_scope",
                "This is for operators: the token's scope has to have 'operator'.",
                {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="operator"'},
            )

    async def close(self, _: web.Application) -> None:
        """Release what checks the tokens (an ``on_cleanup`` signal)."""
        if self._tokens is not None:
            await self._tokens.close()

    async def _check(self, request: web.Request) -> tuple[str | None, bool]:
        if not self._token and self._tokens is None:
            return None, True
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        shown = shown.strip()
        if scheme.lower() != "bearer" or not shown:
            # RFC 6750 section 3.1: no error code for a request that tried nothing.
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


def _unauthorized(why: str, challenge: str) -> Problem:
    return Problem(401, "unauthorized", why, {"WWW-Authenticate": challenge})

"""Check the bearer tokens (RFC 6750) of callers and operators."""

import hmac
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from aiohttp import web

from voxgender.calloptions import DEFAULTS, CallOptions, bind
from voxgender.errors import SettingsError, TokenRejected
from voxgender.http.problems import Problem
from voxgender.settings import AuthOptions

if TYPE_CHECKING:
    from voxgender.http.tokens import Identity

BEARER_PROTOCOL = "bearer."
"""Beginning of the WebSocket subprotocol that holds a token."""
FOLLOW_SCOPE = "follow:"
"""Beginning of a word of the scope that lets a token's holder follow calls: ``follow:names/studio``."""
_CHALLENGE = 'Bearer realm="voxgender"'


class AuthenticatedCaller(NamedTuple):
    """The caller that opens a call, and the options that its token binds."""

    subject: str | None = None
    """Subject of its own token; None if it has the shared token or needs none."""
    bound: CallOptions = DEFAULTS
    """Options of each of its calls."""
    names_freely: bool = True
    """True if it may choose any name; otherwise the one that its token binds, or none."""

    def options(self, asked: CallOptions) -> CallOptions:
        """Return the options of a call.

        Raises:
            OptionRefused: it asks for something else than its token binds.
            Problem: 403, it asks for a name and may not choose one.
        """
        if asked.name and not self.bound.name and not self.names_freely:
            raise Problem(
                403,
                "name_not_allowed",
                "A call is named by its token here: the token's claim 'call' has to hold the name.",
            )
        return bind(asked, self.bound)


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

    async def authenticate(self, request: web.Request, shown: str = "") -> AuthenticatedCaller:
        """Authenticate a caller.

        Args:
            request: the caller's request.
            shown: token that did not come in its headers, if any.

        Raises:
            Problem: 401.
            NotReady: the keys cannot be read now.
        """
        identity = await self._check(request, shown)
        if identity is None:
            return AuthenticatedCaller()
        return AuthenticatedCaller(identity.subject, identity.bound, names_freely=identity.is_operator)

    async def require_operator(self, request: web.Request) -> None:
        """Require the shared token, or a caller's own token with the scope ``operator``.

        Raises:
            Problem: 401, or 403 if the caller is no operator.
            NotReady: the keys cannot be read now.
        """
        identity = await self._check(request)
        if identity is not None and not identity.is_operator:
            raise Problem(
                403,
                "insufficient_scope",
                "This is for operators: the token's scope has to have 'operator'.",
                {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="operator"'},
            )

    async def require_follower(self, request: web.Request, followed: str) -> "Identity | None":
        """Require the shared token, or one whose scope has ``operator`` or names what is followed.

        Args:
            request: the follower's request.
            followed: ``names/NAME`` or ``subjects/SUBJECT``; the scope has ``follow:`` before it, percent-encoded.

        Returns:
            The follower that its own token identifies; None for the shared token.

        Raises:
            Problem: 401; or 403 if its scope does not have that, or the server asks nobody for a token.
            NotReady: the keys cannot be read now.
        """
        # A name can be guessed, as a session's URL cannot: on an open server everybody could listen to everybody.
        self.require_tokens()
        identity = await self._check(request)
        if identity is None:
            return None
        if not identity.is_operator and FOLLOW_SCOPE + followed not in map(unquote, identity.scope):
            scope = FOLLOW_SCOPE + quote(followed, safe="/")
            raise Problem(
                403,
                "insufficient_scope",
                "The token's scope does not have this; WWW-Authenticate says what it has to have.",
                {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
            )
        return identity

    def require_tokens(self) -> None:
        """Require that the server asks for tokens at all.

        Raises:
            Problem: 403.
        """
        if not self._token and self._tokens is None:
            raise Problem(
                403,
                "tokens_required",
                "This asks for a token, and the server has none to check it by: start it with --token or --jwt-keys.",
            )

    async def close(self, _: web.Application) -> None:
        """Close the key set (an ``on_cleanup`` signal)."""
        if self._tokens is not None:
            await self._tokens.close()

    async def _check(self, request: web.Request, shown: str = "") -> "Identity | None":
        """Return who a caller's own token says it is; None for the shared token, or if none is needed."""
        if not self._token and self._tokens is None:
            return None
        shown = shown or _shown(request)
        if not shown:
            # RFC 6750 section 3.1: no error code for a request without a token.
            raise _unauthorized("A bearer token is needed: send it as 'Authorization: Bearer TOKEN'.", _CHALLENGE)
        if self._token and hmac.compare_digest(shown.encode(errors="surrogateescape"), self._token):
            return None
        why = "The bearer token is not the server's."
        if self._tokens is not None:
            try:
                return await self._tokens.check(shown)
            except TokenRejected as error:
                why = str(error)
        raise _unauthorized(why, f'{_CHALLENGE}, error="invalid_token", error_description="{why}"')


def _shown(request: web.Request) -> str:
    """Return the token of a request: from ``Authorization``, or else from a WebSocket's subprotocols; or nothing.

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

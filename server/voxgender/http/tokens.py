"""Callers' own tokens: JSON Web JwtVerifier (RFC 7519), checked by a shared secret or by public keys."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import jwt

from voxgender.errors import SettingsError, TokenRejected
from voxgender.http.keys import JwkSet

LEEWAY_S = 10
"""By how much the clocks of those who sign and of this server may differ."""
OPERATOR_SCOPE = "operator"
MIN_SECRET_BYTES = 32
"""RFC 7518 section 3.2: a key of the hash's size or larger."""
_MAX_SUBJECT = 255
"""Characters of ASCII, as in OpenID Connect Core section 2."""
_PUBLIC = ("RS256", "ES256", "EdDSA")


class Identity(NamedTuple):
    """Whom a token speaks for."""

    subject: str
    is_operator: bool
    """Its ``scope`` (RFC 8693 section 4.2) has ``operator``."""


class JwtVerifier:
    """Checks signature, ``exp``, ``nbf``, ``iat``, ``aud``, ``sub`` and, where one is wanted, ``iss``.

    Args:
        secret: of HS256 signatures; empty for none.
        keys: of all others; None for none.
        audience: what ``aud`` has to name.
        issuer: what ``iss`` has to be; empty for any.

    Raises:
        SettingsError: the secret is too short, or is a key of another kind.
    """

    def __init__(self, secret: str, keys: JwkSet | None, *, audience: str, issuer: str) -> None:
        self._secret = _secret_key(secret) if secret else None
        self._keys = keys
        self._audience = audience
        self._issuer = issuer

    async def check(self, token: str) -> Identity:
        """Say whom a token speaks for.

        Raises:
            TokenRejected: for nobody.
            NotReady: its key cannot be had now.
        """
        try:
            key = await self._key(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key,
                # Of the key, not of the token: a public key never checks an HS256 signature.
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._issuer or None,
                leeway=LEEWAY_S,
                options={"require": ["exp", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            # What is no text, or nested without end, stumbles before it is judged.
            raise TokenRejected(_reason(error)) from None
        return _identity(claims)

    async def close(self) -> None:
        if self._keys is not None:
            await self._keys.close()

    async def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        algorithm = header.get("alg")
        key = None
        if algorithm == "HS256":
            key = self._secret
        elif algorithm in _PUBLIC and self._keys is not None:
            key = await self._keys.find(header.get("kid"), algorithm)
        else:
            raise TokenRejected("The token is signed in a way that is not taken here.")
        if key is None:
            raise TokenRejected("The token is signed with a key that is not known here.")
        return key


def _secret_key(secret: str) -> jwt.PyJWK:
    raw = secret.encode()
    if len(raw) < MIN_SECRET_BYTES:
        raise SettingsError(
            f"--jwt-secret (VOXGENDER_JWT_SECRET) takes at least {MIN_SECRET_BYTES} bytes; "
            "`openssl rand -hex 32` makes one"
        )
    if raw.lstrip().startswith((b"-----BEGIN", b"ssh-")):
        raise SettingsError("--jwt-secret (VOXGENDER_JWT_SECRET) takes a secret; public keys go into --jwt-keys")
    return jwt.PyJWK({"kty": "oct", "k": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()}, "HS256")


def _identity(claims: Mapping[str, Any]) -> Identity:
    subject, scope = claims["sub"], claims.get("scope", "")
    if not (0 < len(subject) <= _MAX_SUBJECT and subject.isascii() and subject.isprintable()):
        raise TokenRejected(f"The token's subject is not 1 to {_MAX_SUBJECT} printable ASCII characters.")
    return Identity(subject, isinstance(scope, str) and OPERATOR_SCOPE in scope.split())


def _reason(error: Exception) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "The token has expired."
        case jwt.ImmatureSignatureError():
            return "The token is not valid yet."
        case jwt.InvalidAudienceError():
            return "The token is meant for another audience."
        case jwt.InvalidIssuerError():
            return "The token comes from another issuer."
        case jwt.MissingRequiredClaimError():
            return f"The token has no {error.claim!r}."
        case jwt.InvalidSignatureError():
            return "The token's signature is wrong."
    return "The token is not the server's, and no JSON Web Token that can be read."

"""Verify callers' own JSON Web Tokens (RFC 7519) by a shared secret or by public keys."""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import jwt

from voxgender.calloptions import PARAMETERS, CallOptions, read
from voxgender.errors import OptionRefused, SettingsError, TokenRejected
from voxgender.http.keys import JwkSet

LEEWAY_S = 10
"""Greatest difference between the clocks of a token's issuer and of this server."""
OPERATOR_SCOPE = "operator"
MIN_SECRET_BYTES = 32
"""Least size of a secret: that of the hash (RFC 7518 section 3.2)."""
_MAX_SUBJECT = 255
_LATEST_S = 1e11
"""Expiry, in seconds since the epoch, that is late enough for any token: three thousand years from now."""
"""Greatest length of a subject in ASCII characters (OpenID Connect Core section 2)."""
_PUBLIC = ("RS256", "ES256", "EdDSA")


class Identity(NamedTuple):
    """The caller that a token identifies."""

    subject: str
    scope: frozenset[str]
    """Words of the token's ``scope`` (RFC 8693 section 4.2)."""
    expires_at: float
    """Seconds since the epoch."""
    bound: CallOptions
    """Options that the token's claim ``call`` binds."""

    @property
    def is_operator(self) -> bool:
        """True if the scope has ``operator``."""
        return OPERATOR_SCOPE in self.scope


class JwtVerifier:
    """Checks signature, ``exp``, ``nbf``, ``iat``, ``aud``, ``sub`` and, if an issuer is set, ``iss``.

    Args:
        secret: secret of HS256 signatures; empty for none.
        keys: public keys of other signatures; None for none.
        audience: required value of ``aud``.
        issuer: required value of ``iss``; empty for any.

    Raises:
        SettingsError: the secret is too short, or is a key of another kind.
    """

    def __init__(self, secret: str, keys: JwkSet | None, *, audience: str, issuer: str) -> None:
        self._secret = [_secret_key(secret)] if secret else []
        self._keys = keys
        self._audience = audience
        self._issuer = issuer

    async def check(self, token: str) -> Identity:
        """Verify a token and return its identity.

        Raises:
            TokenRejected: the token is not valid.
            NotReady: the keys cannot be read now.
        """
        try:
            header = jwt.get_unverified_header(token)
            keys = await self._find_keys(header)
            try:
                claims = self._claims(token, keys)
            except jwt.InvalidSignatureError:
                # The issuer may have replaced a key under the same id, or without one.
                others = await self._find_keys(header, instead_of=keys)
                if others == keys:
                    raise
                claims = self._claims(token, others)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            # Malformed and endlessly nested tokens raise other errors before the signature is checked.
            raise TokenRejected(_reason(error)) from None
        if not all(type(claims.get(name, 0)) in (int, float) for name in ("exp", "nbf", "iat")):
            # Texts of digits, in any script, and truth values pass for times otherwise.
            raise TokenRejected("The token's times are no numbers (RFC 7519 section 2, NumericDate).")
        return _identity(claims)

    async def close(self) -> None:
        if self._keys is not None:
            await self._keys.close()

    def _claims(self, token: str, keys: Sequence[jwt.PyJWK]) -> dict[str, Any]:
        """Return the claims of a token that one of the keys has signed."""
        for key in keys[:-1]:
            with suppress(jwt.InvalidSignatureError):
                return self._claims_by(token, key)
        return self._claims_by(token, keys[-1])

    def _claims_by(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            # The key's algorithm, not the token's, so that a public key never checks an HS256 signature.
            algorithms=[key.algorithm_name],
            audience=self._audience,
            issuer=self._issuer or None,
            leeway=LEEWAY_S,
            options={"require": ["exp", "aud", "sub"]},
        )
        return claims

    async def _find_keys(
        self, header: Mapping[str, Any], *, instead_of: Sequence[jwt.PyJWK] = ()
    ) -> Sequence[jwt.PyJWK]:
        algorithm = header.get("alg")
        keys: Sequence[jwt.PyJWK] = ()
        if algorithm == "HS256":
            keys = self._secret
        elif algorithm in _PUBLIC and self._keys is not None:
            keys = await self._keys.find(header.get("kid"), algorithm, instead_of=instead_of)
        else:
            raise TokenRejected("The token is signed in a way that is not taken here.")
        if not keys:
            raise TokenRejected("The token is signed with a key that is not known here.")
        return keys


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
    words = frozenset(scope.split()) if isinstance(scope, str) else frozenset()
    return Identity(subject, words, min(claims["exp"], _LATEST_S), _bound(claims.get("call", {})))


def _bound(claim: object) -> CallOptions:
    if not isinstance(claim, Mapping) or any(option not in PARAMETERS for option in claim):
        raise TokenRejected(f"The token's claim 'call' is an object that may hold {', '.join(PARAMETERS)}.")
    try:
        return read(claim)
    except OptionRefused as error:
        raise TokenRejected(f"The token's claim 'call': {error}") from None


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

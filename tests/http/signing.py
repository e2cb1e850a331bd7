"""Sign callers' tokens: keys, the key set that is published, and tokens."""

import base64
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

Algorithm = Literal["RS256", "ES256", "EdDSA"]
_TO_JWK: dict[Algorithm, Callable[[Any], str]] = {
    "RS256": RSAAlgorithm.to_jwk,
    "ES256": ECAlgorithm.to_jwk,
    "EdDSA": OKPAlgorithm.to_jwk,
}
SECRET = "a secret that is at least 32 bytes long"
SHARED_TOKEN = "open sesame"
AS_ALL = {"Authorization": f"Bearer {SHARED_TOKEN}"}


class Signer:
    """A private key with an id."""

    def __init__(self, algorithm: Algorithm, key_id: str) -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        self.key: Any = {
            "RS256": lambda: rsa.generate_private_key(65_537, 2_048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[algorithm]()

    def public(self, **members: Any) -> dict[str, Any]:
        """The public half as a JSON Web Key."""
        jwk: dict[str, Any] = json.loads(_TO_JWK[self.algorithm](self.key.public_key()))
        return {**jwk, "kid": self.key_id, "use": "sig", **members}

    def token(self, *, header: dict[str, Any] | None = None, **changed: Any) -> str:
        named = {"kid": self.key_id} if header is None else header
        return jwt.encode(claims(**changed), self.key, self.algorithm, headers=named)


def claims(**changed: Any) -> dict[str, Any]:
    """Return a valid token's claims with some changed; None leaves a claim out."""
    said = {"sub": "ann", "aud": "voxgender", "exp": int(time.time()) + 300} | changed
    return {name: value for name, value in said.items() if value is not None}


def by_secret(secret: str = SECRET, **changed: Any) -> str:
    return jwt.encode(claims(**changed), secret, "HS256")


def as_token(**changed: Any) -> dict[str, str]:
    """The header of a caller with a token of its own."""
    return {"Authorization": f"Bearer {by_secret(**changed)}"}


def key_set(signers: Sequence[Signer]) -> bytes:
    return json.dumps({"keys": [signer.public() for signer in signers]}).encode()


def by_hand(header: dict[str, Any] | bytes, payload: dict[str, Any], signature: bytes = b"") -> str:
    """A token that no library would make."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    parts = (raw, json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)

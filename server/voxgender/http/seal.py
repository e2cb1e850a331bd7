"""Seal texts so that only holders of the same secret can read or make them."""

import hashlib
from base64 import urlsafe_b64encode
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken

_SALT = b"voxgender: tickets of POST /listen"


class Seal:
    """Encrypts and signs texts (Fernet: AES-128-CBC and HMAC-SHA256), each with the time at which it was sealed.

    Args:
        secret: known to all who may open the seal.
    """

    def __init__(self, secret: str) -> None:
        self._fernet = _fernet(secret)

    def close(self, text: bytes, now: float) -> str:
        """Return a sealed text, which may stand in a URL."""
        return self._fernet.encrypt_at_time(text, int(now)).decode()

    def open(self, sealed: str, now: float, *, within_s: int) -> bytes | None:
        """Return the text; None if it was not sealed with the secret within this time."""
        try:
            return self._fernet.decrypt_at_time(sealed, within_s, int(now))
        except (InvalidToken, ValueError):
            return None


@lru_cache(maxsize=4)
def _fernet(secret: str) -> Fernet:
    # Slow on purpose (RFC 7914): somebody with a sealed text in hand could try the words of a dictionary.
    return Fernet(urlsafe_b64encode(hashlib.scrypt(secret.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32)))

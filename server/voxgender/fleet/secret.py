"""The secret that signaling and media nodes share, and what is made of it.

Nothing that crosses the network lets anyone compute the secret, or sign anything else: every signature is an
HMAC-SHA256 (RFC 2104) over its purpose and its text, cut to 128 bits.
"""

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable

from voxgender.errors import SettingsError

SCHEME = "Voxgender"
"""The authentication scheme between signaling and a node: ``Authorization: Voxgender TIME SIGNATURE``."""
TOLERANCE_S = 60.0
"""How far apart the clocks of two machines may be, and for how long a request that was seen could be sent again."""
_SIGNATURE_BYTES = 16


class Secret:
    """Signs and checks.

    Args:
        text: the secret.
        clock: tells the time in seconds since the epoch, as ``time.time``.

    Raises:
        SettingsError: there is no secret.
    """

    def __init__(self, text: str, *, clock: Callable[[], float] = time.time) -> None:
        if not text:
            raise SettingsError(
                "signaling and media nodes need a secret that they share: set VOXGENDER_SECRET to the same long random "
                "text for all, such as `openssl rand -hex 32` prints"
            )
        self._key = text.encode()
        self._clock = clock

    def sign(self, purpose: str, text: bytes) -> str:
        """Return a signature of 22 characters that only a holder of the secret can make."""
        digest = hmac.digest(self._key, purpose.encode() + b"\0" + text, hashlib.sha256)
        return urlsafe_b64encode(digest[:_SIGNATURE_BYTES]).decode().rstrip("=")

    def is_signature(self, shown: str, purpose: str, text: bytes) -> bool:
        """Return whether ``shown`` is what :meth:`sign` makes, compared in constant time."""
        return hmac.compare_digest(shown.encode(errors="surrogateescape"), self.sign(purpose, text).encode())

    def new_session_id(self, node_id: str) -> str:
        """Return an unguessable id that tells holders of the secret which node has the session."""
        named = f"{secrets.token_urlsafe(24)}.{node_id}"
        return f"{named}.{self.sign('session', named.encode())}"

    def node_of(self, session_id: str) -> str | None:
        """Return the id of the node that has a session, or None where the id is not signed."""
        named, _, signature = session_id.rpartition(".")
        if not self.is_signature(signature, "session", named.encode(errors="surrogateescape")):
            return None
        return named.rpartition(".")[2]

    def authorization(self, method: str, path: str, body: bytes = b"") -> str:
        """Return the ``Authorization`` header of a request to a node, valid for :data:`TOLERANCE_S`."""
        now = str(int(self._clock()))
        return f"{SCHEME} {now} {self.sign('request', _request(method, path, now, body))}"

    def refusal(self, header: str, method: str, path: str, body: bytes = b"") -> str | None:
        """Return why a request's ``Authorization`` is invalid, or None if it is valid."""
        scheme, _, rest = header.partition(" ")
        made_at, _, signature = rest.partition(" ")
        if scheme != SCHEME or not (made_at.isascii() and made_at.isdigit() and len(made_at) < 12):
            return "This is for voxgender's signaling alone."
        if not self.is_signature(signature, "request", _request(method, path, made_at, body)):
            return "The request is signed with another secret: VOXGENDER_SECRET has to be the same everywhere."
        apart_s = abs(self._clock() - int(made_at))
        if apart_s > TOLERANCE_S:
            return f"The request was signed {apart_s:.0f} s from now: set the clocks of both machines."
        return None


def _request(method: str, path: str, made_at: str, body: bytes) -> bytes:
    return f"{method}\n{path}\n{made_at}\n{hashlib.sha256(body).hexdigest()}".encode(errors="surrogateescape")

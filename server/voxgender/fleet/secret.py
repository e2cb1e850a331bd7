"""Sign and check requests, answers and session ids by the secret that signaling and media nodes share.

Every signature is an HMAC-SHA256 (RFC 2104) over a purpose and a text, cut to 128 bits. So a signature reveals neither
the secret nor a signature for another purpose.
"""

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable

from voxgender.errors import SettingsError
from voxgender.received import whole_number

SCHEME = "Voxgender"
"""The authentication scheme between signaling and a node: ``Authorization: Voxgender TIME SIGNATURE``."""
TOLERANCE_S = 60.0
"""Greatest difference between the clocks of two machines; a captured request can be replayed for as long."""
_SIGNATURE_BYTES = 16


class Secret:
    """Signs and checks texts.

    Args:
        text: the secret.
        clock: returns seconds since the epoch, as ``time.time``.

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
        """Return the id of the node that has a session, or None if the id is not signed."""
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
        made_at_s = whole_number(made_at)
        if scheme != SCHEME or made_at_s is None:
            return "This is for voxgender's signaling alone."
        if not self.is_signature(signature, "request", _request(method, path, made_at, body)):
            return "The request is signed with another secret: VOXGENDER_SECRET has to be the same everywhere."
        apart_s = abs(self._clock() - made_at_s)
        if apart_s > TOLERANCE_S:
            return f"The request was signed {apart_s:.0f} s from now: set the clocks of both machines."
        return None


def _request(method: str, path: str, made_at: str, body: bytes) -> bytes:
    return f"{method}\n{path}\n{made_at}\n{hashlib.sha256(body).hexdigest()}".encode(errors="surrogateescape")

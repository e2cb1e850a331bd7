"""Recognise ids of sessions, and name calls by a hash that does not give their ids away."""

import hashlib
import re

_SESSION_ID = re.compile(r"[\w-]{32}(\.[\w-]{8,22}){1,2}", re.ASCII)


def call_hash(session_id: str) -> str:
    """Return a short hash of a session's id: operators may see it, and it opens nothing, as the id would."""
    return hashlib.sha256(b"reference:" + session_id.encode()).hexdigest()[:12]


def is_session_id(text: str) -> bool:
    """Tell whether a text has the shape of a session's id that names a node; its signature is not checked."""
    return _SESSION_ID.fullmatch(text) is not None

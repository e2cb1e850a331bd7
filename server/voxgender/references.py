"""Name calls to people without giving away their ids."""

import hashlib


def reference(session_id: str) -> str:
    """Return a short hash of a session's id: operators may see it, and it opens nothing, as the id would."""
    return hashlib.sha256(b"reference:" + session_id.encode()).hexdigest()[:12]

"""What signaling asks of a media node, wherever that runs."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from voxgender.protocol import Message


class Node(Protocol):
    """The port between HTTP and media. Errors are those of ``voxgender.errors``."""

    def check_ready(self) -> None:
        """Raises ``NotReady`` while no calls are taken, whatever room there is."""
        ...

    async def open(self, offer: str) -> tuple[str, str]:
        """Answer an SDP offer: session id and answer. Raises ``NotReady``, ``OfferRejected``."""
        ...

    async def trickle(self, session_id: str, fragment: str) -> None:
        """Add candidates. Raises ``SessionNotFound``, ``FragmentRejected``."""
        ...

    async def end(self, session_id: str) -> None:
        """End a session. Raises ``SessionNotFound``."""
        ...

    def follow(self, session_id: str) -> AsyncGenerator[Message, None]:
        """A session's messages until it ends. Raises ``SessionNotFound``."""
        ...

    def status(self, session_id: str) -> dict[str, Any]:
        """One session's state. Raises ``SessionNotFound``."""
        ...

    def sessions(self) -> list[dict[str, Any]]:
        """All sessions' states, for operators."""
        ...

"""What signaling asks of a media node, wherever that runs."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol


class Calls(Protocol):
    """The port between HTTP and media. Errors are those of ``voxgender.errors``.

    Any may raise ``NotReady`` too, where the node is elsewhere and cannot be asked.
    """

    def check_ready(self) -> None:
        """Raises ``NotReady`` while no calls are taken, whatever room there is."""
        ...

    async def open(self, offer: str, subject: str | None = None) -> tuple[str, str]:
        """Answer an SDP offer: session id and answer. ``subject`` is the caller's, where its token names one.

        Raises ``NotReady``, ``TooManySessions``, ``OfferRejected``.
        """
        ...

    async def trickle(self, session_id: str, fragment: str) -> None:
        """Add candidates. Raises ``SessionNotFound``, ``FragmentRejected``."""
        ...

    async def end(self, session_id: str) -> None:
        """End a session. Raises ``SessionNotFound``."""
        ...

    async def follow(self, session_id: str) -> AsyncGenerator[str, None]:
        """A session's messages as JSON texts, until it ends. Raises ``SessionNotFound``, ``NotReady``."""
        ...

    async def describe(self, session_id: str) -> dict[str, Any]:
        """One session's state. Raises ``SessionNotFound``."""
        ...

    async def describe_all(self) -> list[dict[str, Any]]:
        """All sessions' states, for operators."""
        ...

"""The port between HTTP and the calls behind it, on this machine or on others."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol


class Calls(Protocol):
    """Opens, finds and ends calls: ``media.node.MediaNode`` holds them, ``fleet.router.Router`` asks nodes elsewhere.

    Errors are those of ``voxgender.errors``. Any method may raise ``NotReady`` where a node elsewhere cannot be asked.
    """

    def check_ready(self) -> None:
        """Raise ``NotReady`` while no calls are taken, whatever room there is."""
        ...

    async def open(self, offer: str, subject: str | None = None, address: str = "") -> tuple[str, str]:
        """Answer an SDP offer: session id and answer.

        ``subject`` is the caller's, where its token names one; ``address`` is where its offer came from.

        Raises ``NotReady``, ``TooManySessions``, ``SdpRejected``.
        """
        ...

    async def trickle(self, session_id: str, fragment: str) -> None:
        """Add candidates. Raises ``SessionNotFound``, ``SdpRejected``."""
        ...

    async def end(self, session_id: str) -> None:
        """End a session. Raises ``SessionNotFound``."""
        ...

    async def follow(self, session_id: str) -> AsyncGenerator[str, None]:
        """Return a session's messages as JSON texts, until it ends. Raises ``SessionNotFound``, ``NotReady``."""
        ...

    async def describe(self, session_id: str) -> dict[str, Any]:
        """Return one session's state. Raises ``SessionNotFound``."""
        ...

    async def describe_all(self) -> list[dict[str, Any]]:
        """Return all sessions' states, for operators."""
        ...


class NodeCalls(Calls, Protocol):
    """The calls of one media node, and how full it is."""

    @property
    def capacity(self) -> int:
        """Sessions taken at once."""
        ...

    @property
    def live(self) -> int:
        """Sessions there are."""
        ...

    @property
    def draining(self) -> bool:
        """Return whether calls are no longer taken, for good."""
        ...

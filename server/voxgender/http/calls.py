"""Define the interface between HTTP and calls, in this process or on other nodes."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from voxgender.audiostream import StreamFormat
from voxgender.calloptions import DEFAULTS, CallOptions
from voxgender.errors import Ending
from voxgender.roster import Followed, Watch
from voxgender.usage import UsageReport


class ClientStream(Protocol):
    """A call whose audio comes as a stream of bytes, and the one client that sends it.

    Any method may wait until the stream takes more.
    """

    @property
    def id(self) -> str:
        """The session's id."""
        ...

    @property
    def form(self) -> StreamFormat:
        """The format of the audio."""
        ...

    async def push(self, audio: bytes) -> None:
        """Add bytes of audio. Raises ``StreamEnded``."""
        ...

    async def ping(self) -> None:
        """Note that the client is there."""
        ...

    async def finalize(self) -> None:
        """Tell the present segment now, and go on."""
        ...

    async def finish(self) -> None:
        """End the audio; the last messages follow."""
        ...

    async def leave(self, ending: Ending = "done") -> None:
        """End the call, whose client has left or was sent away."""
        ...

    def messages(self) -> AsyncGenerator[str, None]:
        """Yield the client's messages as JSON texts; raises ``StreamEnded`` after the last one."""
        ...


class Calls(Protocol):
    """Opens, finds and ends calls: ``media.node.MediaNode`` holds them, ``fleet.router.Router`` asks nodes elsewhere.

    Errors are those of ``voxgender.errors``. Any method may raise ``NotReady`` if another node cannot be reached.
    """

    def check_ready(self) -> None:
        """Raise ``NotReady`` while no calls are taken. A full node is ready."""
        ...

    async def open(
        self, offer: str, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        """Answer an SDP offer; return session id and answer.

        ``subject`` is that of the caller's token, if any; ``address`` is where the offer came from.

        Raises ``NotReady``, ``TooManySessions``, ``SdpRejected``, ``OptionRefused``.
        """
        ...

    async def listen(
        self, form: StreamFormat, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> ClientStream:
        """Begin a call over a stream of audio; see :meth:`open`. Raises the same but for ``SdpRejected``."""
        ...

    async def reserve(
        self, form: StreamFormat, subject: str | None = None, address: str = "", options: CallOptions = DEFAULTS
    ) -> tuple[str, str]:
        """Reserve a place for a stream; return session id and ticket. Raises as :meth:`listen`."""
        ...

    async def redeem(self, ticket: str) -> ClientStream:
        """Begin the call of a ticket, once. Raises ``SessionNotFound``, ``NotReady``."""
        ...

    async def trickle(self, session_id: str, fragment: str) -> None:
        """Add candidates. Raises ``SessionNotFound``, ``SdpRejected``."""
        ...

    async def update(self, session_id: str, offer: str) -> str:
        """Answer a later SDP offer, which adds or removes voices; return the answer.

        Raises ``SessionNotFound``, ``SdpRejected``, ``NotReady``, ``TooManySessions``.
        """
        ...

    async def end(self, session_id: str) -> None:
        """End a session. Raises ``SessionNotFound``."""
        ...

    async def follow(
        self, session_id: str, after: int | None = None, messages: tuple[str, ...] | None = None
    ) -> AsyncGenerator[Followed, None]:
        """Return a session's messages, until it ends; the last one is its end.

        ``after`` is the number of the last one that the follower has had, if any: earlier ones are left out.
        ``messages`` are the types that it wants, of those that can be chosen; None for those of the call.

        Raises ``SessionNotFound``, ``NotReady``.
        """
        ...

    async def watch(self) -> Watch:
        """Return the live calls that have a name or a subject, and all changes from now on.

        The watcher closes it.
        """
        ...

    async def describe(self, session_id: str) -> dict[str, Any]:
        """Return one session's state. Raises ``SessionNotFound``."""
        ...

    async def describe_all(self) -> list[dict[str, Any]]:
        """Return all sessions' states, for operators."""
        ...

    async def overview(self) -> dict[str, list[dict[str, Any]]]:
        """Return ``calls``, each named by the hash of its id, and ``nodes``, for operators."""
        ...

    async def usage(self) -> UsageReport:
        """Return what was used by subject, for operators."""
        ...

    async def end_by_hash(self, wanted: str) -> None:
        """End the session whose id has this hash. Raises ``SessionNotFound``."""
        ...

    async def drain_node(self, node: str) -> None:
        """Let a node take no more calls, and ask its clients to move. Raises ``NodeNotFound``."""
        ...


class NodeCalls(Calls, Protocol):
    """The calls of one media node, with its occupancy."""

    @property
    def capacity(self) -> int:
        """Greatest number of concurrent sessions."""
        ...

    @property
    def live(self) -> int:
        """Number of present sessions."""
        ...

    @property
    def draining(self) -> bool:
        """True once no more calls are taken."""
        ...

    def drain(self) -> None:
        """Take no more calls, and ask the clients of those there are to move."""
        ...

    @property
    def overloaded(self) -> bool:
        """True while calls are refused because the node does not keep up."""
        ...

"""Send requests to a media node in another process, or on another machine."""

from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from voxgender import received
from voxgender.audiostream import StreamFormat
from voxgender.calloptions import MESSAGES
from voxgender.fleet.nodehttp import MAX_LINE, NoAnswer, NodeHttp
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.remotestream import HEARTBEAT_S, STREAM_HEADER, RemoteStream
from voxgender.fleet.secret import Secret
from voxgender.fleet.wire import SIGNATURE_HEADER, OfferRequest, OfferResponse, signed_text
from voxgender.http.sessions import FRAGMENT, SDP
from voxgender.received import whole_number
from voxgender.roster import Followed, Gone, LiveCall
from voxgender.settings import is_host
from voxgender.usage import UsageReport

ANSWER_TIMEOUT_S = 3.0
"""Time for the answer to an offer; a healthy node takes some ten milliseconds."""
END_TIMEOUT_S = 10.0
"""Time for the end of a session, whose last windows are classified and last messages delivered first."""
RECORD_TIMEOUT_S = 1.5
"""Time for a node's record."""

MAX_USAGE = 4 * 1024 * 1024
"""Bytes of the usage of ten thousand subjects with long names."""


class RemoteNode:
    """Client of a media node's private API.

    Args:
        url: URL of the API: ``http://HOST:PORT``, ``https://…``, or ``unix:PATH``.
        secret: signs the requests.
        on_record: called with the record in each answer.
        answer_timeout_s: time for an answer about a session.
    """

    def __init__(
        self,
        url: str,
        secret: Secret,
        *,
        on_record: Callable[[NodeRecord], None] = lambda _: None,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.url = url
        self._secret = secret
        self._http = NodeHttp(url, secret, on_record)
        self._answer_timeout_s = answer_timeout_s

    async def close(self) -> None:
        await self._http.close()

    async def record(self) -> NodeRecord:
        """Return the node's record.

        Raises:
            Unreachable, NoAnswer
            NotReady: it is starting.
        """
        async with self._http.request("GET", "/node", timeout_s=RECORD_TIMEOUT_S) as response:
            return self._http.decoded(await self._http.read(response, MAX_LINE), NodeRecord)

    async def offer(self, offer_id: str, request: OfferRequest, *, within_s: float | None = None) -> OfferResponse:
        """Send an offer. After :class:`NoAnswer`, withdraw it before sending it to another node.

        Args:
            within_s: time for the answer, where it is less than usual.

        Raises:
            Unreachable, NoAnswer
            NotReady, TooManySessions, SdpRejected, OptionRefused
        """
        async with self._http.request(
            "PUT",
            f"/offers/{offer_id}",
            msgspec.json.encode(request),
            "application/json",
            timeout_s=min(self._answer_timeout_s, within_s or self._answer_timeout_s),
        ) as response:
            return self._http.decoded(await self._read_signed(response, offer_id), OfferResponse)

    async def redeem(self, ticket: str) -> RemoteStream:
        """Connect to the stream of a ticket.

        Raises:
            Unreachable, NoAnswer
            SessionNotFound, NotReady
        """
        path = f"/listen/{quote(ticket, safe='')}"
        socket = await self._http.connect(path, timeout_s=self._answer_timeout_s, heartbeat_s=HEARTBEAT_S)
        try:
            shown = unquote(socket.response.headers.get(STREAM_HEADER, ""))
            session_id = socket.response.headers.get("Location", "").removeprefix("/whip/")
            return RemoteStream(socket, session_id, self._http.decoded(shown.encode(), StreamFormat))
        except NoAnswer:
            # The node's call would go on, with nobody who sends.
            await socket.close()
            raise

    async def withdraw(self, offer_id: str) -> None:
        """Withdraw an offer, whether the node has received it or not.

        Raises:
            Unreachable, NoAnswer
        """
        async with self._http.request("DELETE", f"/offers/{offer_id}", timeout_s=END_TIMEOUT_S):
            pass

    async def trickle(self, session_id: str, fragment: str) -> None:
        """Add candidates. Raises ``Unreachable``, ``NoAnswer``, ``SessionNotFound`` or ``SdpRejected``."""
        path, body = _path(session_id), fragment.encode()
        async with self._http.request("PATCH", path, body, FRAGMENT, timeout_s=self._answer_timeout_s):
            pass

    async def watch(self) -> AsyncGenerator[LiveCall | Gone | None, None]:
        """Return the node's calls that have a name or a subject, then None, then all changes, while connected.

        Raises:
            Unreachable, NoAnswer
        """
        asking = self._http.request("GET", "/calls", timeout_s=None)
        response = await asking.__aenter__()

        async def changes() -> AsyncGenerator[LiveCall | Gone | None, None]:
            try:
                async for line in response.content:
                    if len(line) > MAX_LINE:
                        return
                    if line.strip():
                        yield self._http.decoded(line, LiveCall | Gone | None)  # type: ignore[arg-type]
            except (aiohttp.ClientError, HttpProcessingError, TimeoutError, NoAnswer):
                return
            finally:
                await asking.__aexit__(None, None, None)

        return changes()

    async def update(self, session_id: str, offer: str) -> str:
        """Send a later offer of a session. Returns the answer.

        Raises:
            Unreachable, NoAnswer
            SessionNotFound, SdpRejected, NotReady, TooManySessions
        """
        path, body = _path(session_id), offer.encode()
        async with self._http.request("PATCH", path, body, SDP, timeout_s=self._answer_timeout_s) as response:
            return (await self._read_signed(response, session_id)).decode(errors="replace")

    async def end(self, session_id: str) -> None:
        """End a session."""
        async with self._http.request("DELETE", _path(session_id), timeout_s=END_TIMEOUT_S):
            pass

    async def describe(self, session_id: str) -> dict[str, Any]:
        """Return a session's state."""
        async with self._http.request("GET", _path(session_id), timeout_s=self._answer_timeout_s) as response:
            return self._http.decoded(await self._http.read(response), dict[str, Any])

    async def describe_all(self) -> list[dict[str, Any]]:
        """Return the states of all the node's sessions."""
        async with self._http.request("GET", "/sessions", timeout_s=self._answer_timeout_s) as response:
            return self._http.decoded(await self._http.read(response), dict[str, list[dict[str, Any]]])["sessions"]

    async def overview(self) -> dict[str, list[dict[str, Any]]]:
        """Return the node's calls and the node itself, for operators."""
        async with self._http.request("GET", "/overview", timeout_s=self._answer_timeout_s) as response:
            return self._http.decoded(await self._http.read(response), dict[str, list[dict[str, Any]]])

    async def usage(self) -> UsageReport:
        """Return what was used on the node, by subject."""
        async with self._http.request("GET", "/usage", timeout_s=self._answer_timeout_s) as response:
            return self._http.decoded(await self._http.read(response, MAX_USAGE), UsageReport)

    async def end_by_hash(self, wanted: str) -> None:
        """End the session whose id has this hash."""
        async with self._http.request("DELETE", f"/calls/{quote(wanted, safe='')}", timeout_s=END_TIMEOUT_S):
            pass

    async def drain(self) -> None:
        """Let the node take no more calls."""
        async with self._http.request("PUT", "/drain", timeout_s=self._answer_timeout_s):
            pass

    async def metrics(self) -> str:
        """Return the node's metrics as Prometheus text."""
        async with self._http.request("GET", "/metrics", timeout_s=self._answer_timeout_s) as response:
            return (await self._http.read(response)).decode(errors="replace")

    async def follow(
        self, session_id: str, after: int | None = None, messages: tuple[str, ...] | None = None
    ) -> AsyncGenerator[Followed, None]:
        """Return a session's messages, until it ends; if the last one is no end, the connection to the node broke.

        A node that tells something else than messages is as good as gone.
        """
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        query = {} if messages is None else {"messages": ",".join(messages or MESSAGES)}
        path = f"{_path(session_id)}/events"
        asking = self._http.request("GET", path, timeout_s=None, headers=headers, query=query)
        response = await asking.__aenter__()

        async def told() -> AsyncGenerator[Followed, None]:
            number, is_end = 0, False
            try:
                async for line in response.content:
                    field, _, text = line.decode(errors="replace").rstrip("\n").partition(": ")
                    if field == "id":
                        number = whole_number(text) or 0
                    elif field == "event":
                        is_end = text == "end"
                    elif field == "data":
                        if not _is_message(text):
                            return
                        yield Followed(number, text, is_end)
            except (aiohttp.ClientError, HttpProcessingError, TimeoutError):
                # The node is gone, or cannot be reached.
                return
            finally:
                await asking.__aexit__(None, None, None)

        return told()

    async def _read_signed(self, response: aiohttp.ClientResponse, about: str) -> bytes:
        """Return the body of an answer to an offer, or of a session, that a node has signed.

        Raises:
            NoAnswer: nobody has signed it who knows the secret.
        """
        body = await self._http.read(response)
        signature = response.headers.get(SIGNATURE_HEADER, "")
        if not self._secret.is_signature(signature, "placed", signed_text(about, body)):
            raise NoAnswer(f"the answer from {self.url} is not signed by a node")
        return body


def _is_message(text: str) -> bool:
    """Tell whether a node's text can be passed on as an event: a JSON object with a type, on one line."""
    try:
        fields: dict[str, Any] = received.decode(text, dict[str, Any])
    except ValueError:
        return False
    # The name of the call is put in front of the fields; one that a node has added would be another call's. A carriage
    # return ends a line of an event, too.
    is_plain = text.startswith("{") and "\r" not in text
    return is_plain and isinstance(fields.get("type"), str) and "call" not in fields


def is_node_url(url: str) -> bool:
    """Return whether a text is the URL of a node."""
    try:
        parts = urlsplit(url)
        # A password would be logged with the node's address.
        plain = "@" not in parts.netloc and not parts.query and not parts.fragment
        return (
            plain
            and parts.scheme in ("http", "https")
            and is_host(parts.hostname or "")
            and parts.port != 0
            and parts.path in ("", "/")
        )
    except ValueError:
        return False


def _path(session_id: str) -> str:
    return f"/whip/{quote(session_id, safe='')}"

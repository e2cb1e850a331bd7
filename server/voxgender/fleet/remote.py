"""Call a media node on another machine, or in another process, over its private HTTP API."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from voxgender import received
from voxgender.audiostream import StreamFormat
from voxgender.calloptions import DEFAULTS, MESSAGES, CallOptions
from voxgender.errors import NotReady, SessionNotFound
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.remotestream import HEARTBEAT_S, STREAM_HEADER, NodeSocket, RemoteStream
from voxgender.fleet.secret import Secret
from voxgender.http.eventstream import KEEPALIVE_S
from voxgender.http.problems import error_of
from voxgender.http.sessions import FRAGMENT, SDP
from voxgender.roster import Followed, Gone, LiveCall
from voxgender.settings import is_host
from voxgender.usage import UsageReport

T = TypeVar("T")

RECORD_HEADER = "Voxgender-Node"
"""Header of each of a node's answers: the node's record, as JSON."""

SIGNATURE_HEADER = "Voxgender-Signature"
"""Header of the answer to an offer: a signature that ties it to this offer and to a node."""

CONNECT_TIMEOUT_S = 1.0
"""Time to open a TCP connection within a private network."""
ANSWER_TIMEOUT_S = 3.0
"""Time for the answer to an offer; a healthy node takes some ten milliseconds."""
END_TIMEOUT_S = 10.0
"""Time for the end of a session, whose last windows are classified and last messages delivered first."""
RECORD_TIMEOUT_S = 1.5
"""Time for a node's record."""

MAX_ANSWER = 2 * 1024 * 1024
"""Bytes of an answer. The longest tells of some thousands of calls; to read one is a stop of the event loop."""
MAX_USAGE = 4 * 1024 * 1024
"""Bytes of the usage of ten thousand subjects with long names."""
MAX_LINE = 8_192
"""Bytes of whatever is always short: a record, a problem, or a call in the list of those that are on."""

_SECONDS = re.compile("[0-9]{1,6}")
"""A ``Retry-After`` that is no date. ``str.isdigit`` knows digits that ``int`` does not."""


class Unreachable(Exception):
    """No connection to a node, so it did not get the request. ``refused``: nothing listens at its address."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class NoAnswer(Exception):
    """A node got a request and gave no usable answer, so it is unknown what it did."""


class OfferRequest(msgspec.Struct, frozen=True):
    """An offer on its way to a node."""

    offer: str | StreamFormat
    """SDP, or the format of a stream for which a ticket is wanted."""
    subject: str | None = None
    address: str = ""
    options: CallOptions = DEFAULTS


class OfferResponse(msgspec.Struct, frozen=True):
    """A node's answer to an offer."""

    session: str
    answer: str
    """SDP, or a ticket."""


class _NodeProblem(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""


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
        self._on_record = on_record
        self._answer_timeout_s = answer_timeout_s
        connector: aiohttp.BaseConnector
        if url.startswith("unix:"):
            connector, base = aiohttp.UnixConnector(url.removeprefix("unix:"), limit=0), "http://node"
        else:
            connector, base = aiohttp.TCPConnector(limit=0), url.rstrip("/")
        self._base = base
        self._http = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            ws_response_class=NodeSocket,
            # A few bytes can be unpacked to a great many, so no proxy in between may pack an answer either.
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        await self._http.close()

    async def record(self) -> NodeRecord:
        """Return the node's record.

        Raises:
            Unreachable, NoAnswer
            NotReady: it is starting.
        """
        async with self._request("GET", "/node", timeout_s=RECORD_TIMEOUT_S) as response:
            return self._decoded(await self._read(response, MAX_LINE), NodeRecord)

    async def offer(
        self,
        offer_id: str,
        offer: str | StreamFormat,
        subject: str | None,
        address: str = "",
        options: CallOptions = DEFAULTS,
        *,
        within_s: float | None = None,
    ) -> OfferResponse:
        """Send an offer. After :class:`NoAnswer`, withdraw it before sending it to another node.

        Args:
            within_s: time for the answer, where it is less than usual.

        Raises:
            Unreachable, NoAnswer
            NotReady, TooManySessions, SdpRejected, OptionRefused
        """
        body = msgspec.json.encode(OfferRequest(offer, subject, address, options))
        async with self._request(
            "PUT",
            f"/offers/{offer_id}",
            body,
            "application/json",
            timeout_s=min(self._answer_timeout_s, within_s or self._answer_timeout_s),
        ) as response:
            answer = await self._read(response)
            shown = response.headers.get(SIGNATURE_HEADER, "")
            if not self._secret.is_signature(shown, "placed", signed_text(offer_id, answer)):
                raise NoAnswer(f"the answer from {self.url} is not signed by a node")
            return self._decoded(answer, OfferResponse)

    async def redeem(self, ticket: str) -> RemoteStream:
        """Connect to the stream of a ticket.

        Raises:
            Unreachable, NoAnswer
            SessionNotFound, NotReady
        """
        path = f"/listen/{quote(ticket, safe='')}"
        headers = {"Authorization": self._secret.authorization("GET", unquote(path))}
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                socket = await self._http.ws_connect(
                    URL(self._base + path, encoded=True), headers=headers, heartbeat=HEARTBEAT_S, compress=0
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 404:
                raise SessionNotFound(
                    "There is no such ticket: it was used, has expired, or never was. Ask for another one by POST.",
                    code="ticket_not_found",
                ) from None
            if error.status == 503:
                raise NotReady("The server is shutting down.", code="draining", retry_after_s=5) from None
            raise NoAnswer(f"{self.url} answers {error.status}") from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"no answer from {self.url} ({type(error).__name__})") from None
        assert isinstance(socket, NodeSocket)
        try:
            self._take_record(socket.response)
            shown = unquote(socket.response.headers.get(STREAM_HEADER, ""))
            session_id = socket.response.headers.get("Location", "").removeprefix("/whip/")
            return RemoteStream(socket, session_id, self._decoded(shown.encode(), StreamFormat))
        except NoAnswer:
            # The node's call would go on, with nobody who sends.
            await socket.close()
            raise

    async def withdraw(self, offer_id: str) -> None:
        """Withdraw an offer, whether the node has received it or not.

        Raises:
            Unreachable, NoAnswer
        """
        async with self._request("DELETE", f"/offers/{offer_id}", timeout_s=END_TIMEOUT_S):
            pass

    async def trickle(self, session_id: str, fragment: str) -> None:
        """Add candidates. Raises ``Unreachable``, ``NoAnswer``, ``SessionNotFound`` or ``SdpRejected``."""
        path, body = _path(session_id), fragment.encode()
        async with self._request("PATCH", path, body, FRAGMENT, timeout_s=self._answer_timeout_s):
            pass

    async def watch(self) -> AsyncGenerator[LiveCall | Gone | None, None]:
        """Return the node's calls that have a name or a subject, then None, then all changes, until the way breaks off.

        Raises:
            Unreachable, NoAnswer
        """
        asking = self._request("GET", "/calls", timeout_s=None)
        response = await asking.__aenter__()

        async def changes() -> AsyncGenerator[LiveCall | Gone | None, None]:
            try:
                async for line in response.content:
                    if len(line) > MAX_LINE:
                        return
                    if line.strip():
                        yield self._decoded(line, LiveCall | Gone | None)  # type: ignore[arg-type]
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
        async with self._request("PATCH", path, body, SDP, timeout_s=self._answer_timeout_s) as response:
            answer = await self._read(response)
            shown = response.headers.get(SIGNATURE_HEADER, "")
            if not self._secret.is_signature(shown, "placed", signed_text(session_id, answer)):
                raise NoAnswer(f"the answer from {self.url} is not signed by a node")
            return answer.decode(errors="replace")

    async def end(self, session_id: str) -> None:
        """End a session."""
        async with self._request("DELETE", _path(session_id), timeout_s=END_TIMEOUT_S):
            pass

    async def describe(self, session_id: str) -> dict[str, Any]:
        """Return a session's state."""
        async with self._request("GET", _path(session_id), timeout_s=self._answer_timeout_s) as response:
            return self._decoded(await self._read(response), dict[str, Any])

    async def describe_all(self) -> list[dict[str, Any]]:
        """Return the states of all the node's sessions."""
        async with self._request("GET", "/sessions", timeout_s=self._answer_timeout_s) as response:
            return self._decoded(await self._read(response), dict[str, list[dict[str, Any]]])["sessions"]

    async def overview(self) -> dict[str, list[dict[str, Any]]]:
        """Return the node's calls and the node itself, for operators."""
        async with self._request("GET", "/overview", timeout_s=self._answer_timeout_s) as response:
            return self._decoded(await self._read(response), dict[str, list[dict[str, Any]]])

    async def usage(self) -> UsageReport:
        """Return what was used on the node, by subject."""
        async with self._request("GET", "/usage", timeout_s=self._answer_timeout_s) as response:
            return self._decoded(await self._read(response, MAX_USAGE), UsageReport)

    async def end_by_hash(self, wanted: str) -> None:
        """End the session whose id has this hash."""
        async with self._request("DELETE", f"/calls/{quote(wanted, safe='')}", timeout_s=END_TIMEOUT_S):
            pass

    async def drain(self) -> None:
        """Let the node take no more calls."""
        async with self._request("PUT", "/drain", timeout_s=self._answer_timeout_s):
            pass

    async def metrics(self) -> str:
        """Return the node's metrics as Prometheus text."""
        async with self._request("GET", "/metrics", timeout_s=self._answer_timeout_s) as response:
            return (await self._read(response)).decode(errors="replace")

    async def follow(
        self, session_id: str, after: int | None = None, messages: tuple[str, ...] | None = None
    ) -> AsyncGenerator[Followed, None]:
        """Return a session's messages, until it ends; without an end, the way to the node broke off.

        A node that tells something else than messages is as good as gone.
        """
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        query = {} if messages is None else {"messages": ",".join(messages or MESSAGES)}
        path = f"{_path(session_id)}/events"
        asking = self._request("GET", path, timeout_s=None, headers=headers, query=query)
        response = await asking.__aenter__()

        async def told() -> AsyncGenerator[Followed, None]:
            number, is_end = 0, False
            try:
                async for line in response.content:
                    field, _, text = line.decode(errors="replace").rstrip("\n").partition(": ")
                    if field == "id":
                        number = int(text) if re.fullmatch("[0-9]{1,15}", text) else 0
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

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str | None = None,
        *,
        timeout_s: float | None,
        headers: Mapping[str, str] = MappingProxyType({}),
        query: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; raise the errors that a node in this process would raise."""
        headers = {**headers, "Authorization": self._secret.authorization(method, unquote(path), body)}
        if content_type is not None:
            headers["Content-Type"] = content_type
        timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=CONNECT_TIMEOUT_S, sock_read=None if timeout_s else 3 * KEEPALIVE_S
        )
        url = URL(self._base + path, encoded=True).with_query(query)
        try:
            async with self._http.request(
                method, url, data=body or None, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                self._take_record(response)
                if not response.ok:
                    raise await self._error_of(response)
                yield response
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error) from None
        except aiohttp.ConnectionTimeoutError:
            raise Unreachable(f"no connection to {self.url} within {CONNECT_TIMEOUT_S:g} s") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"no answer from {self.url} ({type(error).__name__})") from None

    def _unreachable(self, error: aiohttp.ClientConnectorError) -> Unreachable:
        refused = isinstance(error.os_error, (ConnectionRefusedError, FileNotFoundError))
        return Unreachable(f"no connection to {self.url}", refused=refused)

    def _take_record(self, response: aiohttp.ClientResponse) -> None:
        if text := response.headers.get(RECORD_HEADER):
            self._on_record(self._decoded(text.encode(errors="surrogateescape"), NodeRecord))

    async def _error_of(self, response: aiohttp.ClientResponse) -> Exception:
        """Return the error that a node raised, from its problem details."""
        try:
            problem: _NodeProblem = received.decode(await self._read(response, MAX_LINE), _NodeProblem)
        except ValueError:
            problem = _NodeProblem()
        retry_after = response.headers.get("Retry-After", "")
        refusal = error_of(problem.code, problem.detail, int(retry_after) if _SECONDS.fullmatch(retry_after) else None)
        if refusal is not None:
            return refusal
        why = f": {problem.detail}" if problem.detail else ""
        return NoAnswer(f"{self.url} answers {response.status}{why}")

    async def _read(self, response: aiohttp.ClientResponse, most: int | None = None) -> bytes:
        """Return the body of an answer.

        Raises:
            NoAnswer: it is longer than a node's is.
        """
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > (most or MAX_ANSWER):
                raise NoAnswer(f"{self.url} answers more than a media node does")
        return bytes(body)

    def _decoded(self, body: bytes, kind: type[T]) -> T:
        try:
            return received.decode(body, kind)
        except ValueError:
            raise NoAnswer(f"{self.url} answers as no media node of this version does") from None


def signed_text(offer_id: str, body: bytes) -> bytes:
    """Return the text that a node signs, so that nobody can change an answer's SDP on its way and divert the call."""
    return offer_id.encode() + b"\n" + body


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

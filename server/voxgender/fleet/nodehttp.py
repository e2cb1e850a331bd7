"""Send requests to a media node's private HTTP API, and read its answers with bounds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import unquote

import aiohttp
import msgspec
from yarl import URL

from voxgender import received
from voxgender.errors import Draining, RequestRefused, TicketNotFound
from voxgender.fleet.record import NodeRecord
from voxgender.fleet.remotestream import NodeSocket
from voxgender.fleet.secret import Secret
from voxgender.fleet.wire import RECORD_HEADER
from voxgender.http.eventstream import KEEPALIVE_S
from voxgender.http.problems import error_of
from voxgender.received import whole_number

T = TypeVar("T")

CONNECT_TIMEOUT_S = 1.0
"""Time to open a TCP connection within a private network."""
MAX_ANSWER = 2 * 1024 * 1024
"""Bytes of an answer. The longest tells of some thousands of calls; to read one is a stop of the event loop."""
MAX_LINE = 8_192
"""Bytes of a record, a problem, or a call in the list of those that are on, all of which are short."""


_REFUSED_HANDSHAKES: Mapping[int, type[RequestRefused]] = {404: TicketNotFound, 503: Draining}
"""Errors by the status of a handshake that is refused: aiohttp gives no body, which would name the error."""


class Unreachable(Exception):
    """No connection to a node, so it did not get the request. ``refused``: nothing listens at its address."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class NoAnswer(Exception):
    """A node got a request and gave no usable answer, so it is unknown what it did."""


class _NodeProblem(msgspec.Struct, frozen=True):
    code: str = ""
    detail: str = ""


class NodeHttp:
    """A client of one node.

    Args:
        url: URL of the API: ``http://HOST:PORT``, ``https://…``, or ``unix:PATH``.
        secret: signs the requests.
        on_record: called with the record in each answer.
    """

    def __init__(self, url: str, secret: Secret, on_record: Callable[[NodeRecord], None]) -> None:
        self.url = url
        self._secret = secret
        self._on_record = on_record
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

    @asynccontextmanager
    async def request(
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
        """Send a request; raise the errors that a node in this process would raise.

        Raises:
            Unreachable, NoAnswer
            RequestRefused: the node refuses.
        """
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

    async def connect(self, path: str, *, timeout_s: float, heartbeat_s: float) -> NodeSocket:
        """Open a WebSocket.

        Raises:
            Unreachable, NoAnswer
            TicketNotFound, Draining: the node refuses.
        """
        headers = {"Authorization": self._secret.authorization("GET", unquote(path))}
        url = URL(self._base + path, encoded=True)
        try:
            async with asyncio.timeout(timeout_s):
                socket = await self._http.ws_connect(url, headers=headers, heartbeat=heartbeat_s, compress=0)
        except aiohttp.WSServerHandshakeError as error:
            if error.status in _REFUSED_HANDSHAKES:
                raise _REFUSED_HANDSHAKES[error.status] from None
            raise NoAnswer(f"{self.url} answers {error.status}") from None
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(error) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"no answer from {self.url} ({type(error).__name__})") from None
        assert isinstance(socket, NodeSocket)
        self._take_record(socket.response)
        return socket

    async def read(self, response: aiohttp.ClientResponse, most: int | None = None) -> bytes:
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

    def decoded(self, body: bytes, kind: type[T]) -> T:
        """Decode JSON of a node.

        Raises:
            NoAnswer: it is something else.
        """
        try:
            return received.decode(body, kind)
        except ValueError:
            raise NoAnswer(f"{self.url} answers as no media node of this version does") from None

    def _unreachable(self, error: aiohttp.ClientConnectorError) -> Unreachable:
        refused = isinstance(error.os_error, (ConnectionRefusedError, FileNotFoundError))
        return Unreachable(f"no connection to {self.url}", refused=refused)

    def _take_record(self, response: aiohttp.ClientResponse) -> None:
        if text := response.headers.get(RECORD_HEADER):
            self._on_record(self.decoded(text.encode(errors="surrogateescape"), NodeRecord))

    async def _error_of(self, response: aiohttp.ClientResponse) -> Exception:
        """Return the error that a node raised, from its problem details."""
        try:
            problem: _NodeProblem = received.decode(await self.read(response, MAX_LINE), _NodeProblem)
        except ValueError:
            problem = _NodeProblem()
        retry_after_s = whole_number(response.headers.get("Retry-After", ""))
        refusal = error_of(problem.code, problem.detail, retry_after_s)
        if refusal is not None:
            return refusal
        why = f": {problem.detail}" if problem.detail else ""
        return NoAnswer(f"{self.url} answers {response.status}{why}")

"""Limit the time and the log entries that a client's HTTP connection may cost.

aiohttp has no time limits for a client that sends or reads slowly, and logs a traceback for a malformed request.
"""

import asyncio
import logging
import socket
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from voxgender import metrics
from voxgender.http.malformed import Parser, make_request, reason
from voxgender.http.problem import Problem

logger = logging.getLogger(__name__)

HEAD_S = 10.0
STALL_S = 10.0
BODY_S = 60.0
IDLE_S = 620.0
WRITE_S = 30.0
LINGER_S = 10.0
"""Time for the rest of a body that nobody wants: an answer may be lost with a connection that closes sooner."""
PIECE = 8192
"""Bytes of a body that are read in one iteration of the event loop: each may be a chunk of its own."""
MAX_WIRE = 1_048_576
"""Bytes of a body as it comes, with the heads of its chunks, and its trailers, which aiohttp does not bound."""


@dataclass(frozen=True)
class TimeLimits:
    """Time limits of a client, in seconds. A client that exceeds one gets status 408, if possible, and is cut off."""

    head_s: float = HEAD_S
    """For the request line and the headers."""
    stall_s: float = STALL_S
    """For the next piece of a body."""
    body_s: float = BODY_S
    """For all of a body."""
    idle_s: float = IDLE_S
    """Between two requests. Longer than load balancers keep connections (Google's: 600 s), so that they close first."""
    write_s: float = WRITE_S
    """For bytes that the client does not read or acknowledge."""


class BodyStalled(TimeoutError):
    """The rest of a request's body did not come in time."""


class LimitedRunner(web.AppRunner):
    """Serves an application through :class:`Connection`."""

    def __init__(self, app: web.Application, *, limits: TimeLimits, shutdown_timeout_s: float) -> None:
        super().__init__(
            app,
            # A session's URL is its key.
            access_log=None,
            shutdown_timeout=shutdown_timeout_s,
            keepalive_timeout=limits.idle_s,
            # ``sessions`` decompresses with a bound: a bomb of 500 kB held the event loop for 0.6 s.
            auto_decompress=False,
            # ``Connection`` reads what is left of a body, in pieces.
            lingering_time=0.0,
        )
        self._limits = limits

    async def _make_server(self) -> web.Server:
        return _HttpServer(await super()._make_server(), self._limits)


class _HttpServer(web.Server):
    def __init__(self, made: web.Server, limits: TimeLimits) -> None:
        def begin(
            message: RawRequestMessage, payload: StreamReader, protocol: web.RequestHandler, *rest: Any
        ) -> web.BaseRequest:
            if isinstance(protocol, Connection):
                protocol.begin(payload)
            return make_request(made.request_factory, message, payload, protocol, *rest)

        super().__init__(
            made.request_handler,
            request_factory=begin,
            **made._kwargs,  # noqa: SLF001 - what the runner was given, with aiohttp's defaults
        )
        self._limits = limits

    def __call__(self) -> "Connection":
        return Connection(self, self._limits, loop=self._loop, **self._kwargs)


class Connection(web.RequestHandler):
    """Applies :class:`TimeLimits` to one client; answers malformed requests with problem details, logged on a line."""

    __slots__ = (
        "_begun",
        "_body",
        "_body_since",
        "_body_size",
        "_fed_at",
        "_head_since",
        "_limits",
        "_timer",
        "_upgraded",
        "gone",
    )

    def __init__(
        self, manager: web.Server, limits: TimeLimits, *, loop: asyncio.AbstractEventLoop, **options: Any
    ) -> None:
        super().__init__(manager, loop=loop, **options)
        self._parser: Any = Parser(self._parser)
        self._limits = limits
        self._head_since: float | None = None
        """Time since which an incomplete request head is awaited; None while none is."""
        self._begun = False
        """True once a byte of that head has come."""
        self._body: StreamReader | None = None
        self._body_since = 0.0
        self._body_size = 0
        self._fed_at = 0.0
        self._upgraded = False
        self.gone = asyncio.Event()
        """Set once the client has left."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        plain = transport.get_extra_info("socket")
        if plain is not None and plain.family in (socket.AF_INET, socket.AF_INET6):
            _limit_writing(plain, self._limits.write_s)
        self._head_since = self._loop.time()
        self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._body = self._head_since = None
        self.gone.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        parsed, in_body = self._request_count, self._in_body()
        super().data_received(data)
        if not data or self._upgraded:
            return
        now = self._loop.time()
        if in_body:
            self._fed_at = now
            self._body_size += len(data)
            if self._body_size > MAX_WIRE:
                self._count_broken("OversizedBody")
                self._refuse(Problem(413, "too_large", "The body, as it comes, is larger than any has to be."))
        elif self._request_count > parsed:
            self._head_since = None
        elif not self._messages:
            self._begun = True
            if self._head_since is None:
                self._head_since = now
                self._arm()

    def set_parser(self, parser: Any, data_received_cb: Any = None) -> None:
        """Note that the connection is a WebSocket from now on: no request is awaited."""
        super().set_parser(parser, data_received_cb)
        self._upgraded = True
        self._body = self._head_since = None

    def begin(self, body: StreamReader) -> None:
        """Note that the head of a request is complete, so that its body is awaited."""
        self._head_since, self._begun = None, False
        self._body, self._body_size = body, 0
        self._body_since = self._fed_at = self._loop.time()
        if self._in_body():
            self._arm()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer, and read what the handler has left of the body (RFC 9112 section 9.6)."""
        finished = await super().finish_response(request, resp, start_time)
        response, _ = finished
        if request.version < HttpVersion11 and response.content_length is None:
            # Its end is that of the connection (RFC 9112 section 6.3); aiohttp would keep it open.
            response.force_close()
        try:
            async with asyncio.timeout(LINGER_S):
                while not request.content.is_eof() and not self._force_close:
                    await request.content.read(PIECE)
                    await asyncio.sleep(0)
        except web.RequestPayloadError as error:
            self._count_broken(type(error).__name__)
        except (OSError, aiohttp.ClientError):
            # It did not come in time, or the client has left. The connection is closed.
            pass
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, BadHttpMessage):
            problem = Problem(400, "malformed_request", reason(exc))
            self._count_broken(type(exc).__name__)
        else:
            logger.error("request failed", exc_info=exc)
            problem = Problem(500, "internal_error", "The server made a mistake; its log says which.")
        if request.writer.output_size > 0:
            raise ConnectionError("the response is on its way already")
        response = problem.response()
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        if not isinstance(error, (ConnectionError, TimeoutError, aiohttp.ClientConnectionError)):
            logger.error("connection failed", exc_info=error)

    def log_debug(self, *args: Any, **kw: Any) -> None:
        """Log nothing: clients that leave early are normal."""

    def _in_body(self) -> bool:
        return self._body is not None and not self._body.is_eof()

    def _arm(self) -> None:
        due = self._due()
        if due is not None and self._timer is None:
            self._timer = self._loop.call_at(due, self._look)

    def _due(self) -> float | None:
        if self._in_body():
            if self._reading_paused:
                # The server itself has not read all received bytes yet.
                self._fed_at = self._loop.time()
            return min(self._fed_at + self._limits.stall_s, self._body_since + self._limits.body_s)
        return None if self._head_since is None else self._head_since + self._limits.head_s

    def _look(self) -> None:
        self._timer = None
        due = self._due()
        if due is None:
            return
        if due > self._loop.time():
            self._arm()
            return
        if self._in_body():
            assert self._body is not None
            self._count_broken("StalledBody")
            self._body.set_exception(BodyStalled())
            self._body = None
            return
        # Browsers open connections in advance: those are closed without an answer.
        if self._begun:
            self._count_broken("StalledHead")
            if self._waiter is not None:
                late = f"The request's head did not come whole within {self._limits.head_s:g} s."
                self._refuse(Problem(408, "too_slow", late))
        self.force_close()

    def _refuse(self, problem: Problem) -> None:
        """Answer a request that no handler answers, and cut the client off."""
        if self.transport is not None:
            body = problem.body()
            self.transport.write(
                b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
                % (problem.status, HTTPStatus(problem.status).phrase.encode(), len(body), body)
            )
        self.force_close()

    def _count_broken(self, kind: str) -> None:
        metrics.REQUESTS_BROKEN.labels(kind).inc()
        address = self.peername[0] if isinstance(self.peername, tuple) else "a local process"
        logger.info("broken request from %s: %s", address, kind, extra={"kind": kind})


def _limit_writing(sock: Any, seconds: float) -> None:
    # RFC 5482. Only the kernel sees unacknowledged bytes: those of a file, or of a response that has ended.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1_000))

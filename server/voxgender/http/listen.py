"""Serve ``/listen``: calls over a WebSocket, for programs and for networks that let only HTTPS through."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from types import MappingProxyType
from typing import Literal

import msgspec
from aiohttp import WSMsgType, web

from voxgender import received
from voxgender.audiostream import StreamFormat, parse
from voxgender.calloptions import CallOptions, is_name, read_texts
from voxgender.errors import OptionRefused, StreamEnded
from voxgender.http.auth import AuthenticatedCaller, Authenticator
from voxgender.http.calls import Calls, ClientStream
from voxgender.http.cors import check_origin, preflight
from voxgender.http.proxies import Proxies
from voxgender.http.rates import Rates
from voxgender.http.tickets import TICKET_S, Tickets
from voxgender.http.websocket import WebSocket, WebSocketTimes, check_upgrade

logger = logging.getLogger(__name__)

MAX_TEXT = 1_024
"""Characters of a text message."""
SHUTDOWN_S = 1.5
"""Time for the last messages of streams when the server stops."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_PONG = '{"type":"pong"}'


Receive = Callable[[], Awaitable[None]]


class _Text(msgspec.Struct):
    type: Literal["ping", "finalize", "close"]


class Reservation(msgspec.Struct, frozen=True):
    """The answer to ``POST /listen``."""

    url: str
    """Address at which the ticket's client connects, once."""
    session: str
    """The session's URL."""
    expires_in_s: int = TICKET_S


class Streams:
    """Serves streams over WebSockets, from the handshake to the close; ends them when the server stops.

    Args:
        proxies: tell the path prefix under which clients find the server.
        times: times that clients are given.
    """

    def __init__(
        self,
        proxies: Proxies = Proxies(),  # noqa: B008 - it cannot change
        times: WebSocketTimes = WebSocketTimes(),  # noqa: B008 - it cannot change
    ) -> None:
        self._proxies = proxies
        self._times = times
        self._live: dict[ClientStream, asyncio.Event] = {}
        self._stopping = False

    def new_socket(self, max_message: int) -> WebSocket:
        """Return a WebSocket for messages of so many bytes at most."""
        return WebSocket(max_message, self._times)

    async def serve(
        self, request: web.Request, stream: ClientStream, headers: Mapping[str, str] = _NO_HEADERS
    ) -> web.StreamResponse:
        """Serve a stream until it ends. ``headers`` are added to those of the handshake."""
        socket = self.new_socket(stream.form.max_message)
        # As the one of WHIP: programs can read it before the first message.
        location = f"{self._proxies.prefix(request)}/whip/{stream.id}"
        socket.headers.update({**headers, "Location": location})
        try:
            await socket.prepare(request)
        except BaseException:
            await stream.leave()
            raise
        return await self.carry(socket, stream, partial(_receive, socket, stream))

    async def carry(
        self, socket: WebSocket, stream: ClientStream, receive: Receive, *, is_told: bool = True
    ) -> WebSocket:
        """Carry a stream over a WebSocket that is open, until either ends.

        Args:
            socket: of the client.
            stream: where the client's audio goes.
            receive: receives the client's messages until it leaves; raises ``StreamEnded`` to send it away.
            is_told: whether the client is sent the stream's messages.
        """
        gone = self._live[stream] = asyncio.Event()
        reading = asyncio.create_task(_read(socket, stream, receive), name=f"listen-{stream.id[:8]}")
        try:
            ended = await _write(socket if is_told else None, stream)
            if self._stopping:
                ended = StreamEnded("draining", "The server is shutting down: connect again, with from_ms.")
            await socket.end(ended)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await stream.leave()
            del self._live[stream]
            gone.set()
        return socket

    async def shut_down(self, _: web.Application) -> None:
        """Ask all clients to connect elsewhere (an ``on_shutdown`` signal)."""
        self._stopping = True
        if live := dict(self._live):
            await asyncio.gather(*(stream.finish() for stream in live), return_exceptions=True)
            waiting = [asyncio.create_task(gone.wait()) for gone in live.values()]
            await asyncio.wait(waiting, timeout=SHUTDOWN_S)
            for task in waiting:
                task.cancel()


class Listen:
    """``/listen``: opens streams, and gives tickets for them."""

    def __init__(
        self,
        calls: Calls,
        tickets: Tickets,
        authenticator: Authenticator,
        rates: Rates,
        streams: Streams,
        proxies: Proxies,
    ) -> None:
        self._calls = calls
        self._tickets = tickets
        self._authenticator = authenticator
        self._rates = rates
        self._streams = streams
        self._proxies = proxies

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/listen", self.open, allow_head=False),
            web.post("/listen", self.reserve),
            web.options("/listen", self.options),
            web.get("/listen/{ticket}", self.redeem, allow_head=False),
        ]

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Open a stream (RFC 6455 section 4.2)."""
        check_upgrade(request)
        check_origin(request)
        caller = await self._authenticator.authenticate(request)
        self._rates.check_subject(caller.subject)
        form = parse(request.query)
        options = wanted(form, request.query, caller)
        stream = await self._calls.listen(form, caller.subject, self._rates.client(request), options)
        return await self._streams.serve(request, stream)

    async def reserve(self, request: web.Request) -> web.Response:
        """Give a ticket: a URL by which somebody without a token may open one stream."""
        caller = await self._authenticator.authenticate(request)
        self._rates.check_subject(caller.subject)
        form = parse(request.query)
        options = wanted(form, request.query, caller)
        address = self._rates.client(request)
        session_id, ticket = await self._tickets.reserve(form, caller.subject, address, options)
        prefix = self._proxies.prefix(request)
        reservation = Reservation(url=f"{prefix}/listen/{ticket}", session=f"{prefix}/whip/{session_id}")
        return web.Response(
            status=201,
            body=msgspec.json.encode(reservation),
            content_type="application/json",
            headers={"Location": reservation.url, "Cache-Control": "no-store, no-transform"},
        )

    async def redeem(self, request: web.Request) -> web.StreamResponse:
        """Open the stream of a ticket, which is the proof that its holder may."""
        check_upgrade(request)
        check_origin(request)
        stream = await self._tickets.redeem(request.match_info["ticket"], self._rates.client(request))
        return await self._streams.serve(request, stream)

    async def options(self, request: web.Request) -> web.Response:
        return preflight(request, "GET, OPTIONS, POST", {})


def wanted(form: StreamFormat, query: Mapping[str, str], caller: AuthenticatedCaller) -> CallOptions:
    """Return the options of a stream's call.

    A stream's name is first of all one that is shown. It is one that can be followed, too, if its characters allow
    that and its caller may choose it.

    Raises:
        OptionRefused: a value is not taken, or the caller's token binds another one.
    """
    asked = read_texts({option: value for option, value in query.items() if option != "name"})
    if form.name and (caller.bound.name or (caller.names_freely and is_name(form.name))):
        asked = msgspec.structs.replace(asked, name=form.name)
    options = caller.options(asked)
    if not form.interim and "result" in options.messages:
        raise OptionRefused("interim=false leaves results out, and messages asks for them: leave one of the two out.")
    return options


async def _write(socket: WebSocket | None, stream: ClientStream) -> StreamEnded:
    """Send a stream's messages, or discard them if ``socket`` is None; return the stream's end."""
    try:
        async with aclosing(stream.messages()) as texts:
            async for text in texts:
                if socket is not None:
                    await socket.send(text)
    except StreamEnded as ended:
        if ended.ending == "unread":
            await stream.leave("unread")
        return ended
    return StreamEnded("fault", "The server lost the call: connect again, with from_ms.")


async def _read(socket: WebSocket, stream: ClientStream, receive: Receive) -> None:
    """Receive a client's messages until it leaves or is sent away."""
    try:
        await receive()
        await stream.leave()
    except StreamEnded as ended:
        await asyncio.gather(stream.leave(ended.ending), socket.end(ended))
    except Exception as error:
        logger.error("a stream failed", exc_info=error)
        fault = StreamEnded("fault", "The server made a mistake: connect again, with from_ms.")
        await asyncio.gather(stream.leave("fault"), socket.end(fault))


async def _receive(socket: WebSocket, stream: ClientStream) -> None:
    least_bytes = stream.form.least_message
    finished = False
    while (message := await socket.next()) is not None:
        if message.type is WSMsgType.BINARY:
            if len(message.data) < least_bytes:
                socket.count_other()
            try:
                if not finished:
                    await stream.push(message.data)
            except StreamEnded:
                # Its last messages are on their way.
                finished = True
            continue
        socket.count_other()
        match _text(message.data):
            case "ping":
                await stream.ping()
                await socket.send(_PONG)
            case "finalize":
                await stream.finalize()
            case "close":
                finished = True
                await stream.finish()


def _text(text: str) -> Literal["ping", "finalize", "close"]:
    """Read a text message; return its type.

    Raises:
        StreamEnded: it is too long, no JSON object, or of no known type.
    """
    if len(text) > MAX_TEXT:
        raise StreamEnded("too_big", f"A text has {MAX_TEXT} characters at most.")
    try:
        command: _Text = received.decode(text, _Text)
    except msgspec.ValidationError:
        raise StreamEnded(
            "unsupported", 'The text is not known: send {"type": "ping"}, "finalize" or "close".'
        ) from None
    except ValueError:
        raise StreamEnded("malformed", 'The text is no JSON: send {"type": "ping"}, "finalize" or "close".') from None
    return command.type

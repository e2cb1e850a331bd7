"""Serve phone gateways: open a call for a media stream of Twilio, Telnyx or Vonage."""

from aiohttp import web
from multidict import MultiDict

from voxgender.audiostream import parse
from voxgender.errors import NotReady, RequestRefused, StreamEnded
from voxgender.http.auth import AuthenticatedCaller, Authenticator
from voxgender.http.calls import Calls, ClientStream
from voxgender.http.cors import check_origin
from voxgender.http.dialects import Gateway, Telnyx, Twilio, Vonage, stream_format
from voxgender.http.listen import Streams, wanted
from voxgender.http.mediastream import START_S, MediaStream, started
from voxgender.http.problems import Problem
from voxgender.http.rates import Rates
from voxgender.http.tickets import Tickets
from voxgender.http.websocket import check_upgrade

MAX_TEXT = 65_536
"""Bytes of a message: base64 of more than a second of audio."""
MAX_UNSTARTED = 200
"""Gateways at a time that have connected, and not said who they are."""


class Gateways:
    """``/listen/twilio``, ``telnyx`` and ``vonage``: calls of phone gateways. Nothing is sent to the gateway itself.

    Args:
        calls: opens calls.
        tickets: are redeemed for streams.
        authenticator: checks the callers' tokens.
        rates: bounds how often one caller may come.
        streams: serves the streams.
        start_s: time for the message that begins a media stream.
        max_unstarted: gateways at a time that have connected, and not said who they are.
    """

    def __init__(
        self,
        calls: Calls,
        tickets: Tickets,
        authenticator: Authenticator,
        rates: Rates,
        streams: Streams,
        *,
        start_s: float = START_S,
        max_unstarted: int = MAX_UNSTARTED,
    ) -> None:
        self._calls = calls
        self._tickets = tickets
        self._authenticator = authenticator
        self._rates = rates
        self._streams = streams
        self._start_s = start_s
        self._max_unstarted = max_unstarted
        self._unstarted = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/listen/twilio", self.twilio, allow_head=False),
            web.get("/listen/twilio/{ticket}", self.twilio, allow_head=False),
            web.get("/listen/telnyx", self.telnyx, allow_head=False),
            web.get("/listen/telnyx/{ticket}", self.telnyx, allow_head=False),
            web.get("/listen/vonage", self.vonage, allow_head=False),
            web.get("/listen/vonage/{ticket}", self.vonage, allow_head=False),
        ]

    async def twilio(self, request: web.Request) -> web.StreamResponse:
        """Receive a media stream of Twilio."""
        return await self._serve(request, Twilio())

    async def telnyx(self, request: web.Request) -> web.StreamResponse:
        """Receive a media stream of Telnyx."""
        return await self._serve(request, Telnyx())

    async def vonage(self, request: web.Request) -> web.StreamResponse:
        """Receive the audio of a call at Vonage."""
        return await self._serve(request, Vonage())

    async def _serve(self, request: web.Request, gateway: Gateway) -> web.StreamResponse:
        check_upgrade(request, any_protocol=True)
        check_origin(request)
        query = MultiDict(request.query)
        token = query.pop("token", "")
        wishes = parse(query)
        ticket = request.match_info.get("ticket")
        if ticket is not None:
            stream = await self._tickets.redeem(ticket, self._rates.client(request), is_told=False)
            return await self._with_ticket(request, gateway, stream)
        caller = AuthenticatedCaller()
        is_known = bool(token or "Authorization" in request.headers)
        if is_known:
            caller = await self._authenticator.authenticate(request, token)
        if self._unstarted >= self._max_unstarted:
            raise Problem(503, "at_capacity", "Too many media streams are about to start.", {"Retry-After": "10"})
        socket = self._streams.new_socket(MAX_TEXT)
        self._unstarted += 1
        try:
            await socket.prepare(request)
            start = await started(socket, gateway, within_s=self._start_s)
            if not is_known:
                caller = await self._authenticator.authenticate(request, start.parameters.get("token", ""))
            self._rates.check_subject(caller.subject)
            form = stream_format(start, wishes, many="channels" in query)
            address = self._rates.client(request)
            # Twilio drops the query of a URL, so options come as parameters of the stream, too.
            options = wanted(form, {**start.parameters, **query}, caller)
            stream = await self._calls.listen(form, caller.subject, address, options)
        except StreamEnded as ended:
            await socket.end(ended)
            return socket
        except (Problem, RequestRefused) as refused:
            await socket.end(_as_end(refused))
            return socket
        finally:
            self._unstarted -= 1
        media = MediaStream(socket, gateway, start, stream)
        return await self._streams.carry(socket, stream, media.receive, is_told=False)

    async def _with_ticket(self, request: web.Request, gateway: Gateway, stream: ClientStream) -> web.StreamResponse:
        socket = self._streams.new_socket(MAX_TEXT)

        async def receive() -> None:
            start = await started(socket, gateway, within_s=self._start_s)
            if (start.encoding, start.rate_hz) != (stream.form.encoding, stream.form.rate_hz):
                raise StreamEnded("unsupported", "The ticket is for another format: ask for one of this stream's.")
            await MediaStream(socket, gateway, start, stream).receive()

        try:
            await socket.prepare(request)
        except BaseException:
            await stream.leave()
            raise
        return await self._streams.carry(socket, stream, receive, is_told=False)


def _as_end(refused: Problem | RequestRefused) -> StreamEnded:
    """Return the end of a stream whose start is refused."""
    is_later = refused.status in (429, 503) if isinstance(refused, Problem) else isinstance(refused, NotReady)
    return StreamEnded("overloaded" if is_later else "policy", str(refused))

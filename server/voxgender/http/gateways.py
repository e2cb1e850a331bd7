"""Serve phone gateways: media streams of Twilio and Telnyx, which send JSON texts with audio in base64.

https://www.twilio.com/docs/voice/media-streams/websocket-messages
https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket
"""

import asyncio
import binascii
from abc import ABC, abstractmethod
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from multidict import MultiDict

from voxgender import received
from voxgender.audiostream import DEFAULT_RATE_HZ, Encoding, StreamFormat, parse
from voxgender.errors import RequestRefused, StreamEnded, StreamRejected
from voxgender.http.auth import Authenticator, Caller
from voxgender.http.calls import Calls, Stream
from voxgender.http.cors import check_origin
from voxgender.http.l16 import L16
from voxgender.http.listen import MESSAGES_AT_ONCE, Streams, wanted
from voxgender.http.problems import Problem
from voxgender.http.rates import Rates
from voxgender.http.tickets import Tickets
from voxgender.http.tracks import Tracks
from voxgender.http.websocket import WebSocket, check_upgrade

START_S = 10.0
"""Time for the message that begins a media stream, and says who sends it."""
MAX_TEXT = 65_536
"""Bytes of a message: base64 of more than a second of audio."""
MAX_UNSTARTED = 200
"""Gateways at a time that have connected, and not said who they are."""

_BOTH = ("inbound", "outbound")
_SILENCE: Mapping[Encoding, bytes] = {"mulaw": b"\xff", "alaw": b"\xd5", "g722": b"\xff", "s16le": bytes(2)}
"""One sample of silence; of G.722, the smallest steps down, which come to rest."""
_TELNYX: Mapping[str, Encoding] = {"PCMU": "mulaw", "PCMA": "alaw", "G722": "g722", "L16": "s16le", "OPUS": "opus"}
"""Codecs of Telnyx that can be decoded; AMR-WB cannot."""
_NOT_JSON = StreamEnded("malformed", "The text is no JSON of a media stream.")
_NOT_BASE64 = StreamEnded("malformed", "The payload is not base64.")
_NO_START = StreamEnded("policy", "The first message of a media stream is 'start'.")


class _Media(msgspec.Struct):
    payload: str
    track: str = "inbound"
    chunk: int | str | None = None
    timestamp: int | str | None = None


class _Event(msgspec.Struct):
    """A message of either gateway."""

    event: str
    start: dict[str, Any] = {}
    media: _Media | None = None


class _Start(msgspec.Struct, frozen=True):
    """The beginning of a media stream."""

    encoding: Encoding
    rate_hz: int
    tracks: tuple[str, ...]
    """Tracks that are announced; none if the gateway does not say."""
    parameters: dict[str, str]
    is_l16: bool = False
    """True if the samples may be in either byte order."""


class Gateway(ABC):
    """One gateway's dialect."""

    name: str

    @abstractmethod
    def read(self, start: dict[str, Any]) -> _Start:
        """Read the ``start`` of a media stream.

        Raises:
            StreamEnded: it has audio that is not taken.
        """


class Twilio(Gateway):
    """Media Streams of Twilio: µ-law alone, 8 kHz, with tracks announced."""

    name = "twilio"

    def read(self, start: dict[str, Any]) -> _Start:
        encoding = str(_within(start, "mediaFormat").get("encoding", "audio/x-mulaw"))
        if encoding != "audio/x-mulaw":
            raise StreamEnded("unsupported", "Of Twilio's streams audio/x-mulaw is taken.")
        tracks = start.get("tracks")
        names = tuple(map(str, tracks)) if isinstance(tracks, list) else ("inbound",)
        return _Start("mulaw", 8_000, names, _texts(_within(start, "customParameters")))


class Telnyx(Gateway):
    """Media Streaming of Telnyx: other codecs too, and tracks that are not announced."""

    name = "telnyx"

    def read(self, start: dict[str, Any]) -> _Start:
        media = _within(start, "media_format")
        codec = str(media.get("encoding", "PCMU")).upper()
        if codec not in _TELNYX:
            raise StreamEnded("unsupported", f"Ask for another stream_codec: {', '.join(_TELNYX)} are taken.")
        encoding = _TELNYX[codec]
        # The clocks of G.722 and Opus are fixed, whatever rate a gateway names.
        rate = DEFAULT_RATE_HZ[encoding] if encoding in ("g722", "opus") else _whole(media.get("sample_rate", 8_000))
        if rate is None or not 8_000 <= rate <= 48_000:
            raise StreamEnded("unsupported", "The sample rate is not taken: 8000 to 48000 Hz are.")
        parameters = _texts(_within(start, "custom_parameters"))
        return _Start(encoding, rate, (), parameters, is_l16=codec == "L16")


class Gateways:
    """``/listen/twilio`` and ``/listen/telnyx``: calls of phone gateways. Nothing is sent to the gateway itself."""

    def __init__(
        self, calls: Calls, tickets: Tickets, authenticator: Authenticator, rates: Rates, streams: Streams
    ) -> None:
        self._calls = calls
        self._tickets = tickets
        self._authenticator = authenticator
        self._rates = rates
        self._streams = streams
        self._unstarted = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/listen/twilio", self.twilio, allow_head=False),
            web.get("/listen/twilio/{ticket}", self.twilio, allow_head=False),
            web.get("/listen/telnyx", self.telnyx, allow_head=False),
            web.get("/listen/telnyx/{ticket}", self.telnyx, allow_head=False),
        ]

    async def twilio(self, request: web.Request) -> web.StreamResponse:
        """Take a media stream of Twilio."""
        return await self._serve(request, Twilio())

    async def telnyx(self, request: web.Request) -> web.StreamResponse:
        """Take a media stream of Telnyx."""
        return await self._serve(request, Telnyx())

    async def _serve(self, request: web.Request, gateway: Gateway) -> web.StreamResponse:
        check_upgrade(request, any_protocol=True)
        check_origin(request)
        query = MultiDict(request.query)
        token = query.pop("token", "")
        wishes = parse(query)
        ticket = request.match_info.get("ticket")
        if ticket is not None:
            stream = await self._tickets.redeem(ticket, self._rates.client(request))
            return await self._with_ticket(request, gateway, stream)
        caller = Caller()
        is_known = bool(token or "Authorization" in request.headers)
        if is_known:
            caller = await self._authenticator.authenticate(request, token)
        if self._unstarted >= MAX_UNSTARTED:
            raise Problem(503, "at_capacity", "Too many media streams are about to start.", {"Retry-After": "10"})
        socket = WebSocket(MAX_TEXT)
        self._unstarted += 1
        try:
            await socket.prepare(request)
            start = await _started(socket, gateway)
            if not is_known:
                caller = await self._authenticator.authenticate(request, start.parameters.get("token", ""))
            self._rates.check_subject(caller.subject)
            form = _form(start, wishes, many="channels" in query)
            address = self._rates.client(request)
            stream = await self._calls.listen(form, caller.subject, address, wanted(form, query, caller))
        except StreamEnded as ended:
            await socket.end(ended)
            return socket
        except (Problem, RequestRefused) as refused:
            await socket.end(_as_end(refused))
            return socket
        finally:
            self._unstarted -= 1
        return await self._streams.carry(socket, stream, _Taker(start, stream).take, is_told=False)

    async def _with_ticket(self, request: web.Request, gateway: Gateway, stream: Stream) -> web.StreamResponse:
        socket = WebSocket(MAX_TEXT)

        async def take(socket: WebSocket, stream: Stream) -> None:
            start = await _started(socket, gateway)
            if (start.encoding, start.rate_hz) != (stream.form.encoding, stream.form.rate_hz):
                raise StreamEnded("unsupported", "The ticket is for another format: ask for one of this stream's.")
            await _Taker(start, stream).take(socket, stream)

        try:
            await socket.prepare(request)
        except BaseException:
            await stream.leave()
            raise
        return await self._streams.carry(socket, stream, take, is_told=False)


class _Taker:
    """Takes the messages of a media stream that has started."""

    def __init__(self, start: _Start, stream: Stream) -> None:
        form = stream.form
        self._tracks = None
        self._l16 = L16() if start.is_l16 else None
        if form.encoding != "opus":
            silence = _SILENCE[form.encoding]
            names = start.tracks or (_BOTH if form.channels > 1 else ())
            self._tracks = Tracks(names, form.channels, rate_hz=form.rate_hz, silence=silence)

    async def take(self, socket: WebSocket, stream: Stream) -> None:
        """Take messages until the gateway leaves or stops."""
        taken = 0
        finished = False
        while (event := await _next(socket)) is not None:
            taken += 1
            if taken % MESSAGES_AT_ONCE == 0:
                await asyncio.sleep(0)
            if event.event == "media" and event.media is not None:
                audio = self._audio(event.media)
                if not audio:
                    # A track that waits for the other one, too.
                    await stream.ping()
                elif not finished:
                    finished = not await _pushed(stream, audio)
                continue
            socket.count_other()
            if event.event == "stop" and not finished:
                finished = True
                if self._tracks is not None and (rest := self._tracks.rest()):
                    await _pushed(stream, rest)
                await stream.finish()

    def _audio(self, media: _Media) -> bytes:
        try:
            payload = b64decode(media.payload, validate=True)
        except (binascii.Error, ValueError):
            raise _NOT_BASE64 from None
        if self._l16 is not None:
            payload = self._l16.little_endian(payload)
        if self._tracks is None:
            return payload
        return self._tracks.add(media.track, _whole(media.chunk), _whole(media.timestamp), payload)


async def _pushed(stream: Stream, audio: bytes) -> bool:
    try:
        await stream.push(audio)
    except StreamEnded:
        # Its last messages are on their way.
        return False
    return True


async def _started(socket: WebSocket, gateway: Gateway) -> _Start:
    """Wait for the start of a media stream.

    Raises:
        StreamEnded: it does not come, or something else does.
    """
    try:
        async with asyncio.timeout(START_S):
            while (event := await _next(socket)) is not None:
                socket.count_other()
                if event.event == "start":
                    return gateway.read(event.start)
                if event.event != "connected":
                    raise _NO_START
    except TimeoutError:
        raise _NO_START from None
    raise StreamEnded("done", "The gateway has left.")


async def _next(socket: WebSocket) -> _Event | None:
    message = await socket.next()
    if message is None:
        return None
    if message.type is WSMsgType.BINARY:
        raise StreamEnded("unsupported", "A media stream has texts alone: send audio to /listen.")
    try:
        event: _Event = received.decode(message.data, _Event)
    except ValueError:
        raise _NOT_JSON from None
    return event


def _form(start: _Start, wishes: StreamFormat, *, many: bool) -> StreamFormat:
    """Return the format of a media stream that comes without a ticket."""
    channels = wishes.channels if many or not start.tracks else len(start.tracks)
    if start.encoding == "opus" and channels > 1:
        raise StreamEnded("unsupported", "Of OPUS one track is taken: ask for another stream_codec.")
    if channels > 2:
        raise StreamEnded("unsupported", "A phone call has two tracks at most.")
    name = start.parameters.get("name", "")
    try:
        checked = parse({"name": name, "interim": start.parameters.get("interim", "true")})
    except StreamRejected as refused:
        raise StreamEnded("policy", str(refused)) from None
    return msgspec.structs.replace(
        wishes,
        encoding=start.encoding,
        rate_hz=start.rate_hz,
        channels=channels,
        name=wishes.name or checked.name,
        interim=wishes.interim and checked.interim,
    )


def _as_end(refused: Problem | RequestRefused) -> StreamEnded:
    """Return the end of a stream whose start is refused."""
    is_later = refused.code not in ("unauthorized", "too_many_sessions") and not isinstance(refused, StreamRejected)
    return StreamEnded("overloaded" if is_later else "policy", str(refused))


def _within(start: dict[str, Any], name: str) -> dict[str, Any]:
    found = start.get(name)
    return found if isinstance(found, dict) else {}


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in values.items() if isinstance(value, str)}


def _whole(value: object) -> int | None:
    """Return a number that gateways send as a text."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 15 else None
    return value if isinstance(value, int) and 0 <= value < 10**15 else None

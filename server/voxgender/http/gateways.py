"""Serve phone gateways: media streams of Twilio and Telnyx, JSON texts with audio in base64, and of Vonage, binary.

https://www.twilio.com/docs/voice/media-streams/websocket-messages
https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket
https://developer.vonage.com/en/voice/voice-api/concepts/websockets
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

from voxgender import amrwb, received
from voxgender.audiostream import DEFAULT_RATE_HZ, MIN_RATE_HZ, Encoding, StreamFormat, parse
from voxgender.errors import NotReady, RequestRefused, StreamEnded, StreamRejected
from voxgender.http.auth import Authenticator, Caller
from voxgender.http.calls import Calls, Stream
from voxgender.http.cors import check_origin
from voxgender.http.l16 import L16
from voxgender.http.listen import Streams, wanted
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
_SILENCE: Mapping[Encoding, bytes] = {
    "mulaw": b"\xff",
    "alaw": b"\xd5",
    "g722": b"\xff",
    "s16le": bytes(2),
    "amrwb": amrwb.NO_DATA.ljust(amrwb.MAX_FRAME_BYTES, b"\0"),
}
"""One sample of silence; of G.722, the smallest steps down, which come to rest; of AMR-WB, a frame, padded."""
_TELNYX: Mapping[str, Encoding] = {
    "PCMU": "mulaw",
    "PCMA": "alaw",
    "G722": "g722",
    "L16": "s16le",
    "AMR-WB": "amrwb",
    "OPUS": "opus",
}
"""Codecs of Telnyx."""
_MAX_RATE_HZ = 48_000
_NOT_JSON = StreamEnded("malformed", "The text is no JSON of a media stream.")
_NOT_BASE64 = StreamEnded("malformed", "The payload is not base64.")
_NOT_AMR_WB = StreamEnded("malformed", "The payload is no AMR-WB of RFC 4867.")


class _Media(msgspec.Struct):
    payload: str
    track: str = "inbound"
    chunk: int | str | None = None
    timestamp: int | str | None = None


class _Event(msgspec.Struct):
    """A text of any gateway."""

    event: str
    start: dict[str, Any] = {}
    media: _Media | None = None
    content_type: str = msgspec.field(default="", name="content-type")


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
    starts: str = "start"
    """The event that begins a media stream."""
    is_binary: bool = False
    """True if audio comes in binary messages."""

    @abstractmethod
    def read(self, event: _Event) -> _Start:
        """Read the event that begins a media stream.

        Raises:
            StreamEnded: it has audio that is not taken.
        """


class Twilio(Gateway):
    """Media Streams of Twilio: µ-law alone, 8 kHz, with tracks announced."""

    name = "twilio"

    def read(self, event: _Event) -> _Start:
        start = event.start
        encoding = str(_within(start, "mediaFormat").get("encoding", "audio/x-mulaw"))
        if encoding != "audio/x-mulaw":
            raise StreamEnded("unsupported", "Of Twilio's streams audio/x-mulaw is taken.")
        tracks = start.get("tracks")
        names = tuple(map(str, tracks)) if isinstance(tracks, list) else ("inbound",)
        return _Start("mulaw", 8_000, names, _texts(_within(start, "customParameters")))


class Telnyx(Gateway):
    """Media Streaming of Telnyx: other codecs too, and tracks that are not announced."""

    name = "telnyx"

    def read(self, event: _Event) -> _Start:
        start = event.start
        media = _within(start, "media_format")
        codec = str(media.get("encoding", "PCMU")).upper()
        if codec not in _TELNYX:
            raise StreamEnded("unsupported", f"Ask for another stream_codec: {', '.join(_TELNYX)} are taken.")
        encoding = _TELNYX[codec]
        # The clocks of the others are fixed, whatever rate a gateway names.
        is_pcm = encoding in ("mulaw", "alaw", "s16le")
        rate = _whole(media.get("sample_rate", 8_000)) if is_pcm else DEFAULT_RATE_HZ[encoding]
        if rate is None or not MIN_RATE_HZ <= rate <= _MAX_RATE_HZ:
            raise StreamEnded("unsupported", "The sample rate is not taken: 8000 to 48000 Hz are.")
        parameters = _texts(_within(start, "custom_parameters"))
        return _Start(encoding, rate, (), parameters, is_l16=codec == "L16")


class Vonage(Gateway):
    """WebSockets of Vonage's Voice API: one track of PCM."""

    name = "vonage"
    starts = "websocket:connected"
    is_binary = True

    def read(self, event: _Event) -> _Start:
        kind, _, rate = event.content_type.replace(" ", "").partition(";rate=")
        rate_hz = _whole(rate or "16000")
        if kind != "audio/l16" or rate_hz is None or not MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
            raise StreamEnded("unsupported", "Of Vonage's WebSockets audio/l16 is taken, at 8000 to 48000 Hz.")
        return _Start("s16le", rate_hz, ("inbound",), {})


class Gateways:
    """``/listen/twilio``, ``telnyx`` and ``vonage``: calls of phone gateways. Nothing is sent to the gateway itself."""

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
            web.get("/listen/vonage", self.vonage, allow_head=False),
            web.get("/listen/vonage/{ticket}", self.vonage, allow_head=False),
        ]

    async def twilio(self, request: web.Request) -> web.StreamResponse:
        """Take a media stream of Twilio."""
        return await self._serve(request, Twilio())

    async def telnyx(self, request: web.Request) -> web.StreamResponse:
        """Take a media stream of Telnyx."""
        return await self._serve(request, Telnyx())

    async def vonage(self, request: web.Request) -> web.StreamResponse:
        """Take the audio of a call at Vonage."""
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
        return await self._streams.carry(socket, stream, _Taker(gateway, start, stream).take, is_told=False)

    async def _with_ticket(self, request: web.Request, gateway: Gateway, stream: Stream) -> web.StreamResponse:
        socket = WebSocket(MAX_TEXT)

        async def take(socket: WebSocket, stream: Stream) -> None:
            start = await _started(socket, gateway)
            if (start.encoding, start.rate_hz) != (stream.form.encoding, stream.form.rate_hz):
                raise StreamEnded("unsupported", "The ticket is for another format: ask for one of this stream's.")
            await _Taker(gateway, start, stream).take(socket, stream)

        try:
            await socket.prepare(request)
        except BaseException:
            await stream.leave()
            raise
        return await self._streams.carry(socket, stream, take, is_told=False)


class _Taker:
    """Takes the messages of a media stream that has started."""

    def __init__(self, gateway: Gateway, start: _Start, stream: Stream) -> None:
        form = stream.form
        self._gateway = gateway
        self._least_bytes = form.least_message
        self._tracks = None
        self._l16 = L16() if start.is_l16 else None
        if form.encoding != "opus":
            names = start.tracks or (_BOTH if form.channels > 1 else ())
            rate_hz = round(1 / amrwb.FRAME_S) if form.encoding == "amrwb" else form.rate_hz
            self._tracks = Tracks(names, form.channels, rate_hz=rate_hz, silence=_SILENCE[form.encoding])
        self._is_amrwb = form.encoding == "amrwb"

    async def take(self, socket: WebSocket, stream: Stream) -> None:
        """Take messages until the gateway leaves or stops."""
        finished = False
        while (event := await _next(socket, self._gateway)) is not None:
            if isinstance(event, bytes):
                media = _Media("", track=_BOTH[0])
                payload = event
            elif event.event == "media" and event.media is not None:
                media = event.media
                payload = _decoded(media.payload)
            else:
                socket.count_other()
                if event.event == "stop" and not finished:
                    finished = True
                    if self._tracks is not None and (rest := self._tracks.rest()):
                        await self._pushed(stream, rest)
                    await stream.finish()
                continue
            if len(payload) < self._least_bytes:
                socket.count_other()
            if not (audio := self._add(media, payload)):
                # A track that waits for the other one, too.
                await stream.ping()
            elif not finished:
                finished = not await self._pushed(stream, audio)

    def _add(self, media: _Media, payload: bytes) -> bytes:
        """Add a message of a track; return the audio of all tracks that is complete with it."""
        if self._l16 is not None:
            payload = self._l16.little_endian(payload)
        if self._is_amrwb:
            if not (frames := amrwb.frames(payload)):
                raise _NOT_AMR_WB
            payload = b"".join([frame.ljust(amrwb.MAX_FRAME_BYTES, b"\0") for frame in frames])
        if self._tracks is None:
            return payload
        return self._tracks.add(media.track, _whole(media.chunk), _whole(media.timestamp), payload)

    async def _pushed(self, stream: Stream, audio: bytes) -> bool:
        """Push audio of all tracks; return whether the stream goes on."""
        try:
            for message in self._messages(audio, stream.form.channels):
                await stream.push(message)
        except StreamEnded:
            # Its last messages are on their way.
            return False
        return True

    def _messages(self, audio: bytes, channels: int) -> list[bytes]:
        if not self._is_amrwb:
            return [audio]
        frames = _pieces(audio, amrwb.MAX_FRAME_BYTES)
        most = amrwb.MAX_FRAMES - amrwb.MAX_FRAMES % channels
        return [amrwb.payload(frames[first : first + most]) for first in range(0, len(frames), most)]


def _decoded(payload: str) -> bytes:
    try:
        return b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise _NOT_BASE64 from None


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


async def _started(socket: WebSocket, gateway: Gateway) -> _Start:
    """Wait for the start of a media stream.

    Raises:
        StreamEnded: it does not come, or something else does.
    """
    no_start = StreamEnded("policy", f"The first message of a media stream is '{gateway.starts}'.")
    try:
        async with asyncio.timeout(START_S):
            while (event := await _next(socket, gateway)) is not None:
                socket.count_other()
                if isinstance(event, bytes):
                    raise no_start
                if event.event == gateway.starts:
                    return gateway.read(event)
                if event.event != "connected":
                    raise no_start
    except TimeoutError:
        raise no_start from None
    raise StreamEnded("done", "The gateway has left.")


async def _next(socket: WebSocket, gateway: Gateway) -> _Event | bytes | None:
    message = await socket.next()
    if message is None:
        return None
    if message.type is WSMsgType.BINARY:
        if gateway.is_binary:
            audio: bytes = message.data
            return audio
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
    is_later = refused.status in (429, 503) if isinstance(refused, Problem) else isinstance(refused, NotReady)
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

"""Receive the media stream of a phone gateway over a WebSocket, and push its audio on."""

import asyncio
from collections.abc import Mapping

from aiohttp import WSMsgType

from voxgender import amrwb, received
from voxgender.audiostream import Encoding
from voxgender.errors import StreamEnded
from voxgender.http.calls import ClientStream
from voxgender.http.dialects import AudioMessage, Event, Gateway, StreamStart, number
from voxgender.http.l16 import L16
from voxgender.http.tracks import Tracks
from voxgender.http.websocket import WebSocket

START_S = 10.0
"""Time for the message that begins a media stream, and says who sends it."""

_BOTH = ("inbound", "outbound")
_SILENCE: Mapping[Encoding, bytes] = {
    "mulaw": b"\xff",
    "alaw": b"\xd5",
    "g722": b"\xff",
    "s16le": bytes(2),
    "amrwb": amrwb.NO_DATA.ljust(amrwb.MAX_FRAME_BYTES, b"\0"),
}
"""One sample of silence; of G.722, the smallest steps down, which come to rest; of AMR-WB, a frame, padded."""


async def started(socket: WebSocket, gateway: Gateway, *, within_s: float = START_S) -> StreamStart:
    """Wait for the start of a media stream.

    Raises:
        StreamEnded: it does not come, or something else does.
    """
    try:
        async with asyncio.timeout(within_s):
            while (event := await _next(socket, gateway)) is not None:
                socket.count_other()
                if isinstance(event, bytes):
                    raise _no_start(gateway)
                if event.event == gateway.starts:
                    return gateway.read(event)
                if event.event != "connected":
                    raise _no_start(gateway)
    except TimeoutError:
        raise _no_start(gateway) from None
    raise StreamEnded("done", "The gateway has left.")


class MediaStream:
    """A media stream that has started.

    Args:
        socket: the gateway's WebSocket.
        gateway: its dialect.
        start: the stream's beginning.
        stream: where the audio goes.
    """

    def __init__(self, socket: WebSocket, gateway: Gateway, start: StreamStart, stream: ClientStream) -> None:
        form = stream.form
        self._socket = socket
        self._gateway = gateway
        self._stream = stream
        self._finished = False
        self._l16 = L16() if start.is_l16 else None
        self._is_amrwb = form.encoding == "amrwb"
        self._tracks: Tracks | None = None
        if form.encoding != "opus":
            names = start.tracks or (_BOTH if form.channels > 1 else ())
            rate_hz = round(1 / amrwb.FRAME_S) if self._is_amrwb else form.rate_hz
            self._tracks = Tracks(names, form.channels, rate_hz=rate_hz, silence=_SILENCE[form.encoding])

    async def receive(self) -> None:
        """Receive messages until the gateway leaves.

        Raises:
            StreamEnded: it sends something that is not taken.
        """
        while (event := await _next(self._socket, self._gateway)) is not None:
            if isinstance(event, bytes):
                await self._on_audio(AudioMessage("", track=_BOTH[0]), event)
            elif event.event == "media" and event.media is not None:
                await self._on_audio(event.media, event.media.audio())
            else:
                self._socket.count_other()
                if event.event == "stop":
                    await self._finish()

    async def _on_audio(self, media: AudioMessage, payload: bytes) -> None:
        if len(payload) < self._stream.form.least_message:
            self._socket.count_other()
        audio = self._add(media, payload)
        if not audio:
            # A track that waits for the other one shows that the gateway is there, too.
            await self._stream.ping()
        elif not self._finished:
            await self._push(audio)

    async def _finish(self) -> None:
        if self._finished:
            return
        if self._tracks is not None and (rest := self._tracks.rest()):
            await self._push(rest)
        self._finished = True
        await self._stream.finish()

    def _add(self, media: AudioMessage, payload: bytes) -> bytes:
        """Add a message of a track; return the audio of all tracks that is complete with it."""
        if self._l16 is not None:
            payload = self._l16.little_endian(payload)
        if self._is_amrwb:
            if not (frames := amrwb.frames(payload)):
                raise StreamEnded("malformed", "The payload is no AMR-WB of RFC 4867.")
            payload = b"".join([frame.ljust(amrwb.MAX_FRAME_BYTES, b"\0") for frame in frames])
        if self._tracks is None:
            return payload
        return self._tracks.add(media.track, number(media.chunk), number(media.timestamp), payload)

    async def _push(self, audio: bytes) -> None:
        """Push audio of all tracks."""
        try:
            for message in self._messages(audio):
                await self._stream.push(message)
        except StreamEnded:
            # Its last messages are on their way.
            self._finished = True

    def _messages(self, audio: bytes) -> list[bytes]:
        if not self._is_amrwb:
            return [audio]
        frames = _pieces(audio, amrwb.MAX_FRAME_BYTES)
        most = amrwb.MAX_FRAMES - amrwb.MAX_FRAMES % self._stream.form.channels
        return [amrwb.payload(frames[first : first + most]) for first in range(0, len(frames), most)]


async def _next(socket: WebSocket, gateway: Gateway) -> Event | bytes | None:
    """Return the gateway's next message, of audio alone as bytes; None once it has left."""
    message = await socket.next()
    if message is None:
        return None
    if message.type is WSMsgType.BINARY:
        if gateway.is_binary:
            audio: bytes = message.data
            return audio
        raise StreamEnded("unsupported", "A media stream has texts alone: send audio to /listen.")
    try:
        event: Event = received.decode(message.data, Event)
    except ValueError:
        raise StreamEnded("malformed", "The text is no JSON of a media stream.") from None
    return event


def _no_start(gateway: Gateway) -> StreamEnded:
    return StreamEnded("policy", f"The first message of a media stream is '{gateway.starts}'.")


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]

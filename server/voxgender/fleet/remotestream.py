"""Carry a stream of audio to a media node, over a WebSocket of signaling's own."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import WSMsgType

from voxgender.audiostream import StreamFormat
from voxgender.errors import Ending, StreamEnded
from voxgender.http.websocket import CLOSE_CODES

STREAM_HEADER = "Voxgender-Stream"
"""Header of a node's handshake: the stream's format, as JSON, percent-encoded."""
HEARTBEAT_S = 30.0
"""Silence of a node after which it is asked for a sign of life, with half of that to answer. A node whose machine is
gone leaves the directory sooner, and its streams end with it."""

_PING, _FINALIZE, _CLOSE = ('{"type":"ping"}', '{"type":"finalize"}', '{"type":"close"}')
_PONG = '{"type":"pong"}'
_ENDINGS: dict[int, Ending] = {code: ending for ending, code in reversed(list(CLOSE_CODES.items()))}


class NodeSocket(aiohttp.ClientWebSocketResponse[Literal[True]]):
    """A WebSocket to a node that keeps the answer to its handshake."""

    def __init__(self, reader: Any, writer: Any, protocol: str | None, response: Any, *args: Any, **kw: Any) -> None:
        super().__init__(reader, writer, protocol, response, *args, **kw)
        self.response: aiohttp.ClientResponse = response


class RemoteStream:
    """A stream on a media node. If the node reads slowly, so does signaling, and TCP makes the client wait."""

    def __init__(self, socket: NodeSocket, session_id: str, form: StreamFormat) -> None:
        self._socket = socket
        self.id = session_id
        self.form = form

    async def push(self, audio: bytes) -> None:
        """Add bytes of audio.

        Raises:
            StreamEnded: the node is gone, or has ended the stream.
        """
        try:
            await self._socket.send_bytes(audio)
        except (ConnectionError, aiohttp.ClientConnectionError, RuntimeError):
            raise _gone() from None

    async def ping(self) -> None:
        await self._send(_PING)

    async def finalize(self) -> None:
        await self._send(_FINALIZE)

    async def finish(self) -> None:
        await self._send(_CLOSE)

    async def leave(self, ending: Ending = "done") -> None:
        with suppress(TimeoutError):
            await self._socket.close(code=CLOSE_CODES[ending])

    async def messages(self) -> AsyncGenerator[str, None]:
        """Yield the client's messages.

        Raises:
            StreamEnded: after the last one.
        """
        while True:
            message = await self._socket.receive()
            match message.type:
                case WSMsgType.TEXT:
                    # Signaling answers pings itself.
                    if message.data != _PONG:
                        yield message.data
                case WSMsgType.CLOSE if message.data in _ENDINGS:
                    raise StreamEnded(_ENDINGS[message.data], message.extra or "")
                case _:
                    raise _gone()

    async def _send(self, text: str) -> None:
        # If the node is gone, the end of the messages says so.
        with suppress(ConnectionError, aiohttp.ClientConnectionError, RuntimeError):
            await self._socket.send_str(text)


def _gone() -> StreamEnded:
    return StreamEnded("restarted", "The call's media node is gone: connect again, with from_ms.")


def shown(form: StreamFormat) -> str:
    """Return a format as it stands in ``STREAM_HEADER``."""
    return quote(msgspec.json.encode(form))

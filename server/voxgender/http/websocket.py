"""Speak WebSocket (RFC 6455) to one client: bounded in size and rate, closed with a reason."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import ClientConnectionError, WSMessage, WSMsgType, web

from voxgender.audiostream import OTHERS_PER_S
from voxgender.errors import Ending, StreamEnded
from voxgender.http.problems import Problem
from voxgender.ratelimit import RateLimit

PROTOCOL = "voxgender"
"""The subprotocol that a page offers beside the one with its token."""
WRITE_S = 20.0
"""Time for which a client may leave unread what was sent."""
CLOSE_S = 2.0
"""Time for the client's answer to a close."""
OTHERS_AT_ONCE = 200.0
"""Messages at once that hold no audio, or next to none."""
MESSAGES_AT_ONCE = 16
"""Messages of a client that are read before others have their turn."""

MAX_REASON = 123
"""Bytes of the reason of a close (RFC 6455 section 5.5)."""

CLOSE_CODES: Mapping[Ending, int] = {
    "done": 1000,
    "draining": 1001,
    "unsupported": 1003,
    "malformed": 1007,
    "policy": 1008,
    "flood": 1008,
    "unread": 1008,
    "too_big": 1009,
    "fault": 1011,
    "restarted": 1012,
    "overloaded": 1013,
}
"""RFC 6455 section 7.4.1, and the registry of IANA for 1012 and 1013."""

_TOO_BIG = "The message is larger than one may be: send one second of audio at most."
_BROKEN = {1002: "The frame is not as RFC 6455 has it.", 1007: "The text is not UTF-8.", 1009: _TOO_BIG}


class WebSocketTimes(NamedTuple):
    """Times that a client of a WebSocket is given."""

    write_s: float = WRITE_S
    close_s: float = CLOSE_S


def check_upgrade(request: web.Request, *, any_protocol: bool = False) -> None:
    """Check that a request asks for a WebSocket.

    Args:
        request: the request.
        any_protocol: whether other subprotocols may be offered; none of them is agreed to.

    Raises:
        Problem: 426, or 400 if its handshake is malformed.
    """
    headers = request.headers
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        raise Problem(
            426,
            "upgrade_required",
            "This is a WebSocket: connect by a WebSocket client; a proxy has to pass Upgrade and Connection on.",
            {"Upgrade": "websocket", "Connection": "Upgrade"},
        )
    offered = ",".join(headers.getall("Sec-WebSocket-Protocol", ()))
    if offered and not any_protocol and PROTOCOL not in [each.strip() for each in offered.split(",")]:
        raise Problem(400, "malformed_request", f"Offer the subprotocol '{PROTOCOL}', or none.")
    if not web.WebSocketResponse(protocols=(PROTOCOL,)).can_prepare(request):
        raise Problem(400, "malformed_request", "The WebSocket handshake is not as RFC 6455 section 4.2.1 has it.")


class WebSocket(web.WebSocketResponse):
    """A server's WebSocket that does not compress, answers pings, and closes with a reason.

    Without compression a small message is small (RFC 7692 section 8 warns of what is not).

    Args:
        max_message: greatest size of a message in bytes.
        times: times that the client is given.
    """

    def __init__(self, max_message: int, times: WebSocketTimes = WebSocketTimes()) -> None:  # noqa: B008 - it cannot change
        super().__init__(
            protocols=(PROTOCOL,), compress=False, max_msg_size=max_message + 1, autoping=False, timeout=times.close_s
        )
        self._times = times
        self._others = RateLimit(OTHERS_PER_S, OTHERS_AT_ONCE)
        self._ending: asyncio.Task[None] | None = None

    async def send(self, text: str) -> None:
        """Send a text.

        Raises:
            StreamEnded: the client has left, or does not read.
        """
        await self._bounded(self.send_str(text))

    async def next(self) -> WSMessage | None:
        """Return the client's next text or binary message; None once it has left.

        Raises:
            StreamEnded: the client sends too many pings.
        """
        while True:
            message = await self.receive()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    return message
                case WSMsgType.PING:
                    self.count_other()
                    await self._bounded(self.pong(message.data))
                case WSMsgType.PONG:
                    self.count_other()
                case _:
                    return None

    def count_other(self) -> None:
        """Count a message that holds no audio, or next to none.

        Raises:
            StreamEnded: there are too many.
        """
        if not self._others.take(asyncio.get_running_loop().time()):
            raise StreamEnded("flood", "Too many messages came that hold next to no audio: send larger ones.")

    async def end(self, ended: StreamEnded) -> None:
        """Close with the code and the reason of an end. A second one waits for the first, and changes nothing."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(ended), name="close-websocket")
        # Not ended with whoever asks for it: a client that still sends would be cut off, and not learn the reason.
        await asyncio.shield(self._ending)

    async def _end(self, ended: StreamEnded) -> None:
        try:
            async with asyncio.timeout(self._times.close_s):
                await self.close(code=CLOSE_CODES[ended.ending], message=reason(str(ended)), drain=False)
        except TimeoutError:
            # The kernel goes on sending, and gives up in its own time.
            return

    async def close(self, *, code: int = 1000, message: bytes = b"", drain: bool = True) -> bool:
        """Close; a violation of the protocol, which aiohttp has found, gets its reason here."""
        return await super().close(code=code, message=message or reason(_BROKEN.get(code, "")), drain=drain)

    def _post_start(self, *args: Any) -> None:
        super()._post_start(*args)
        self._reader: Any = _FairReader(self._reader)

    async def _bounded(self, sending: Any) -> None:
        try:
            async with asyncio.timeout(self._times.write_s):
                await sending
        except TimeoutError:
            raise StreamEnded("unread", "Messages were left unread for too long: read them while you send.") from None
        except (ConnectionError, ClientConnectionError, RuntimeError):
            raise StreamEnded("done", "The client has left.") from None


class _FairReader:
    """Wraps aiohttp's queue of a client's messages, so that other tasks run after every few messages.

    A client that is sent away is read until it answers the close, and may have sent some ten thousand pings by then.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._read = 0

    async def read(self) -> Any:
        self._read += 1
        if self._read % MESSAGES_AT_ONCE == 0:
            await asyncio.sleep(0)
        return await self._queue.read()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def reason(text: str) -> bytes:
    """Return the reason of a close in UTF-8, cut to what fits."""
    return text.encode()[:MAX_REASON].decode(errors="ignore").encode()

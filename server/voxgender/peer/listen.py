"""Stream audio to a server over a WebSocket: at any speed, or as a call in real time that is measured."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import NamedTuple

import aiohttp
import msgspec

from voxgender import received
from voxgender.audiostream import StreamFormat
from voxgender.errors import CallError
from voxgender.peer.caller import CallLost, OnMessage, ignore
from voxgender.peer.pacer import Pacer
from voxgender.peer.player import Player
from voxgender.peer.report import Recorder, Report
from voxgender.peer.speech import Speech
from voxgender.peer.whip import WhipClient
from voxgender.protocol import AnyMessage, decode

END_S = 10.0
"""Time for the last messages after the end of the audio."""
HEARTBEAT_S = 20.0
"""Silence of a server after which it is asked for a sign of life."""
OPUS = StreamFormat(encoding="opus", rate_hz=48_000)

_FINISH = '{"type":"close"}'
_PONG = '{"type":"pong"}'
_OK = 1000

Socket = aiohttp.ClientWebSocketResponse


class _Ticket(msgspec.Struct):
    url: str


class ListenClient(WhipClient):
    """Opens streams at one server. A refusal is told in the server's own words, which a WebSocket's handshake hides."""

    _name = "listen"

    async def connect(self, form: StreamFormat) -> Socket:
        """Open a stream: get a ticket, and use it.

        Raises:
            CallError: there is no server, it is no voxgender server, or it refuses; the message says what to do.
        """
        with self.call_errors():
            async with self._http.post(self.endpoint.with_query(_query(form) | dict(self._query))) as response:
                if response.status != 201 or response.content_type != "application/json":
                    raise CallError(await self.refusal(response))
                ticket: _Ticket = received.decode(await response.read(), _Ticket)
            timeout = aiohttp.ClientWSTimeout(ws_close=END_S)
            return await self._http.ws_connect(
                response.url.join(received.url(ticket.url)), timeout=timeout, heartbeat=HEARTBEAT_S
            )

    async def stream(
        self, form: StreamFormat, chunks: AsyncIterator[bytes], on_message: OnMessage, finish: asyncio.Event
    ) -> None:
        """Stream audio as fast as the server takes it, and wait for the last message.

        Args:
            form: format of the audio.
            chunks: the audio.
            on_message: called with every message from the server, as it comes.
            finish: ends the audio early when it is set.

        Raises:
            AudioError: the audio cannot be read.
            CallError: the server refuses, or ends the stream.
        """
        socket = await self.connect(form)
        sending = asyncio.create_task(_send(socket, chunks, finish))
        try:
            code, reason = await _receive(socket, on_message)
            if sending.done() and (error := sending.exception()) is not None:
                raise error
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await socket.close()
        if code != _OK:
            raise CallError(f"{self.endpoint}: {_lost(code, reason)}")


class StreamCaller:
    """A call of Opus packets over a WebSocket, in real time, measured as :class:`voxgender.peer.caller.Caller` is."""

    def __init__(self, url: str, speech: Speech, *, token: str | None = None, pacer: Pacer | None = None) -> None:
        self._url = url
        self._token = token
        self._speech = speech
        self._pacer = pacer or Pacer()
        self._over = asyncio.Event()
        self.link: None = None
        self.recorder = Recorder(())

    def hang_up(self) -> None:
        """End the call early; :meth:`run` returns its report."""
        self._over.set()

    async def run(self, on_message: OnMessage = ignore, *, on_connected: Callable[[], None] = lambda: None) -> Report:
        """Place the call, and stay until the audio has been played or :meth:`hang_up`.

        Args:
            on_message: called with every message from the server, as it comes.
            on_connected: called once, when audio flows.

        Raises:
            CallError: the call could not be placed; the message says what to do.
            CallLost: it came down before its time.
        """
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(ListenClient(self._url, token=self._token))
            packets = self._speech.packets if self._speech.wideband is None else self._speech.wideband
            player = Player(packets, self._pacer)
            stack.callback(player.stop)
            player.played.add_done_callback(lambda _: self._over.set())
            recorder = self.recorder = Recorder(player.sent, self._speech.turns)
            recorder.placed_at = time.monotonic()
            socket = await client.connect(OPUS)
            stack.push_async_callback(socket.close)
            recorder.connect_ms = (time.monotonic() - recorder.placed_at) * 1_000
            writer = _Writer()
            player.start(writer)
            sending = asyncio.create_task(_send(socket, writer.payloads(), self._over))
            on_connected()

            def take(message: AnyMessage) -> None:
                recorder.add(message, time.monotonic())
                on_message(message)

            try:
                code, reason = await _receive(socket, take)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            if code != _OK:
                raise CallLost(_lost(code, reason), recorder.report(ended="lost"))
            ended_itself = player.played.done() and not player.played.cancelled()
            return recorder.report(ended="played" if ended_itself else "hung_up")


class _Writer:
    """Takes a player's packets, which the sending task picks up."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, payload: bytes, timestamp: int) -> None:
        del timestamp
        self._waiting.put_nowait(payload)

    async def payloads(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._waiting.get()


class _End(NamedTuple):
    code: int | None
    reason: str


def _query(form: StreamFormat) -> dict[str, str]:
    query = {"encoding": form.encoding, "rate": str(form.rate_hz), "channels": str(form.channels)}
    if form.name:
        query["name"] = form.name
    return query


async def _send(socket: Socket, chunks: AsyncIterator[bytes], finish: asyncio.Event) -> None:
    """Send audio until it is over, or until ``finish``; then say so."""
    sending = asyncio.create_task(_send_all(socket, chunks))
    finishing = asyncio.create_task(finish.wait())
    try:
        await asyncio.wait((sending, finishing), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
    finally:
        for task in (sending, finishing):
            task.cancel()
        await asyncio.gather(sending, finishing, return_exceptions=True)
        # A socket that is closed already says why.
        with suppress(ConnectionError, aiohttp.ClientError):
            await socket.send_str(_FINISH)


async def _send_all(socket: Socket, chunks: AsyncIterator[bytes]) -> None:
    with suppress(ConnectionError, aiohttp.ClientError):
        async for chunk in chunks:
            await socket.send_bytes(chunk)


async def _receive(socket: Socket, on_message: OnMessage) -> _End:
    """Take the server's messages until it closes; return how."""
    while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
        if message.data == _PONG:
            continue
        try:
            told = decode(message.data)
        except ValueError:
            # A message of another version.
            continue
        on_message(told)
    return _End(socket.close_code, message.extra or "" if message.type is aiohttp.WSMsgType.CLOSE else "")


def _lost(code: int | None, reason: str) -> str:
    if code is None or code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE:
        return "the connection to the server is gone"
    return f"the server ended the stream ({code}): {reason or 'it does not say why'}"

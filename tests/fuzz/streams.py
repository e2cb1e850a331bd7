"""Targets behind ``/listen``: WebSocket messages of programs and of phone gateways, and frames below them."""

import asyncio
import base64
import json
import os
import struct
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import aiohttp
from aiohttp import WSMsgType

from tests import options
from tests.fuzz.contract import Breach, Parse, Target
from tests.fuzz.packets import Loop
from tests.rtc import Server, a_server
from voxgender.engine import Engine
from voxgender.http.websocket import CLOSE_CODES, MAX_REASON
from voxgender.settings import FrontSettings

PATHS = (
    "/listen",
    "/listen?encoding=f32le&rate=48000&channels=2&interim=false",
    "/listen?encoding=mulaw&rate=8000&from_ms=1000&name=Ana",
    "/listen?encoding=opus",
    "/listen/twilio",
    "/listen/telnyx?channels=2",
    "/listen?encoding=amrwb&channels=2",
    "/listen/vonage",
)
_WAIT_S = 5.0


class Door:
    """A server that each input calls by a WebSocket of its own."""

    def __init__(self) -> None:
        self.loop = Loop()
        self._engine = Engine(None)
        self._stack = AsyncExitStack()
        self._server: Server
        self.loop.run(self._start())

    async def _start(self) -> None:
        settings = options.given(FrontSettings, offers_per_minute=0)
        self._server = await self._stack.enter_async_context(a_server(self._engine, settings=settings))

    def close(self) -> None:
        self.loop.run(self._stack.aclose())
        self.loop.close()
        self._engine.close()

    def messages(self, data: bytes) -> None:
        """Send messages, each behind its kind and its length; the first byte chooses the path."""
        self.loop.run(self._send_messages(data))

    def frames(self, data: bytes) -> None:
        """Send bytes below the messages; the first one chooses the path."""
        self.loop.run(self._send_frames(data))

    async def _send_messages(self, data: bytes) -> None:
        path, rest = PATHS[data[0] % len(PATHS)] if data else PATHS[0], data[1:]
        async with self._server.http.ws_connect(path, autoclose=False, autoping=False) as socket:
            try:
                at = 0
                while at + 3 <= len(rest) and not socket.closed:
                    kind, size = rest[at], int.from_bytes(rest[at + 1 : at + 3], "big") % 2_000
                    body = rest[at + 3 : at + 3 + size]
                    at += 3 + max(1, len(body))
                    if kind % 3 == 0:
                        await socket.send_bytes(body)
                    elif kind % 3 == 1:
                        await socket.send_str(body.decode(errors="replace"))
                    else:
                        await socket.ping(body[:125])
                await socket.send_str('{"type":"close"}')
            except (aiohttp.ClientError, ConnectionError):
                # It was sent away in the middle.
                pass
            async with asyncio.timeout(_WAIT_S):
                while (message := await socket.receive()).type in (WSMsgType.TEXT, WSMsgType.PONG):
                    if message.type is WSMsgType.TEXT:
                        json.loads(message.data)
            self._check(socket.close_code, message.extra or "")
        await self._emptied()

    async def _send_frames(self, data: bytes) -> None:
        path, rest = PATHS[data[0] % len(PATHS)] if data else PATHS[0], data[1:]
        port = int(self._server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0] + b" ":
            raise Breach(f"refused: {head[:80]!r}")
        try:
            writer.write(rest)
            writer.write_eof()
            async with asyncio.timeout(_WAIT_S):
                while await reader.read(65_536):
                    pass
        except ConnectionError:
            pass
        finally:
            writer.close()
        await self._emptied()

    def _check(self, code: int | None, reason: str) -> None:
        if code not in CLOSE_CODES.values():
            raise Breach(f"closed with {code}: {reason}")
        if len(reason.encode()) > MAX_REASON or (code != 1000 and not reason.endswith(".")):
            raise Breach(f"a reason that is no sentence: {reason}")

    async def _emptied(self) -> None:
        async with asyncio.timeout(_WAIT_S):
            while self._server.node.live:  # noqa: ASYNC110 - a node tells nobody
                await asyncio.sleep(0.002)


def _message(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(2, "big") + body


def _message_seeds() -> list[bytes]:
    texts = [b'{"type":"ping"}', b'{"type":"finalize"}', b'{"type":"close"}']
    talk = _message(0, bytes(640)) + b"".join(_message(1, text) for text in texts) + _message(2, b"x")
    opus = _message(0, b"\xfc\xff\xfe") * 3 + _message(1, texts[1])
    twilio = [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {
            "event": "start",
            "start": {
                "tracks": ["inbound", "outbound"],
                "customParameters": {"name": "Ana"},
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8_000, "channels": 1},
            },
        },
        {"event": "media", "media": {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": "/////w=="}},
        {"event": "stop"},
    ]
    telnyx = [
        {"event": "start", "start": {"media_format": {"encoding": "PCMU", "sample_rate": 8_000, "channels": 1}}},
        {"event": "media", "media": {"track": "outbound", "chunk": 2, "timestamp": 20, "payload": "1dXV1Q=="}},
        {"event": "stop"},
    ]
    amr_wb = [
        {"event": "start", "start": {"media_format": {"encoding": "AMR-WB", "sample_rate": 16_000, "channels": 1}}},
        {"event": "media", "media": {"track": "inbound", "timestamp": 20, "payload": "8EwAAAAAAA=="}},
        {"event": "stop"},
    ]
    gateways = [
        b"".join(_message(1, json.dumps(event).encode()) for event in events) for events in (twilio, telnyx, amr_wb)
    ]
    doors = [b"\3" + opus, *(path + events for path, events in zip((b"\4", b"\5", b"\5"), gateways, strict=True))]
    vonage = b'{"event":"websocket:connected","content-type":"audio/l16;rate=16000"}'
    talk_by_phone = _message(1, vonage) + _message(0, bytes(640)) + _message(1, b'{"event":"websocket:dtmf"}')
    frames = _message(0, b"\xf0\xfc\x7c") + _message(0, b"\xf0\xcc\x4c" + bytes(10)) + _message(1, texts[2])
    return [*(bytes((path,)) + talk for path in range(3)), *doors, b"\6" + frames, b"\7" + talk_by_phone]


def _frame(opcode: int, body: bytes, first: int = 0x80) -> bytes:
    size = bytes((0x80 | len(body),)) if len(body) < 126 else b"\xfe" + struct.pack("!H", len(body))
    return bytes((first | opcode,)) + size + bytes(4) + body


def _frame_seeds() -> list[bytes]:
    close = _frame(8, struct.pack("!H", 1_000))
    plain = _frame(2, bytes(640)) + _frame(1, b'{"type":"ping"}') + close
    pieces = _frame(2, bytes(100), 0) + _frame(9, b"x") + _frame(0, bytes(100)) + close
    return [b"\0" + plain, b"\1" + pieces, b"\4" + _frame(1, b'{"event":"start","start":{}}') + close]


@contextmanager
def _door(way: str) -> Iterator[Parse]:
    door = Door()
    try:
        yield getattr(door, way)
    finally:
        door.close()


_WORDS = (
    b'{"type":"ping"}',
    b'{"type":"close"}',
    b'{"event":"media"}',
    b"\x81\x80",
    b"\x88\x80",
    b"\xff\xfe",
    b"\0\0\0\0",
)

TARGETS = (
    Target(
        name="listen",
        opened=lambda: _door("messages"),
        seeds=_message_seeds,
        words=_WORDS,
        cases=100,
        share=3,
        limit_s=0.5,
    ),
    Target(
        name="frames",
        opened=lambda: _door("frames"),
        seeds=_frame_seeds,
        words=_WORDS,
        cases=100,
        share=3,
        limit_s=0.5,
    ),
)

"""Analyse a live voice that is pushed: from any thread, without waiting."""

import asyncio
import inspect
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from os import PathLike
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from voxgender.audio.chunks import Chunks
from voxgender.embedding.analysis import load
from voxgender.errors import VoxgenderError
from voxgender.protocol import AnyMessage, Warning
from voxgender.unread import Unread

if TYPE_CHECKING:
    from voxgender.audio.packets import Packet
    from voxgender.audio.pcm import Encoding
    from voxgender.engine import Engine
    from voxgender.engine.stream import Stream

MAX_PUSHED_S = 60.0
"""Audio that may wait for the engine, in seconds; the oldest of more is dropped, and a ``warning`` tells it."""
_WARN_EVERY_S = 10.0
_TOO_MUCH = (
    f"More than {MAX_PUSHED_S:g} s of sound wait to be analysed: the oldest is not. Give analyze() what can wait."
)


class Voice:
    """A live voice, pushed as it comes; its messages are iterated over, or given to a callback.

    >>> async with Voice(rate=16000, on_message=print) as voice:
    ...     microphone.on_data = voice.push

    Time without pushes is silence: after half a second the label is ``no_speech``. A source that can wait, such as a
    file or a socket, is better given to :func:`voxgender.analyze`, which drops nothing.

    Args:
        rate: samples a second of bytes and arrays; frames carry their own.
        encoding: of bytes: ``s16le`` (default), ``f32le``, ``mulaw`` or ``alaw``.
        channels: channels to be judged apart; by default, channels are mixed.
        model: as of :func:`voxgender.analyze`.
        on_message: called with each message, on the event loop; then there is nothing to iterate over.

    Raises:
        AudioError: the rate, the encoding or the number of channels is out of bounds.
        VoxgenderError: ``on_message`` cannot be called, or is a coroutine function, which nobody would await.
    """

    def __init__(
        self,
        rate: int | None = None,
        *,
        encoding: "Encoding | None" = None,
        channels: int | None = None,
        model: str | PathLike[str] = "embedded",
        on_message: Callable[[AnyMessage], object] | None = None,
    ) -> None:
        if inspect.iscoroutinefunction(on_message):
            raise VoxgenderError(
                "on_message is called and not awaited: give a plain function, or leave it out and use `async for`."
            )
        if on_message is not None and not callable(on_message):
            raise VoxgenderError(f"on_message is called with each message: a {type(on_message).__name__} cannot be.")
        self._chunks = Chunks(rate, encoding, channels)
        self._model = model
        self._on_message = on_message
        self._unread = Unread()
        self._lock = threading.Lock()
        self._pushed: deque[tuple[Packet, float]] = deque()
        self._pushed_s = 0.0
        self._dropped = False
        self._warned_at = -_WARN_EVERY_S
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        try:
            self._start()
        except RuntimeError:
            # Made before its event loop runs; it starts with ``async with``, ``async for`` or the first push.
            self._loop = None

    def push(self, pcm: object) -> None:
        """Take the next sound: bytes, an array of any shape, or a frame that carries its format. Never waits.

        May be called from any thread.

        Raises:
            AudioError: it is no PCM, or has another rate or number of channels than was said.
            VoxgenderError: the voice is closed, or no event loop runs.
        """
        if self._closed:
            raise VoxgenderError("The voice is closed, and takes no more sound: make another Voice.")
        if self._loop is None:
            try:
                self._start()
            except RuntimeError:
                raise VoxgenderError(
                    "No event loop runs: use the voice by `async with Voice(...) as voice:`."
                ) from None
        assert self._loop is not None
        with self._lock:
            for packet, duration_s in self._chunks.cut(pcm):
                self._pushed.append((packet, duration_s))
                self._pushed_s += duration_s
            while self._pushed_s > MAX_PUSHED_S:
                self._pushed_s -= self._pushed.popleft()[1]
                self._dropped = True
        self._on_loop(self._news.set)

    async def close(self) -> None:
        """End the sound; return once all of it is analysed and, with ``on_message``, told.

        Closing twice is closing once. The messages that are left may be read afterwards.

        Raises:
            VoxgenderError: the voice belongs to another event loop.
            Exception: the error that ended the analysis, if the messages are not iterated over.
        """
        self._check_loop()
        self._closed = True
        if self._loop is None:
            self._unread.end(None)
            return
        # The rest is bounded, and has to be analysed though nobody may be reading.
        self._unread.analysis = None
        if self._stream is not None:
            self._stream.release()
        self._news.set()
        assert self._running is not None
        await asyncio.wait({self._running})
        if self._on_message is not None and self._unread.error is not None:
            raise self._unread.error

    def abandon(self) -> None:
        """End at once: what was pushed and is not analysed yet is left, and the messages end.

        May be called from any thread.
        """
        self._closed = True
        if self._running is not None:
            self._on_loop(self._running.cancel)
        else:
            self._unread.end(None)

    async def __aenter__(self) -> Self:
        self._check_loop()
        if self._loop is None:
            self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.close()
            return
        self.abandon()
        if self._running is not None:
            await asyncio.wait({self._running})

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyMessage:
        """Return the next message.

        Raises:
            VoxgenderError: the messages go to ``on_message``, or the voice belongs to another event loop.
        """
        self._check_loop()
        if self._on_message is not None:
            raise VoxgenderError("The messages go to on_message: leave it out to iterate over them.")
        if self._loop is None and not self._closed:
            self._start()
        message = await self._unread.get()
        if message is None:
            raise StopAsyncIteration
        return message

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running = self._loop.create_task(self._run())
        # Also of a task that is cancelled before it begins.
        self._running.add_done_callback(lambda _: self._unread.end(None))

    def _check_loop(self) -> None:
        """Check that the voice's event loop runs here: another one would wait for it for ever.

        Raises:
            VoxgenderError: another one does.
        """
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise VoxgenderError(
                "The voice belongs to another event loop: make it where it is used, or before any event loop runs."
            )

    def _on_loop(self, callback: Callable[[], object]) -> None:
        """Call back on the voice's event loop: now, if it runs here."""
        assert self._loop is not None
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            callback()
            return
        with suppress(RuntimeError):
            # The loop may have been closed.
            self._loop.call_soon_threadsafe(callback)

    async def _run(self) -> None:
        try:
            await self._analyze(await load(self._model))
        except Exception as error:  # noqa: BLE001 - it is raised where the messages are read
            self._unread.end(error)
        finally:
            self._closed = True

    async def _analyze(self, engine: "Engine") -> None:
        from voxgender.engine.stream import Stream

        self._put([engine.hello(secrets.token_urlsafe(8))])
        over = asyncio.Event()

        def on_end(error: Exception | None) -> None:
            self._unread.end(error)
            self._news.set()
            over.set()

        self._stream = stream = Stream(engine, self._chunks.decoders, self._put, on_end, live=True)
        if not self._closed:
            self._unread.analysis = stream
        try:
            while not over.is_set():
                self._news.clear()
                # Looked up before the packets: what was pushed before the end is among them.
                closed = self._closed
                if packets := self._next():
                    await stream.feed(packets)
                elif closed:
                    stream.end()
                    await over.wait()
                else:
                    await self._news.wait()
        finally:
            stream.abandon()

    def _next(self) -> "list[tuple[Packet, float]]":
        """Return the packet that has waited longest, if there is one."""
        with self._lock:
            dropped, self._dropped = self._dropped, False
            packets = [self._pushed.popleft()] if self._pushed else []
            self._pushed_s -= sum(duration_s for _, duration_s in packets)
        if dropped and monotonic() - self._warned_at >= _WARN_EVERY_S:
            self._warned_at = monotonic()
            self._put([Warning(code="overloaded", message=_TOO_MUCH)])
        return packets

    def _put(self, messages: Sequence[AnyMessage]) -> None:
        if self._on_message is None:
            self._unread.put(messages)
            return
        for message in messages:
            try:
                self._on_message(message)
            except Exception as error:  # noqa: BLE001 - a callback's trouble must not cost it the other messages
                context = {"message": "on_message of a voice failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

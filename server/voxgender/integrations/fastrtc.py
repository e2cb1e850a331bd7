"""Label callers in FastRTC (https://fastrtc.org): a handler that listens, and gives messages as additional outputs."""

import asyncio
from collections.abc import Callable
from typing import Any

from fastrtc import AdditionalOutputs, AsyncStreamHandler

from voxgender.embedding.voice import Voice
from voxgender.protocol import AnyMessage


class VoiceHandler(AsyncStreamHandler):
    """Listens to a caller; each message is an ``AdditionalOutputs`` of the stream.

    >>> stream = Stream(VoiceHandler(), modality="audio", mode="send")
    >>> async for outputs in stream.output_stream(webrtc_id):
    ...     (message,) = outputs.args

    Args:
        on_message: called with each message, beside the outputs.
        model: as of :func:`voxgender.analyze`.
    """

    def __init__(self, *, on_message: Callable[[AnyMessage], object] | None = None, model: str = "embedded") -> None:
        super().__init__(input_sample_rate=16_000)
        self._on_message = on_message
        self._model = model
        self._made: Voice | None = None
        self._has_left = False

    async def receive(self, frame: tuple[int, Any]) -> None:
        """Push a caller's sound: its rate, and int16 of shape ``(1, n)``."""
        # FastRTC may still hand on a frame after it has shut the handler down.
        if not self._has_left:
            self._voice.push(frame)

    async def emit(self) -> AdditionalOutputs:
        """Return the next message once there is one."""
        message = await anext(self._voice, None)
        if message is None:
            # FastRTC asks on until the connection has closed.
            await asyncio.get_running_loop().create_future()
        assert message is not None
        if self._on_message is not None:
            self._on_message(message)
        return AdditionalOutputs(message)

    def copy(self) -> "VoiceHandler":
        """Return a handler for another caller."""
        return VoiceHandler(on_message=self._on_message, model=self._model)

    async def shutdown(self) -> None:
        """End the analysis, because the caller has left."""
        self._has_left = True
        self._voice.abandon()

    @property
    def _voice(self) -> Voice:
        # Made with the first sound: FastRTC copies a handler that itself hears nobody.
        if self._made is None:
            self._made = Voice(model=self._model)
        return self._made

"""Label users in a Pipecat pipeline (https://pipecat.ai): a processor that passes all frames on, and adds labels."""

import asyncio
from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import CancelFrame, EndFrame, Frame, InputAudioRawFrame, SystemFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from voxgender.embedding.voice import Voice
from voxgender.errors import VoxgenderError
from voxgender.protocol import AnyMessage


@dataclass
class VoiceFrame(SystemFrame):
    """A message about a user's voice. It is a system frame: users who interrupt must not cancel it.

    Attributes:
        message: as of :func:`voxgender.analyze`.
        user_id: of transports that tell users apart; otherwise empty.
    """

    message: AnyMessage
    user_id: str = ""


class VoiceProcessor(FrameProcessor):
    """Listens to the audio of users as it passes by, and pushes a :class:`VoiceFrame` downstream for each message.

    >>> pipeline = Pipeline([transport.input(), VoiceProcessor(), stt, llm, tts, transport.output()])

    Users whom the transport tells apart are judged apart.

    Args:
        model: as of :func:`voxgender.analyze`.
        options: of ``FrameProcessor``.
    """

    def __init__(self, *, model: str = "embedded", **options: Any) -> None:
        super().__init__(**options)
        self._model = model
        self._ended = False
        self._voices: dict[str, tuple[Voice, asyncio.Task[None]]] = {}

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Pass a frame on, and listen if it is a user's audio. The last labels come before the frame that ends all."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self._listen(frame, getattr(frame, "user_id", ""))
        elif isinstance(frame, EndFrame):
            await self._close()
        elif isinstance(frame, CancelFrame):
            await self._abandon()
        await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """End all analyses when the pipeline is torn down."""
        await super().cleanup()
        await self._abandon()

    async def _listen(self, frame: InputAudioRawFrame, user_id: str) -> None:
        if self._ended:
            return
        if user_id not in self._voices:
            voice = Voice(model=self._model)
            self._voices[user_id] = voice, self.create_task(self._tell(voice, user_id))
        voice, telling = self._voices[user_id]
        if not telling.done():
            try:
                voice.push(frame)
            except VoxgenderError as error:
                voice.abandon()
                await self.push_error(f"The voice of a user is not labelled: {error}", exception=error)

    async def _tell(self, voice: Voice, user_id: str) -> None:
        try:
            async for message in voice:
                await self.push_frame(VoiceFrame(message, user_id))
        except VoxgenderError as error:
            await self.push_error(f"The voice of a user is not labelled: {error}", exception=error)

    async def _close(self) -> None:
        self._ended = True
        voices, self._voices = self._voices, {}
        for voice, telling in voices.values():
            await voice.close()
            await asyncio.wait({telling})

    async def _abandon(self) -> None:
        self._ended = True
        voices, self._voices = self._voices, {}
        for voice, telling in voices.values():
            voice.abandon()
            await self.cancel_task(telling)

"""Send two users' voices through a pipeline of Pipecat, and print what came out of it."""

import asyncio
import json
from typing import Any

import numpy as np
from pipecat.frames.frames import Frame, InputAudioRawFrame, TextFrame, UserAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.tests.utils import SleepFrame, run_test

from tests.engine.models import Pitch
from tests.snippets import run_example_of
from tests.support import Samples, silence
from voxgender.engine import Engine, loading
from voxgender.integrations.pipecat import VoiceFrame, VoiceProcessor
from voxgender.peer.voices import MAN, WOMAN, speak


class Sink(FrameProcessor):
    """Notes the labels as they come downstream."""

    def __init__(self) -> None:
        super().__init__()
        self.segments: list[tuple[str, str]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VoiceFrame) and frame.message.type == "segment":
            self.segments.append((frame.user_id, frame.message.label))
        await self.push_frame(frame, direction)


def frames_of(voice: Samples, user: str) -> list[Frame]:
    pcm = (np.concatenate([voice, silence(0.7)]) * 32_767).astype("<i2").tobytes()
    cut = [pcm[start : start + 640] for start in range(0, len(pcm), 640)]
    return [UserAudioRawFrame(audio=piece, sample_rate=16_000, num_channels=1, user_id=user) for piece in cut]


async def main() -> None:
    run_example_of("pipecat")
    loading._engines["embedded"] = Engine(Pitch())
    sink = Sink()
    sent: list[Any] = [*frames_of(speak(MAN, 1.5), "ben"), *frames_of(speak(WOMAN, 1.5), "ana"), TextFrame("hello")]
    wrong = InputAudioRawFrame(audio=bytes(640), sample_rate=4_000, num_channels=1)
    down, up = await run_test(Pipeline([VoiceProcessor(), sink]), frames_to_send=[*sent, wrong, SleepFrame(0.5)])
    passed = [frame for frame in down if isinstance(frame, InputAudioRawFrame)]
    print(
        json.dumps(
            {
                "segments": sorted(sink.segments),
                "sent": len(sent),
                "passed_on": len(passed) + sum(isinstance(frame, TextFrame) for frame in down) - 1,
                "messages": sorted({frame.message.type for frame in down if isinstance(frame, VoiceFrame)}),
                "errors": [frame.error for frame in up if hasattr(frame, "error")],
                "tasks_left": len(asyncio.all_tasks()) - 1,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())

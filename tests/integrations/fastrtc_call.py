"""Call a stream of FastRTC over WebRTC, and print what its handler heard."""

import asyncio
import json

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from fastrtc import Stream

from tests.engine.models import Pitch
from tests.snippets import run_example_of
from tests.support import TimedTrack, in_real_time, silence
from voxgender.engine import Engine, loading
from voxgender.integrations.fastrtc import VoiceHandler
from voxgender.peer.voices import WOMAN, speak


async def main() -> None:
    run_example_of("fastrtc")
    loading._engines["embedded"] = Engine(Pitch())
    called: list[str] = []
    stream = Stream(
        VoiceHandler(on_message=lambda message: called.append(message.type)),
        modality="audio", mode="send", server_rtc_configuration={"iceServers": []}, verbose=False,
    )  # fmt: skip
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.createDataChannel("text")
    voice = np.repeat(np.concatenate([silence(0.3), speak(WOMAN, 1.5), silence(0.8)]), 3)
    pc.addTrack(TimedTrack(in_real_time(voice, rate=48_000), ends=False))
    await pc.setLocalDescription(await pc.createOffer())
    offer = {"sdp": pc.localDescription.sdp, "type": "offer", "webrtc_id": "caller"}
    answer = await stream.handle_offer(offer, stream.set_additional_outputs("caller"))
    await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
    told: list[tuple[str, str]] = []
    async with asyncio.timeout(60):
        async for outputs in stream.output_stream("caller"):
            (message,) = outputs.args
            told.append((message.type, getattr(message, "label", "")))
            if message.type == "segment":
                break
    (handler,) = [one.event_handler for one in stream.connections["caller"] if hasattr(one, "event_handler")]
    stream.clean_up("caller")
    await pc.close()
    async with asyncio.timeout(10):
        await asyncio.wait({handler._voice._running})
    labels = [label for kind, label in told if kind == "segment"]
    print(json.dumps({"first": told[0][0], "segments": labels, "called": sorted(set(called))}))


if __name__ == "__main__":
    asyncio.run(main())

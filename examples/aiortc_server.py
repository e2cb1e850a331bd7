"""Label the callers of an aiortc server of your own: one line, `async for message in analyze(track)`.

    python examples/aiortc_server.py

The browser calls this program, no server of voxgender is there, and the labels go back over the call's data channel.
"""

import argparse
import asyncio

from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from running import page, run, serving

from voxgender import Change, analyze


class Calls:
    """Answers calls, and labels each until it ends."""

    def __init__(self) -> None:
        self._labelling: set[asyncio.Task[None]] = set()
        self._count = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a browser's offer."""
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        channel: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
        connection.on("datachannel", channel.set_result)
        connection.on("track", lambda track: self._begin(connection, track, channel))
        await connection.setRemoteDescription(RTCSessionDescription(**await request.json()))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = connection.localDescription
        return web.json_response({"type": answer.type, "sdp": answer.sdp})

    def _begin(
        self, connection: RTCPeerConnection, track: MediaStreamTrack, channel: asyncio.Future[RTCDataChannel]
    ) -> None:
        self._count += 1
        task = asyncio.create_task(self._label(f"caller {self._count}", connection, track, channel))
        self._labelling.add(task)
        task.add_done_callback(self._labelling.discard)

    async def _label(
        self, name: str, connection: RTCPeerConnection, track: MediaStreamTrack, channel: asyncio.Future[RTCDataChannel]
    ) -> None:
        try:
            async for message in analyze(track):
                if isinstance(message, Change):
                    print(f"{name} at {message.at:.1f} s: {message.to}", flush=True)
                if channel.done() and channel.result().readyState == "open":
                    channel.result().send(message.to_json())
        finally:
            await connection.close()

    async def close(self, _: web.Application) -> None:
        """Hang up on everybody."""
        for task in self._labelling:
            task.cancel()
        await asyncio.gather(*self._labelling, return_exceptions=True)


async def main(port: int) -> None:
    """Serve the page and its calls."""
    calls = Calls()
    app = web.Application()
    app.add_routes([page("aiortc_server.html"), web.post("/offer", calls.answer)])
    app.on_shutdown.append(calls.close)
    async with serving(app, port) as url:
        print(f"open {url}, and press Call", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090, help="port of the page")
    run(main(parser.parse_args().port))

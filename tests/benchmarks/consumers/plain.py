"""A plain aiortc consumer: ``await track.recv()`` and a resampler to 16 kHz, with nothing else.

Run as a script; it prints its URL. Besides WHIP it serves ``/metrics``, so that the callers can read its CPU time.
"""

import asyncio

import aioice.ice
from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from prometheus_client import generate_latest

LOOPBACK = "127.0.0.1"

calls: dict[str, RTCPeerConnection] = {}
consuming: set[asyncio.Task[None]] = set()


async def consume(track: MediaStreamTrack) -> None:
    resampler = AudioResampler(format="s16", layout="mono", rate=16_000)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        assert isinstance(frame, AudioFrame)
        for converted in resampler.resample(frame):
            converted.to_ndarray()


def on_track(track: MediaStreamTrack) -> None:
    task = asyncio.create_task(consume(track))
    consuming.add(task)
    task.add_done_callback(consuming.discard)


async def open_call(request: web.Request) -> web.Response:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.on("track", on_track)
    await pc.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
    await pc.setLocalDescription(await pc.createAnswer())
    path = f"/whip/{id(pc)}"
    calls[path] = pc
    return web.Response(
        status=201, text=pc.localDescription.sdp, content_type="application/sdp", headers={"Location": path}
    )


async def close_call(request: web.Request) -> web.Response:
    await calls.pop(request.path).close()
    return web.Response()


async def show_call(request: web.Request) -> web.Response:
    return web.Response(status=200 if request.path in calls else 404)


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def serve() -> None:
    app = web.Application()
    app.router.add_post("/whip", open_call)
    app.router.add_get("/whip/{call}", show_call)
    app.router.add_delete("/whip/{call}", close_call)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    print(f"http://{LOOPBACK}:{runner.addresses[0][1]}/", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [LOOPBACK]
    asyncio.run(serve())

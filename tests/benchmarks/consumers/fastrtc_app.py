"""FastRTC with a handler that does nothing: it receives 16 kHz audio, and sends none.

Run as a script in an environment that has ``fastrtc`` and ``prometheus-client``; it prints its URL. FastRTC is used as
its documentation shows, in its cheapest form: one-way audio, an asynchronous handler (no thread a frame), and an
``emit`` that wakes once a second instead of asking an empty queue ten times.
"""

import asyncio
import socket
import sys
from typing import Any

import aioice.ice
import uvicorn
from fastapi import FastAPI, Request, Response
from fastrtc import AsyncStreamHandler, Stream
from prometheus_client import generate_latest

LOOPBACK = "127.0.0.1"


class DoNothing(AsyncStreamHandler):
    def __init__(self) -> None:
        super().__init__(input_sample_rate=16_000)

    async def receive(self, frame: tuple[int, Any]) -> None:
        pass

    async def emit(self) -> None:
        await asyncio.sleep(1.0)

    def copy(self) -> "DoNothing":
        return DoNothing()


stream = Stream(
    DoNothing(),
    modality="audio",
    mode="send",
    concurrency_limit=1_000,
    server_rtc_configuration={"iceServers": []},
    verbose=False,
)
app = FastAPI()
calls = 0


@app.post("/whip")
async def open_call(request: Request) -> Response:
    global calls
    calls += 1
    call = f"call{calls}"
    offer = {"sdp": (await request.body()).decode(), "type": "offer", "webrtc_id": call}
    answer = await stream.handle_offer(offer, lambda _: None)
    return Response(answer["sdp"], 201, {"Location": f"/whip/{call}"}, "application/sdp")


@app.delete("/whip/{call}")
async def close_call(call: str) -> Response:
    await stream.pcs[call].close()
    return Response()


@app.get("/whip/{call}")
async def show_call(call: str) -> Response:
    return Response(status_code=200 if call in stream.pcs else 404)


@app.get("/metrics")
async def metrics() -> Response:
    return Response(generate_latest(), media_type="text/plain; version=0.0.4")


def serve() -> None:
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [LOOPBACK]
    listening = socket.create_server((LOOPBACK, 0))
    print(f"http://{LOOPBACK}:{listening.getsockname()[1]}/", flush=True)
    loop = "uvloop" if "--uvloop" in sys.argv else "asyncio"
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", loop=loop, timeout_graceful_shutdown=1))
    server.run(sockets=[listening])


if __name__ == "__main__":
    serve()

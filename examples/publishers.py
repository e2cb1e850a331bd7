"""Print how the voice of OBS, FFmpeg or any other WHIP publisher is heard.

    python examples/publishers.py

Publishers open no data channel, and FFmpeg does not tell the session's URL. This program stands in front: it passes the
offer on to voxgender, notes the session of the answer, and follows its server-sent events.
"""

import argparse
import asyncio
import json

from aiohttp import ClientSession, ClientTimeout, web
from running import run, serving, voxgender

PASSED_ON = ("Content-Type", "ETag", "Link")


class Publishers:
    """Takes publishers' offers, and follows each session."""

    def __init__(self, http: ClientSession, server: str) -> None:
        self._http = http
        self._server = server
        self._following: set[asyncio.Task[None]] = set()
        self._count = 0

    async def publish(self, request: web.Request) -> web.Response:
        """Pass an offer on. All that follows, the publisher asks voxgender itself: `Location` leads there."""
        headers = {"Content-Type": "application/sdp"}
        async with self._http.post("/whip", data=await request.read(), headers=headers) as answer:
            passed = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
            if answer.status == 201:
                passed["Location"] = self._server + answer.headers["Location"]
                self._follow(answer.headers["Location"])
            return web.Response(status=answer.status, body=await answer.read(), headers=passed)

    def _follow(self, session: str) -> None:
        self._count += 1
        task = asyncio.create_task(self._print(f"publisher {self._count}", session))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _print(self, name: str, session: str) -> None:
        async with self._http.get(f"{session}/events") as events:
            async for line in events.content:
                if not line.startswith(b"data: "):
                    continue
                message = json.loads(line.removeprefix(b"data: "))
                if message["type"] == "segment":
                    start, end, label = message["start"], message["end"], message["label"]
                    print(f"{name}  {start:6.2f} – {end:6.2f} s  {label}", flush=True)
                elif message["type"] == "summary":
                    print(f"{name}  spoke for {message['speech']:.1f} s", flush=True)


async def main(port: int) -> None:
    """Serve publishers in front of a server of voxgender."""
    # A session's events last as long as the session, and a comment comes every 15 s in between.
    patience = ClientTimeout(total=None, sock_read=60)
    async with voxgender("serve", "--port", "0") as server, ClientSession(server, timeout=patience) as http:
        app = web.Application()
        app.add_routes([web.post("/whip", Publishers(http, server).publish)])
        async with serving(app, port) as url:
            print(f"publish to {url}/whip", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090, help="port that publishers are given")
    run(main(parser.parse_args().port))

"""Answer Twilio's phone calls, and print how each of the two voices is heard.

Twilio's webhook asks this program what to do with a call. It gets a ticket from voxgender, answers with TwiML that
sends both tracks there, and follows the labels at the session's URL; nothing else has to reach it.

    voxgender serve --host 0.0.0.0                        # behind TLS, as wss://voice.example.org
    VOXGENDER_PUBLIC=wss://voice.example.org python examples/twilio.py --dial +15550100

and let the number's webhook ("A call comes in") be https://THIS-PROGRAM/voice.
"""

import argparse
import asyncio
import json
import os
from html import escape

from aiohttp import ClientSession, ClientTimeout, web

SIDES = ("caller", "callee")
TWIML = """<?xml version="1.0" encoding="UTF-8"?>
<Response>
  <Start><Stream url="{url}" track="both_tracks"/></Start>
  {then}
</Response>"""


class Answering:
    """Answers the webhook, and follows each call's labels."""

    def __init__(self, http: ClientSession, public: str, then: str) -> None:
        self._http = http
        self._public = public.rstrip("/")
        self._then = then
        self._following: set[asyncio.Task[None]] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """Tell Twilio to stream both tracks, by a URL that works once."""
        form = await request.post()
        call = str(form.get("CallSid", ""))[:100]
        wanted = {"encoding": "mulaw", "channels": "2", "interim": "false", "name": call}
        async with self._http.post("/listen", params=wanted) as response:
            response.raise_for_status()
            ticket = await response.json()
        task = asyncio.create_task(self._follow(call, ticket["session"]))
        self._following.add(task)
        task.add_done_callback(self._following.discard)
        url = self._public + ticket["url"].replace("/listen/", "/listen/twilio/")
        return web.Response(text=TWIML.format(url=escape(url), then=self._then), content_type="text/xml")

    async def _follow(self, call: str, session: str) -> None:
        async with self._http.get(f"{session}/events") as events:
            async for line in events.content:
                if not line.startswith(b"data: "):
                    continue
                message = json.loads(line.removeprefix(b"data: "))
                if message["type"] == "change":
                    print(f"{call} {message['at']:7.2f} s  {SIDES[message['channel']]}: {message['to']}", flush=True)
                elif message["type"] == "summary":
                    heard = {name: message[name] for name in ("male", "female", "uncertain")}
                    print(
                        f"{call} the {SIDES[message['channel']]} spoke for {message['speech']:.1f} s: {heard}",
                        flush=True,
                    )


async def serve(server: str, public: str, token: str, then: str, port: int) -> None:
    """Answer calls until the program is stopped."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # A call's events last as long as the call, and a comment comes every 15 s in between.
    async with ClientSession(server, headers=headers, timeout=ClientTimeout(total=None, sock_read=60)) as http:
        app = web.Application()
        app.add_routes([web.post("/voice", Answering(http, public, then).answer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print(f"ready: POST http://127.0.0.1:{runner.addresses[0][1]}/voice", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="http://localhost:8080", help="voxgender, as this program reaches it")
    parser.add_argument("--port", type=int, default=8090, help="port of the webhook")
    parser.add_argument(
        "--dial", default="", help="number that calls are put through to; without one, callers are kept waiting"
    )
    given = parser.parse_args()
    then = f"<Dial>{escape(given.dial)}</Dial>" if given.dial else '<Pause length="600"/>'
    public = os.environ.get("VOXGENDER_PUBLIC", "wss://voice.example.org")
    asyncio.run(serve(given.server, public, os.environ.get("VOXGENDER_TOKEN", ""), then, given.port))


if __name__ == "__main__":
    main()

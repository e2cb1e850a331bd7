"""Run a fleet on a laptop: two media nodes, and signaling in front, which asks for a token.

    python examples/fleet.py

Calls are spread over the nodes. The operators' page shows them, ends calls and drains nodes.
"""

import argparse
import asyncio
import json
import secrets
import sys

from aiohttp import ClientSession, ClientTimeout
from running import command, run, voxgender

CALLS = 4
HELD_S = 5


async def place_calls(url: str, token: str) -> None:
    """Hold some synthetic calls for a moment."""
    # With =, because a token may begin with a dash.
    arguments = ("load", url, "--peers", str(CALLS), "--seconds", str(HELD_S), f"--token={token}")
    process = await asyncio.create_subprocess_exec(*command(*arguments), stdout=asyncio.subprocess.DEVNULL)
    if status := await process.wait():
        sys.exit(status)


async def print_spread(url: str, token: str) -> None:
    """Follow what operators see until all calls are up, and print how many each node has."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        ClientSession(url, headers=headers, timeout=ClientTimeout(total=60)) as http,
        http.get("/operators/events") as events,
    ):
        async for line in events.content:
            if not line.startswith(b"data: "):
                continue
            nodes = json.loads(line.removeprefix(b"data: "))["nodes"]
            if sum(node["sessions"] for node in nodes) == CALLS:
                for node in nodes:
                    print(f"node {node['node']}: {node['sessions']} calls", flush=True)
                return


async def main(port: int) -> None:
    """Start the fleet, place calls, and serve until it is stopped."""
    token, secret = secrets.token_urlsafe(16), {"VOXGENDER_SECRET": secrets.token_hex(32)}
    node = ("media", "--port", "0", "--ice-address", "127.0.0.1")
    async with voxgender(*node, **secret) as one, voxgender(*node, **secret) as other:
        front = ("signaling", "--port", str(port), "--nodes", one, "--nodes", other)
        async with voxgender(*front, VOXGENDER_TOKEN=token, **secret) as url:
            await asyncio.gather(place_calls(url, token), print_spread(url, token))
            print(f"speak:   {url}/#token={token}")
            print(f"operate: {url}/operators#token={token}", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="port of signaling")
    run(main(parser.parse_args().port))

"""Label a voice inside a call that exists already, without touching the call.

    python examples/tap.py

The page calls itself, as your program calls others, and taps the call's microphone. Mute the call, and the label goes.
"""

import argparse
import asyncio

from aiohttp import web
from running import page, run, serving, voxgender


async def main(port: int) -> None:
    """Serve the page beside a server of voxgender."""
    async with voxgender("serve", "--port", "0") as server:
        app = web.Application()
        app.add_routes([page("tap.html", server=server)])
        async with serving(app, port) as url:
            print(f"open {url}, and press Call", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090, help="port of the page")
    run(main(parser.parse_args().port))

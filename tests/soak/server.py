"""Serve with the embedded model, and print every second what the process holds: one JSON object a line."""

import asyncio
import gc
import json
import signal
import threading

import psutil

from tests.rtc import a_server
from voxgender.engine.loading import load_engine
from voxgender.settings import FrontSettings

EVERY_S = 1.0


async def main() -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    engine = load_engine()
    process = psutil.Process()
    async with a_server(engine, settings=FrontSettings(), max_sessions=200) as server:
        print(json.dumps({"url": server.url}), flush=True)
        while not over.is_set():
            held = {
                "sessions": server.node.live,
                "memory_mb": process.memory_info().rss / 1e6,
                "descriptors": process.num_fds(),
                "threads": threading.active_count(),
                # Without those of HTTP connections that clients keep open.
                "tasks": sum("RequestHandler" not in repr(task.get_coro()) for task in asyncio.all_tasks()),
                "sockets": len(server.node.sockets.shared),
                "objects": len(gc.get_objects()),
            }
            print(json.dumps(held), flush=True)
            try:
                await asyncio.wait_for(over.wait(), EVERY_S)
            except TimeoutError:
                continue
    engine.close()


if __name__ == "__main__":
    asyncio.run(main())

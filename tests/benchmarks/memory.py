"""Measure what stays behind: the server over a thousand calls in waves, and one call over an hour's packets."""

import asyncio
import gc
import json
import sys

import aiohttp
import psutil
from yarl import URL

from tests.benchmarks import plots
from tests.benchmarks.processes import a_server, lines_of, voxgender_server
from tests.benchmarks.tables import Measured, markdown
from tests.replay import replay
from voxgender.engine import Engine
from voxgender.peer import speech
from voxgender.peer.caller import Caller
from voxgender.peer.meter import Meter
from voxgender.peer.pacer import Pacer
from voxgender.peer.speech import Speech

WAVES = 10
CALLS = 100
"""A wave."""
AT_ONCE = 20
"""Also how many calls there are before the first look."""
CALL_S = 1.0
HOUR_S = 3600.0
LOSS = 1.0
"""Percent; a loss takes ways of its own through the receiver."""


async def measure(brief: bool) -> Measured:
    packets = list(speech.synthesised(loss=LOSS).packets)
    waves_mb = await _waves(packets, waves=2 if brief else WAVES, calls=2 * AT_ONCE if brief else CALLS)
    # In a process of its own, which holds nothing else.
    said = await lines_of((sys.executable, "-m", "tests.benchmarks.memory", str(300.0 if brief else HOUR_S)))
    hour_mb = [json.loads(line) for line in said]
    rows = [
        (f"server, after {calls} calls", megabytes, megabytes - waves_mb[0][1]) for calls, megabytes in waves_mb
    ] + [(f"one call, after {minutes} min", megabytes, megabytes - hour_mb[0][1]) for minutes, megabytes in hour_mb]
    table = markdown(
        ("resident memory", "MB", "growth since the first"), [(a, f"{b:.1f}", f"{c:+.1f}") for a, b, c in rows]
    )
    plot = plots.bars(
        "Resident memory of a server after so many calls", "MB", [(f"{calls} calls", mb) for calls, mb in waves_mb]
    )
    return Measured({"waves_mb": waves_mb, "hour_mb": hour_mb}, table, plot)


async def _waves(packets: list[bytes], *, waves: int, calls: int) -> list[tuple[int, float]]:
    """The server's memory after the first few calls and after each wave, all of them ended."""
    found = []
    pacer, places = Pacer(), asyncio.Semaphore(AT_ONCE)

    async def place(url: str) -> None:
        async with places:
            await Caller(url, Speech(packets, ()), duration_s=CALL_S, pacer=pacer).run()

    async with a_server(voxgender_server("--model", "off")) as url, aiohttp.ClientSession() as http:
        meter = Meter(http, URL(url).with_path("/metrics"))
        placed = 0
        for total in (AT_ONCE, *range(calls, waves * calls + 1, calls)):
            async with asyncio.TaskGroup() as group:
                for _ in range(total - placed):
                    group.create_task(place(url))
            placed = total
            memory = (await meter.read()).memory_bytes
            assert memory is not None
            found.append((total, memory / 1e6))
    return found


async def _hour(seconds: float) -> None:
    """Print this process's memory while one call is heard faster than real time, gate and decisions and all."""
    engine = Engine(None)
    packets = list(speech.synthesised(loss=LOSS).packets)
    try:
        async for heard_s in replay(engine, packets, seconds, every_s=seconds / 6, loss=LOSS):
            gc.collect()
            print(json.dumps((round(heard_s / 60), psutil.Process().memory_info().rss / 1e6)), flush=True)
    finally:
        engine.close()


if __name__ == "__main__":
    asyncio.run(_hour(float(sys.argv[1])))

"""Run benchmarks by name; print each one's table, and keep the figures."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.benchmarks import (
    autoscaling,
    engine_calls,
    faults,
    held_calls,
    large_calls,
    limits,
    machine,
    media_plane,
    memory,
    messages,
    model,
    networks,
    old_loop,
    pool,
    rooms,
    single_call,
    speakers,
    turns,
    ways_in,
    websocket,
    workers,
)
from tests.benchmarks.page import ARTIFACTS
from tests.benchmarks.tables import Measured

LIMIT_S = 300.0


class Benchmark(NamedTuple):
    measure: Callable[[bool], Awaitable[Measured]]
    prepare: Callable[[], None] = lambda: None
    """Prepare what takes long and is not measured, before the clock starts."""
    limit_s: float = LIMIT_S


BENCHMARKS = {
    "media_plane": Benchmark(media_plane.measure, media_plane.prepare),
    "old_loop": Benchmark(old_loop.measure),
    "held_calls": Benchmark(held_calls.measure),
    "workers": Benchmark(workers.measure),
    "single_call": Benchmark(single_call.measure),
    "engine_calls": Benchmark(engine_calls.measure),
    "turns": Benchmark(turns.measure),
    "speakers": Benchmark(speakers.measure, limit_s=3_600.0),
    "networks": Benchmark(networks.measure),
    "faults": Benchmark(faults.measure, limit_s=1_500.0),
    "websocket": Benchmark(websocket.measure, limit_s=900.0),
    "rooms": Benchmark(rooms.measure, limit_s=420.0),
    "messages": Benchmark(messages.measure),
    "ways_in": Benchmark(ways_in.measure),
    "memory": Benchmark(memory.measure),
    "model": Benchmark(model.measure, model.prepare),
    "pool": Benchmark(pool.measure, pool.prepare),
    "autoscaling": Benchmark(autoscaling.measure, limit_s=420.0),
    "large_calls": Benchmark(large_calls.measure, large_calls.prepare),
    "limits": Benchmark(limits.measure),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--brief", action="store_true", help="a few seconds each, to see that they run")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    # A brief run shows that all works; its figures are not to stand for those of a whole one.
    artifacts = ARTIFACTS / "brief" if arguments.brief else ARTIFACTS
    artifacts.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in arguments.names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        benchmark.prepare()
        began, before = time.monotonic(), machine.describe()
        print(f"\n## {name}\n", flush=True)
        try:
            measured = asyncio.run(_bounded(benchmark.measure(arguments.brief), benchmark.limit_s))
        except (RuntimeError, TimeoutError) as error:
            print(f"failed: {error!r}", file=sys.stderr)
            failed = True
            continue
        took_s = round(time.monotonic() - began, 1)
        print(f"{measured.table}\n\n{took_s} s", flush=True)
        figures = {"benchmark": name, "machine": before, "took_s": took_s, **measured.figures}
        (artifacts / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
        (artifacts / f"{name}.md").write_text(f"{measured.table}\n")
        if measured.plot:
            (artifacts / f"{name}.svg").write_text(measured.plot)
    return int(failed)


async def _bounded(measuring: Awaitable[Measured], limit_s: float) -> Measured:
    async with asyncio.timeout(limit_s):
        return await measuring


if __name__ == "__main__":
    sys.exit(main())

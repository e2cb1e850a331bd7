"""Measure what a caller sees of each single fault, and for how long: the table of ``docs/reliability.md``.

A caller speaks all the time and wants results all the time; the fault begins, and ends where it does so by itself.
Needs root, for namespaces of memory and of disks, and redis-server; libfaketime where it is installed.
"""

import asyncio
import time
from collections import Counter
from typing import Any

from tests.benchmarks.faults.caller import HOP_S, Caller
from tests.benchmarks.faults.trials import Fault, Trial, faults
from tests.benchmarks.faults.wire import Conditions
from tests.benchmarks.tables import Measured, markdown

SETTLED_S = 1.0
"""Results have come for so long before a fault begins, and after it has ended."""
PATIENCE_S = 40.0
"""Time for all to be well again."""
BRIEFLY = ("nothing", "loss of 10 %", "the server is killed, and started again")


async def measure(brief: bool) -> Measured:
    """Make one fault after another, each place new."""
    rows: list[dict[str, Any]] = []
    for fault in faults():
        if brief and fault.name not in BRIEFLY:
            continue
        place = await asyncio.to_thread(fault.place)
        try:
            for process in place.processes.values():
                await process.restart()
            rows.append(await _try(fault, place))
        except Exception as error:  # noqa: BLE001 - the others are measured all the same
            rows.append({"fault": fault.name, "sees": f"not measured: {error!r}"})
        finally:
            await asyncio.to_thread(place.close)
        print(rows[-1], flush=True)
    table = markdown(
        (
            "fault", "what its caller sees", "longest wait for a result, s", "well again after, s", "results lost",
            "first result of a call placed meanwhile, s",
        ),
        [
            [_shown(row.get(key)) for key in ("fault", "sees", "gap_s", "well_after_s", "lost", "other_s")]
            for row in rows
        ],
    )  # fmt: skip
    return Measured({"rows": rows}, table)


async def _try(fault: Fault, place: Any) -> dict[str, Any]:
    conditions = Conditions()
    async with Caller(place.urls, conditions) as caller:
        trial = Trial(place, conditions, caller)
        with trial.stack:
            if fault.first:
                await fault.begin(trial)
                began_at = time.monotonic()
                first_at = await asyncio.wait_for(caller.result(0), PATIENCE_S)
                return {
                    "fault": fault.name, "sees": "calls as ever", "gap_s": None,
                    "well_after_s": first_at - began_at, "lost": 0, "other_s": None,
                }  # fmt: skip
            await asyncio.wait_for(caller.result(0), PATIENCE_S)
            await asyncio.sleep(SETTLED_S)
            caller.seen.clear()
            began_at = time.monotonic()
            other = asyncio.create_task(_first_result_s(place)) if fault.others else None
            await fault.begin(trial)
            await asyncio.sleep(max(0.0, began_at + fault.lasts_s - time.monotonic()))
            await fault.end(trial)
        # A fault of no length is over when it has begun.
        ended_at = time.monotonic() if fault.lasts_s else began_at
        well_at = await asyncio.wait_for(_well_again(caller, ended_at), PATIENCE_S)
        until = time.monotonic()
        received = sum(began_at < at < until for at in caller.arrivals)
        return {
            "fault": fault.name,
            "sees": _words(caller.seen),
            "gap_s": round(caller.longest_gap_s(began_at, until), 2),
            "well_after_s": round(max(0.0, well_at - ended_at), 2),
            "lost": max(0, round((until - began_at) / HOP_S) - received - 1),
            "other_s": None if other is None else await other,
        }


async def _well_again(caller: Caller, since: float) -> float:
    """Return when the first of the results came that then came without a break."""
    while True:
        at = await caller.result(since)
        await asyncio.sleep(max(0.0, at + SETTLED_S - time.monotonic()))
        if caller.longest_gap_s(at, time.monotonic()) < 3 * HOP_S:
            return at
        since = max(since, time.monotonic() - SETTLED_S)


async def _first_result_s(place: Any) -> float | None:
    """Place another call; return the seconds until its first result, or None if there was none."""
    await asyncio.sleep(0.3)
    began_at = time.monotonic()
    async with Caller(place.urls, Conditions()) as caller:
        try:
            return round(await asyncio.wait_for(caller.result(0), PATIENCE_S / 2) - began_at, 2)
        except TimeoutError:
            return None


def _shown(value: object) -> object:
    """Give times two decimals, whatever their size, so that rows compare."""
    return f"{value:.2f}" if isinstance(value, float) else value


def _words(seen: Counter[str]) -> str:
    fresh = seen.pop("fresh call", 0)
    parts = [f"{count} × {what}" if count > 1 else what for what, count in seen.items()]
    first = "a fresh call takes over" if fresh else "the call goes on"
    return "; ".join((first, *parts))

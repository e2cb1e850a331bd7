"""Calls that come and go for ten minutes or an hour: what the server holds stays flat. Run by ``make soak``."""

import asyncio
import json
import random
import signal
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import ClientResponseError, ClientSession

from tests.hosts.network import DIES_WITH_US
from tests.nat import call_behind_nat
from tests.rtc import SDP, Peer, ToneTrack
from tests.waits import until
from voxgender.protocol import Hello, Result

AT_ONCE = 6
"""Short calls that go on at a time."""
LONG = 3
"""Calls that last from the beginning to the end."""
MEMORY_MB = 12.0
"""Growth that is no growth: the allocator keeps pages, and the longest queue so far."""
FAILED = 0.05
"""Share of short calls that may fail: both ends of all calls are on one machine, which may have other work."""
SECONDLY = 0.2
"""Short calls in a second that came up, at least: ten times as many do on a machine without other work."""
CLOSING_S = 5.0
EMPTY_S = 25.0
"""Time for the last calls to be noticed as gone: ``silence_timeout_s``, and some seconds."""


class Soaked:
    """A server in a process of its own, and what it held second by second."""

    def __init__(self, process: Process, url: str) -> None:
        self.url = url
        self.samples: list[dict[str, Any]] = []
        self.log: list[str] = []
        self._process = process

    async def watch(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_samples())
            group.create_task(self._read_log())

    async def _read_samples(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.samples.append(json.loads(line))

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.log.append(line.decode())

    async def empty(self) -> dict[str, Any]:
        """Wait until no session is left; return what is held then."""
        await until(lambda: self.samples and not self.samples[-1]["sessions"], within_s=EMPTY_S)
        enough = len(self.samples) + 3
        await until(lambda: len(self.samples) >= enough)
        return self.samples[-1]


@asynccontextmanager
async def a_soaked_server() -> AsyncIterator[Soaked]:
    process = await asyncio.create_subprocess_exec(
        *DIES_WITH_US, sys.executable, "-m", "tests.soak.server", stdout=PIPE, stderr=PIPE
    )
    try:
        assert process.stdout is not None
        first = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        soaked = Soaked(process, first["url"])
        watching = asyncio.create_task(soaked.watch())
        yield soaked
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        await watching
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def short_call(http: ClientSession, chance: random.Random, ends: Counter[str]) -> None:
    """Place a call, hear some results, and leave in one of the ways in which callers leave."""
    peer = Peer(ToneTrack())
    peer.channels()
    nat = None
    way = chance.choice(("delete", "close", "vanish", "never connect"))
    try:
        if way == "never connect":
            async with http.post("/whip", data=await peer.offer(), headers=SDP) as response:
                location = response.headers["Location"]
            if chance.random() < 0.5:
                await http.delete(location)
            ends[way] += 1
            return
        location, nat = await call_behind_nat(peer, http)
        await peer.until(Hello)
        for _ in range(chance.randrange(1, 15)):
            await peer.until(Result)
        if way == "delete":
            await http.delete(location)
        elif way == "vanish":
            # Nothing of its goodbye arrives, and the server has to notice.
            nat.intercept = lambda _: None
        ends[way] += 1
    except TimeoutError:
        ends["failed"] += 1
    except ClientResponseError as refused:
        if refused.status != 503:
            raise
        # A server that is late refuses calls until it has caught up.
        ends["refused"] += 1
        await asyncio.sleep(1)
    finally:
        await close(peer)
        if nat is not None:
            nat.close()


async def long_call(http: ClientSession, over: asyncio.Event) -> int:
    """Stay until the end; return the results that came."""
    peer = Peer(ToneTrack())
    peer.channels()
    results = 0
    try:
        await peer.call(http)
        while not over.is_set():
            await peer.until(Result)
            results += 1
    finally:
        await close(peer)
    return results


async def close(peer: Peer) -> None:
    """Close a peer, even one whose server has gone."""
    with suppress(TimeoutError):
        await asyncio.wait_for(peer.close(), CLOSING_S)


async def test_what_a_server_holds_stays_flat_while_calls_come_and_go(pytestconfig: pytest.Config) -> None:
    """Once 44 kB a call stayed, of which no list of objects told."""
    seconds = 60 * float(pytestconfig.getoption("--soak-minutes"))
    chance = random.Random(7)
    ends: Counter[str] = Counter()
    over = asyncio.Event()
    async with a_soaked_server() as soaked, ClientSession(soaked.url, raise_for_status=True) as http:
        for _ in range(3):
            # As many at once as later: the allocator keeps what they took.
            await asyncio.gather(*(short_call(http, chance, Counter()) for _ in range(AT_ONCE + LONG)))
        before = await soaked.empty()
        began_at, first = time.monotonic(), len(soaked.samples)

        async def come_and_go() -> None:
            while time.monotonic() - began_at < seconds:
                await short_call(http, chance, ends)

        async with asyncio.TaskGroup() as staying:
            long = [staying.create_task(long_call(http, over)) for _ in range(LONG)]
            async with asyncio.TaskGroup() as coming:
                for _ in range(AT_ONCE):
                    coming.create_task(come_and_go())
            busy = soaked.samples[first:]
            over.set()
        results = [call.result() for call in long]
        after = await soaked.empty()
    quarter = len(busy) // 4
    middle, last = (
        statistics.median(sample["memory_mb"] for sample in part)
        for part in (busy[quarter : 2 * quarter], busy[-quarter:])
    )
    print(f"\n{ends.total()} calls in {seconds:.0f} s: {dict(ends)}; long ones: {results} results each")
    print(
        f"before: {before}\nafter:  {after}\nmemory: {middle:.1f} MB in the second quarter, {last:.1f} MB in the last"
    )
    # Entries of one line say of callers what they did, such as one who vanished in the middle of the handshake.
    assert not [line for line in soaked.log if "Traceback" in line or "never" in line]
    assert ends["failed"] <= FAILED * ends.total()
    assert ends.total() - ends["failed"] - ends["refused"] > SECONDLY * seconds
    # The long ones went on: a result comes every 0.192 s, where the machine has time for both ends of all calls.
    assert min(results) > 0.25 * seconds / 0.192
    for kind in ("descriptors", "threads", "tasks", "sockets"):
        assert after[kind] <= before[kind], kind
    assert last < middle + MEMORY_MB
    assert after["memory_mb"] < before["memory_mb"] + 3 * MEMORY_MB
    assert after["objects"] < 1.2 * before["objects"]

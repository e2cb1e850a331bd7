"""Each fault: what happens, for how long, and to which place."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.faults.caller import Caller
from tests.benchmarks.faults.places import (
    GO_ON,
    KILL,
    LOOPBACK,
    STOP,
    Fleet,
    Make,
    One,
    OneOnAFullDisk,
    OneWithAClock,
    libfaketime,
)
from tests.benchmarks.faults.wire import Conditions
from tests.hosts.conftest import free_ports


class Trial:
    """One fault on its way: the place, the network, the caller who is to notice nothing."""

    def __init__(self, place: Any, conditions: Conditions, caller: Caller) -> None:
        self.place = place
        self.conditions = conditions
        self.caller = caller
        self.stack = ExitStack()
        """Undone with the fault."""


Act = Callable[[Trial], Awaitable[None]]


async def _nothing(_: Trial) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault and its end."""

    name: str
    place: Make
    """Places of one kind are shared by the faults that follow one another."""
    begin: Act
    lasts_s: float = 0.0
    """0 for one that is over at once, and whose effects are waited out."""
    end: Act = _nothing
    first: bool = False
    """True if the fault is there before the call."""
    others: bool = True
    """True if another caller, with a network of its own, places a call meanwhile."""


def _network(name: str, lasts_s: float = 5.0, *, first: bool = False, **changes: Any) -> Fault:
    async def begin(trial: Trial) -> None:
        vars(trial.conditions).update(changes)

    async def end(trial: Trial) -> None:
        vars(trial.conditions).update(vars(Conditions()))

    return Fault(name=name, place=One, begin=begin, lasts_s=lasts_s, end=end, first=first, others=False)


async def _new_port(trial: Trial) -> None:
    assert trial.caller.wire is not None
    await trial.caller.wire.move()


async def _new_address(trial: Trial) -> None:
    assert trial.caller.wire is not None
    await trial.caller.wire.move("127.0.0.3")


def _signalled(name: str, process: Callable[[Trial], int], place: Make, lasts_s: float = 5.0) -> Fault:
    """Stop a process, and let it go on."""
    stopped: list[int] = []

    async def begin(trial: Trial) -> None:
        stopped[:] = [process(trial)]
        psutil.Process(stopped[0]).send_signal(STOP)

    async def end(_: Trial) -> None:
        psutil.Process(stopped[0]).send_signal(GO_ON)

    return Fault(name=name, place=place, begin=begin, lasts_s=lasts_s, end=end)


def _restarted(name: str, which: Callable[[Trial], str], place: Make) -> Fault:
    """Kill a process; something that watches it, as systemd does, starts it anew at once."""

    async def begin(trial: Trial) -> None:
        process = trial.place.processes[which(trial)]
        await asyncio.to_thread(process.kill)
        await process.restart()

    return Fault(name=name, place=place, begin=begin)


def _server(trial: Trial) -> int:
    pid: int = trial.place.processes["server"].pid
    return pid


def _worker(trial: Trial) -> psutil.Process:
    """Return the call's own media process."""
    assert trial.caller.wire is not None
    process: psutil.Process = trial.place.worker_at(trial.caller.wire.server[1])
    return process


async def _kill_worker(trial: Trial) -> None:
    _worker(trial).send_signal(KILL)


async def _kill_node(trial: Trial) -> None:
    trial.place.processes[trial.place.node_of_the_call()].kill()


async def _kill_signaling(trial: Trial) -> None:
    trial.place.processes["signaling-0"].kill()


async def _start_again(trial: Trial) -> None:
    await asyncio.to_thread(_start_in_turn, trial)


def _start_in_turn(trial: Trial) -> None:
    for process in trial.place.processes.values():
        if not process.runs:
            process.launch()
            process.wait_until_ready()


async def _kill_redis(trial: Trial) -> None:
    trial.place.processes["redis"].kill()


async def _fill_redis(trial: Trial) -> None:
    trial.place.redis("config", "set", "maxmemory", "1")


async def _empty_redis(trial: Trial) -> None:
    trial.place.redis("config", "set", "maxmemory", "0")


async def _demote_redis(trial: Trial) -> None:
    trial.place.redis("replicaof", LOOPBACK, "1")


async def _promote_redis(trial: Trial) -> None:
    trial.place.redis("replicaof", "no", "one")


async def _cluster(trial: Trial) -> None:
    """Replace Redis by one in cluster mode, without slots."""
    redis = trial.place.processes["redis"]
    redis.kill()
    configuration = Path(f"/tmp/voxgender-{trial.place.redis_port}.conf")
    trial.stack.callback(configuration.unlink, missing_ok=True)
    plain = list(redis._command)
    # By itself, Redis adds 10,000 to its port, which may be more than there are.
    (bus_port,) = free_ports(LOOPBACK, 1)
    redis._command += ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
    redis._command += ["--cluster-config-file", str(configuration)]
    await redis.restart()
    redis._command = plain


async def _no_cluster(trial: Trial) -> None:
    trial.place.processes["redis"].kill()
    await trial.place.processes["redis"].restart()


def _clock(offset: str) -> Act:
    async def set_clock(trial: Trial) -> None:
        trial.place.set_clock(offset)

    return set_clock


async def _fill_disk(trial: Trial) -> None:
    await asyncio.to_thread(trial.place.fill)


async def _empty_disk(trial: Trial) -> None:
    (trial.place.disk / "filler").unlink(missing_ok=True)


async def _many_connections(trial: Trial) -> None:
    """Hold 120 connections to a server that may have 64 descriptors."""
    port = int(trial.place.urls[0].rpartition(":")[2])
    for _ in range(120):
        connection = trial.stack.enter_context(socket.socket())
        connection.setblocking(False)
        connection.connect_ex((LOOPBACK, port))


_GROUPS = Path("/sys/fs/cgroup/memory")
_ROOM = 24 << 20
"""Bytes that the server may take beyond what it has."""


async def _little_memory(trial: Trial) -> None:
    """Bound the server's memory just above what it has, and place a hundred offers that never connect."""
    process = psutil.Process(_server(trial))
    group = _GROUPS / f"voxgender-{process.pid}"
    group.mkdir()
    trial.stack.callback(_leave_group, group)
    (group / "memory.limit_in_bytes").write_text(str(process.memory_info().rss + _ROOM))
    (group / "cgroup.procs").write_text(str(process.pid))
    offers = [Caller(trial.place.urls, Conditions()) for _ in range(3)]
    for caller in offers:
        await caller.__aenter__()
    for caller in offers:
        await caller.__aexit__()


def _leave_group(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        (_GROUPS / "cgroup.procs").write_text(pid)
    for _ in range(50):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return


def _workers() -> One:
    return One("--workers", "2")


def _few_descriptors() -> One:
    return One(prefix=("prlimit", "--nofile=64"))


def faults() -> list[Fault]:
    """List every fault that can be made on this machine."""
    found = [
        _network("nothing"),
        *(_network(f"loss of {share} %", loss=share / 100) for share in (2, 5, 10, 20, 30)),
        _network("loss of 10 %, 5 packets in a row", loss=0.1, burst=5),
        _network("jitter of 300 ms", jitter_s=0.3),
        _network("20 % come late", reordered=0.2),
        _network("no packet above 1280 bytes, from the handshake on", first=True, mtu=1_280),
        _network("an outage of 2 s", 2.0, is_cut=True),
        _network("an outage of 20 s", 20.0, is_cut=True),
        Fault(name="the caller has another port", place=One, begin=_new_port, others=False),
        Fault(name="the caller has another address", place=One, begin=_new_address, others=False),
        _signalled("the server stands still for 5 s", _server, One),
        _restarted("the server is killed, and started again", lambda _: "server", One),
        _signalled("the call's worker stands still for 5 s", lambda trial: _worker(trial).pid, _workers),
        Fault(name="a worker is killed", place=_workers, begin=_kill_worker),
        _signalled(
            "the call's node stands still for 5 s",
            lambda trial: trial.place.processes[trial.place.node_of_the_call()].pid,
            Fleet,
        ),
        Fault(name="the call's node is killed", place=Fleet, begin=_kill_node, end=_start_again),
        Fault(name="an instance of signaling is killed", place=Fleet, begin=_kill_signaling, end=_start_again),
        Fault(name="Redis is killed", place=Fleet, begin=_kill_redis, lasts_s=8.0, end=_start_again),
        _signalled("Redis is frozen", lambda trial: trial.place.processes["redis"].pid, Fleet, 8.0),
        Fault(name="Redis is full", place=Fleet, begin=_fill_redis, lasts_s=8.0, end=_empty_redis),
        Fault(name="Redis takes no writes", place=Fleet, begin=_demote_redis, lasts_s=8.0, end=_promote_redis),
        Fault(name="Redis is in cluster mode", place=Fleet, begin=_cluster, lasts_s=8.0, end=_no_cluster),
        Fault(name="the disk is full", place=OneOnAFullDisk, begin=_fill_disk, lasts_s=5.0, end=_empty_disk),
        Fault(name="64 descriptors, 120 connections", place=_few_descriptors, begin=_many_connections, lasts_s=5.0),
    ]
    if libfaketime() is not None:
        found += [
            Fault(name=f"the clock jumps an hour {way}", place=OneWithAClock, begin=_clock(offset), lasts_s=5.0)
            for way, offset in (("ahead", "+3600"), ("back", "-3600"))
        ]
    if _GROUPS.is_dir():
        found.append(Fault(name="24 MB of memory left", place=One, begin=_little_memory, lasts_s=5.0))
    return found

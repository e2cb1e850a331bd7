"""A fleet as it runs: Redis, two signaling instances, and media nodes that each are a host of their own."""

import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientTimeout

from tests.hosts import network
from tests.hosts.network import Network
from tests.hosts.processes import MediaNode, Process, Redis, Signaling, TurnServer


class Hosts:
    """The processes, all of them running at the beginning of each test."""

    def __init__(self, lab: Network, directory: Path) -> None:
        self.lab = lab
        turn_host, self.caller, *media_hosts = lab.hosts
        self.turn = TurnServer(turn_host, directory)
        redis_port, *ports = free_ports(lab.private, 3)
        self.redis = Redis(lab.private, redis_port)
        self.signaling = [
            Signaling(f"signaling-{index}", lab.private, port, self.redis.url, self.turn)
            for index, port in enumerate(ports)
        ]
        self.nodes = [MediaNode(host, self.redis.url, "--drain-timeout-s", "10") for host in media_hosts]

    def processes(self) -> list[Process]:
        return [self.redis, self.turn, *self.nodes, *self.signaling]

    def complete(self) -> None:
        """Start what does not run, and plug in what is unplugged."""
        for host in self.lab.hosts:
            host.plug("public")
            host.plug("private")
        for process in self.processes():
            if not process.runs:
                process.start()


def free_ports(address: str, count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    try:
        for each in taken:
            each.bind((address, 0))
        return [each.getsockname()[1] for each in taken]
    finally:
        for each in taken:
            each.close()


@pytest.fixture(scope="session")
def whole_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    for program in ("redis-server", "turnserver"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: tools/system-packages tests installs it")
    if (reason := network.why_not()) is not None:
        pytest.skip(reason)
    with Network("turn", "caller", "media-a", "media-b", "media-c") as lab:
        fleet = Hosts(lab, tmp_path_factory.mktemp("turn"))
        try:
            yield fleet
        finally:
            for process in fleet.processes():
                process.kill()


@pytest.fixture
def fleet(whole_fleet: Hosts) -> Hosts:
    whole_fleet.complete()
    return whole_fleet


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(timeout=ClientTimeout(total=20)) as http:
        yield http

"""Hosts of one's own: network namespaces with an address each, on two bridges, as a fleet has two networks.

Callers reach media nodes over the *public* network; signaling and Redis reach them over the *private* one. Either can
be cut for one host while the other goes on. Callers, signaling and Redis are on this machine itself, at the bridges'
addresses. All names carry this process's id, so that what a killed run left behind can be told and swept away.
"""

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

Side = Literal["public", "private"]
_SUBNETS: dict[Side, str] = {"public": "198.18", "private": "198.19"}
"""Network from the range that RFC 2544 sets aside for tests, so that no real host is hidden."""


def why_not() -> str | None:
    """Return what keeps this machine from having namespaces; None if nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None or shutil.which("setpriv") is None:
        return "network namespaces need ip (iproute2) and setpriv (util-linux)"
    name = f"voxgender-{os.getpid()}-try"
    tried = _ip(f"netns add {name}", f"link add {_bridge('public')} type bridge", check=False)
    _ip(f"netns del {name}", f"link del {_bridge('public')}", check=False)
    return f"this machine makes no network namespaces: {tried.stderr.strip()}" if tried.returncode else None


class Host:
    """A namespace with an address on each network."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.namespace = f"voxgender-{os.getpid()}-{name}"
        self.public = _address("public", number)
        self.private = _address("private", number)
        self._number = number

    def command(self, *words: str) -> list[str]:
        """A command that runs on this host, and dies with the process that started it."""
        return [*DIES_WITH_US, "ip", "netns", "exec", self.namespace, *words]

    def plug(self, side: Side) -> None:
        _ip(f"link set {self._port(side)} up")

    def unplug(self, side: Side) -> None:
        """Cut the host off a network: what is sent gets lost, and nobody is told."""
        _ip(f"link set {self._port(side)} down")

    def bytes_on(self, side: Side) -> tuple[int, int]:
        """Received and sent so far."""
        statistics = Path(f"/sys/class/net/{self._port(side)}/statistics")
        # At the cable's other end it is the other way round.
        received, sent = (int((statistics / name).read_text()) for name in ("tx_bytes", "rx_bytes"))
        return received, sent

    def _setup(self) -> None:
        _ip(f"netns add {self.namespace}", f"-n {self.namespace} link set lo up")
        for side in _SUBNETS:
            _ip(
                f"link add {self._port(side)} type veth peer name {side} netns {self.namespace}",
                f"link set {self._port(side)} master {_bridge(side)} up",
                f"-n {self.namespace} addr add {_address(side, self._number)}/24 dev {side}",
                f"-n {self.namespace} link set {side} up",
            )

    def _port(self, side: Side) -> str:
        return f"{_bridge(side)}h{self._number}"


DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""Nothing outlives a run, however that ends."""


class Network:
    """Both bridges and the hosts on them; gone on exit, with every process that is left there."""

    def __init__(self, *names: str) -> None:
        self.hosts = [Host(name, 11 + index) for index, name in enumerate(names)]
        self.public = _address("public", 1)
        self.private = _address("private", 1)

    def __enter__(self) -> Self:
        _sweep()
        try:
            for side in _SUBNETS:
                _ip(
                    f"link add {_bridge(side)} type bridge",
                    f"addr add {_address(side, 1)}/24 dev {_bridge(side)}",
                    f"link set {_bridge(side)} up",
                )
            for host in self.hosts:
                host._setup()
        except BaseException:
            self.__exit__()
            raise
        return self

    def move_callers(self, number: int) -> str:
        """Give this machine another public address in place of the one it has; return it."""
        address = _address("public", number)
        _ip(
            f"addr flush dev {_bridge('public')} to {self.public}",
            f"addr add {address}/24 dev {_bridge('public')}",
        )
        self.public = address
        return address

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            _remove(host.namespace)
            for side in _SUBNETS:
                _ip(f"link del {host._port(side)}", check=False)
        for side in _SUBNETS:
            _ip(f"link del {_bridge(side)}", check=False)


def _sweep() -> None:
    """Remove what runs that were killed have left behind."""
    for line in _run(["ip", "netns", "list"]).stdout.splitlines():
        found = re.match(r"voxgender-(\d+)-", line)
        if found and not Path(f"/proc/{found[1]}").exists():
            _remove(line.split()[0])
    for found in re.finditer(r"^\d+: (vg(\d+)[a-z]+\d*)[@:]", _run(["ip", "link"]).stdout, re.MULTILINE):
        if not Path(f"/proc/{found[2]}").exists():
            _ip(f"link del {found[1]}", check=False)


def _remove(namespace: str) -> None:
    for pid in _run(["ip", "netns", "pids", namespace], check=False).stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _ip(f"netns del {namespace}", check=False)


def _bridge(side: Side) -> str:
    return f"vg{os.getpid()}{side[:3]}"


def _address(side: Side, number: int) -> str:
    return f"{_SUBNETS[side]}.{os.getpid() % 250}.{number}"


def _ip(*commands: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.CompletedProcess[str]([], 0, "", "")
    for command in commands:
        done = _run(["ip", *command.split()], check=check)
        if done.returncode:
            break
    return done


def _run(command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=check)

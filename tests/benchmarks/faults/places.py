"""Places for calls: one server, one with workers, and a fleet; real processes that can be stopped and killed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.hosts.conftest import free_ports
from tests.hosts.network import DIES_WITH_US
from tests.hosts.processes import SECRET, Process, Redis

LOOPBACK = "127.0.0.1"
_COMMAND = (sys.executable, "-m", "voxgender.cli")
_MEDIA = ("--model", "off", "--ice-address", LOOPBACK, "--log-level", "error")


def libfaketime() -> str | None:
    """Find the library that shows a process another time; None if it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return str(found[0]) if found else None


class Place:
    """A place to call, and its processes."""

    processes: dict[str, Process]
    urls: list[str]

    def start(self) -> None:
        """Start what does not run."""
        for process in self.processes.values():
            if not process.runs:
                process.start()

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()

    def signal(self, name: str, number: int) -> None:
        os.kill(self.processes[name].pid, number)


class One(Place):
    """``voxgender serve``.

    Args:
        options: of the command.
        environment: of the process.
        prefix: words before the command.
    """

    def __init__(self, *options: str, environment: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> None:
        (port,) = free_ports(LOOPBACK, 1)
        self.urls = [f"http://{LOOPBACK}:{port}"]
        command = [*DIES_WITH_US, *prefix, *_COMMAND, "serve", "--port", str(port), *_MEDIA, *options]
        self.processes = {"server": Process("server", command, environment)}

    def worker_at(self, port: int) -> psutil.Process:
        """Return the media process of ``--workers`` that has a UDP port."""
        return next(
            child
            for child in psutil.Process(self.processes["server"].pid).children()
            if any(socket.laddr.port == port for socket in child.net_connections("udp"))
        )


class OneWithAClock(One):
    """A server whose clock can be set."""

    def __init__(self) -> None:
        self._clock = Path(tempfile.mkstemp(prefix="voxgender-clock-")[1])
        self.set_clock("+0")
        library = libfaketime()
        assert library is not None
        environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            # It reads the file once a second and not for each look at a clock.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        super().__init__(environment=environment)

    def set_clock(self, offset: str) -> None:
        self._clock.write_text(offset)

    def close(self) -> None:
        super().close()
        self._clock.unlink()


class OneOnAFullDisk(One):
    """A server whose cache, temporary files and log are on a disk of 64 kB that can be filled."""

    def __init__(self) -> None:
        self.disk = Path(tempfile.mkdtemp(prefix="voxgender-disk-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(self.disk)], check=True)
        log = self.disk / "log"
        environment = {"TMPDIR": str(self.disk), "XDG_CACHE_HOME": str(self.disk), "HOME": str(self.disk)}
        prefix = ("sh", "-c", f'exec "$@" 2>>{log}', "sh")
        super().__init__("--log-level", "debug", environment=environment, prefix=prefix)

    def fill(self) -> None:
        with suppress(OSError), (self.disk / "filler").open("wb") as file:
            while True:
                file.write(bytes(4_096))
                file.flush()

    def close(self) -> None:
        super().close()
        subprocess.run(["umount", str(self.disk)], check=False)
        shutil.rmtree(self.disk, ignore_errors=True)


class Fleet(Place):
    """Redis, two instances of signaling, two media nodes."""

    def __init__(self, *redis_options: str) -> None:
        redis_port, *ports = free_ports(LOOPBACK, 5)
        redis = Redis(LOOPBACK, redis_port)
        redis._command += redis_options
        self.redis_port = redis_port
        self.processes = {"redis": redis}
        secret = {"VOXGENDER_SECRET": SECRET}
        log = ("--log-level", "error")
        for index, port in enumerate(ports[2:]):
            words = ("media", "--port", str(port), "--registry", redis.url, *_MEDIA)
            self.processes[f"node-{index}"] = Process(f"node-{index}", [*DIES_WITH_US, *_COMMAND, *words], secret)
        for index, port in enumerate(ports[:2]):
            front = ("signaling", "--port", str(port), "--registry", redis.url, *log)
            name = f"signaling-{index}"
            self.processes[name] = Process(name, [*DIES_WITH_US, *_COMMAND, *front], secret)
        self.urls = [f"http://{LOOPBACK}:{port}" for port in ports[:2]]

    def redis(self, *words: str) -> None:
        """Give Redis a command."""
        subprocess.run(["redis-cli", "-p", str(self.redis_port), *words], check=True, capture_output=True)

    def node_of_the_call(self) -> str:
        """Return the name of the node that has calls."""
        for name, process in self.processes.items():
            if name.startswith("node"):
                port = process._command[process._command.index("--port") + 1]
                with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as response:
                    text = response.read().decode()
                found = re.search(r"^voxgender_sessions (\S+)$", text, re.MULTILINE)
                if found and float(found[1]) > 0:
                    return name
        raise RuntimeError("no node has the call")


Make = Callable[[], Any]
STOP, GO_ON, KILL = signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL

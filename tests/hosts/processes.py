"""A fleet's real processes: each in its place on the network, to be stopped, killed and started again."""

import asyncio
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from tests.hosts.network import DIES_WITH_US, Host

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
SECRET = "the secret of a fleet under test"
HTTP_PORT = 8080
UDP_PORTS = range(20_000, 20_400)


class Process:
    """One command; not running before :meth:`start`. What it logs goes where the test's own words go."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.name = name
        self._command = command
        self._environment = {**os.environ, **(environment or {})}
        self._running: subprocess.Popen[str] | None = None

    @property
    def runs(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    def start(self) -> None:
        """Start, and come back when it is ready."""
        self.launch()
        self.wait_until_ready()

    async def restart(self) -> None:
        """Start again, and let others go on meanwhile."""
        # Here and not in the thread, with whose end the process would end.
        self.launch()
        await asyncio.to_thread(self.wait_until_ready)

    def launch(self) -> None:
        assert not self.runs
        self._running = subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )

    def wait_until_ready(self) -> None:
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def ask_to_stop(self) -> None:
        """SIGTERM; returns at once."""
        assert self._running is not None
        self._running.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.ask_to_stop()
        return self.wait()

    def wait(self) -> int:
        assert self._running is not None
        try:
            return self._running.wait(STOP_TIMEOUT_S)
        finally:
            self._close()

    def kill(self) -> None:
        """SIGKILL: nothing is said to anyone."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._close()

    def _close(self) -> None:
        if self._running is not None and self._running.stdout is not None:
            self._running.stdout.close()

    def _wait_until_ready(self) -> None:
        assert self._running is not None
        assert self._running.stdout is not None
        line = _line(self._running.stdout)
        assert "is ready" in line, f"{self.name} did not become ready: {line or 'no word of it'}"

    def _wait_until_it_listens(self, address: tuple[str, int]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.runs and time.monotonic() < deadline:
            try:
                with socket.create_connection(address, timeout=1):
                    return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise AssertionError(f"{self.name} does not listen")


class Redis(Process):
    """A registry that forgets everything when it ends."""

    def __init__(self, address: str, port: int) -> None:
        self.address = (address, port)
        self.url = f"redis://{address}:{port}"
        options = f"--bind {address} --port {port} --protected-mode no --appendonly no --loglevel warning"
        super().__init__("redis", [*DIES_WITH_US, "redis-server", *options.split(), "--save", ""])

    def _wait_until_ready(self) -> None:
        self._wait_until_it_listens(self.address)


class TurnServer(Process):
    """coturn on a host of its own, closed to private networks as ``docs/deployment`` has it."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.url = f"turn:{host.public}:3478?transport=tcp"
        options = {
            "listening-ip": host.public,
            "relay-ip": host.public,
            "static-auth-secret": SECRET,
            "realm": "voxgender",
            "log-file": directory / "log",
            "pidfile": directory / "pid",
            "userdb": directory / "db",
        }
        flags = ["--use-auth-secret", "--no-cli", "--no-tls", "--no-dtls", "--no-multicast-peers", "--no-stdout-log"]
        flags += [f"--denied-peer-ip={addresses}" for addresses in _DENIED]
        command = ["turnserver", "-n", *flags, *(f"--{name}={value}" for name, value in options.items())]
        super().__init__(host.name, host.command(*command))

    def _wait_until_ready(self) -> None:
        self._wait_until_it_listens((self.host.public, 3478))


_SCRIPT = Path(__file__).parents[2] / "docs" / "deployment" / "gce" / "turn.sh"
_DENIED = re.findall(r"^denied-peer-ip=(\S+)$", _SCRIPT.read_text(), re.MULTILINE)


class Signaling(Process):
    def __init__(self, name: str, address: str, port: int, registry: str, turn: TurnServer) -> None:
        self.url = f"http://{address}:{port}"
        command = ["signaling", "--host", address, "--port", str(port), "--registry", registry]
        environment = {"VOXGENDER_SECRET": SECRET, "VOXGENDER_TURN_SECRET": SECRET}
        super().__init__(name, [*DIES_WITH_US, *_voxgender(*command, "--ice-server", turn.url)], environment)


class MediaNode(Process):
    """A node on a host of its own: media at its public address, HTTP at its private one."""

    def __init__(self, host: Host, registry: str, *options: str) -> None:
        self.host = host
        self.url = f"http://{host.private}:{HTTP_PORT}"
        command = ["media", "--host", host.private, "--port", str(HTTP_PORT), "--ice-address", host.public]
        command += [
            "--udp-ports",
            f"{UDP_PORTS[0]}-{UDP_PORTS[-1]}",
            "--registry",
            registry,
            "--model",
            "off",
            *options,
        ]
        super().__init__(host.name, host.command(*_voxgender(*command)), {"VOXGENDER_SECRET": SECRET})


def _voxgender(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "voxgender.cli", *arguments]


def _line(stream: IO[str]) -> str:
    """The next line; what there is of it when time is up."""
    ready, _, _ = select.select([stream], [], [], START_TIMEOUT_S)
    return stream.readline() if ready else ""
